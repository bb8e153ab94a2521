"""`scal3r demo`: node and player as two processes over DDS, then one block that says how it went."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Annotated, Any

import typer
import yaml
from rich.console import Console

from scal3r_ros.cli.bag import bag as make_bag
from scal3r_ros.cli.evaluate import evaluate
from scal3r_ros.cli.simulate import simulate
from scal3r_ros.errors import Scal3rError, SequenceError
from scal3r_ros.sequences.bag_reader import BagReader
from scal3r_ros.sequences.folder import find_images, read_image

ASSUMED_FOV_DEG = 70.0
LAST_LINES = 12


class DemoError(Scal3rError):
    """A process of the demo ended before its time."""


def demo(
    source: Annotated[
        Path | None, typer.Argument(metavar="[BAG|FOLDER_OF_IMAGES]", help="What to map; nothing: a simulated street.")
    ] = None,
    short: Annotated[bool, typer.Option("--short", help="A simulated street of 60 m instead of 300 m.")] = False,
    calib: Annotated[Path | None, typer.Option(help="Calibration of a folder of images.")] = None,
    rate: Annotated[float, typer.Option(min=0.1, help="Images per second of a folder of images.")] = 10.0,
    speed: Annotated[float, typer.Option(min=0.01, help="How fast to play, 1 is as recorded.")] = 1.0,
    config: Annotated[Path | None, typer.Option(help="Parameter file of the mapper.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Where everything is written.")] = None,
    default_config: Annotated[Path | None, typer.Option(hidden=True)] = None,
    default_out: Annotated[Path, typer.Option(hidden=True)] = Path("out/demo"),
) -> None:
    """Map live with the real node and the real player over DDS, and evaluate the result.

    Example: scal3r demo street.bag --config config/driving.yaml
    """
    console = Console(stderr=True, highlight=False)
    folder = out or default_out
    folder.mkdir(parents=True, exist_ok=True)
    bag = _bag_of(source, folder, 60.0 if short else 300.0, calib, rate, console)
    with BagReader(bag) as reader:
        images, image_topic, info_topic = reader.image_count, reader.image_topic, reader.camera_info_topic
        has_truth = reader.ground_truth() is not None
    topics = ["-r", f"image:={image_topic}", "-r", f"camera_info:={info_topic or '/camera/camera_info'}"]
    played = ",".join(topic for topic in (image_topic, info_topic) if topic is not None)
    console.print(f"mapping {images} images of {bag} live; logs: {folder / 'mapper.log'}, {folder / 'player.log'}")
    result = folder / "result"
    _drive(folder, bag, result, topics, played, speed, config or default_config, math.ceil(images / 5) + 120)
    evaluate(result, truth=bag if has_truth else None)
    Console(highlight=False, soft_wrap=True).print(_block(result))


def _bag_of(
    source: Path | None, folder: Path, length_m: float, calib: Path | None, rate: float, console: Console
) -> Path:
    """The bag to play: the one given, one of the images given, or a simulated drive that is made once."""
    if source is None:
        bag = folder / f"street_{length_m:.0f}m"
        if not (bag / "metadata.yaml").is_file():
            simulate(bag, length=length_m, seed=1, depth_every=10)
        return bag
    if not source.exists():
        raise SequenceError(f"there is no bag and no folder of images at {source}")
    if (
        source.is_file()
        or (source / "metadata.yaml").is_file()
        or any(source.glob("*.db3"))
        or any(source.glob("*.mcap"))
    ):
        return source
    images = find_images(source)
    bag = Path(tempfile.mkdtemp(prefix="images_", dir=folder)) / "bag"
    if calib is None:
        height, width = read_image(images.paths[0]).shape[:2]
        focal = width / 2 / math.tan(math.radians(ASSUMED_FOV_DEG / 2))
        calib = bag.parent / "assumed_calibration.txt"
        calib.write_text(f"{focal} 0 {(width - 1) / 2}\n0 {focal} {(height - 1) / 2}\n0 0 1\n")
        console.print(
            f"[yellow]No --calib given: a field of view of {ASSUMED_FOV_DEG:.0f}° is assumed; where that is wrong, the "
            "map bends.[/]"
        )
    make_bag(source, calib=calib, rate=rate, out=bag)
    return bag


def _drive(
    folder: Path,
    bag: Path,
    result: Path,
    topics: list[str],
    played: str,
    speed: float,
    config: Path | None,
    timeout_s: float,
) -> None:
    """Runs mapper and player until the bag is played and everything is mapped and written."""
    parameters = ["--params-file", str(config)] if config is not None else []
    with (folder / "mapper.log").open("w") as mapper_log, (folder / "player.log").open("w") as player_log:
        mapper = _start("mapper", [*parameters, *topics, "-p", f"result_directory:={result}"], mapper_log)
        player = _start("player", ["-p", f"bag:={bag}", "-p", f"rate:={speed}", "-p", f"topics:={played}"], player_log)
        try:
            _wait(player, "player", folder, timeout_s / speed)
            if mapper.poll() is None:
                mapper.send_signal(signal.SIGINT)
            _wait(mapper, "mapper", folder, timeout_s)
        finally:
            for process in (player, mapper):
                with suppress(ProcessLookupError):
                    process.kill()
                process.wait()
    if not (result / "trajectory.tum").is_file():
        raise DemoError(f"the mapper wrote no result: {_last_lines(folder / 'mapper.log')}")


def _start(name: str, words: list[str], log: IO[str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", f"scal3r_ros.nodes.{name}_main", "--ros-args", *words]
    return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, text=True)


def _wait(process: subprocess.Popen[str], name: str, folder: Path, timeout_s: float) -> None:
    log = folder / f"{name}.log"
    try:
        code = process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        raise DemoError(f"the {name} has not ended after {timeout_s:.0f} s: {_last_lines(log)}") from None
    if code != 0:
        raise DemoError(f"the {name} ended with code {code}: {_last_lines(log)}")


def _last_lines(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-LAST_LINES:])


def _block(result: Path) -> str:
    """The closing lines: accuracy, frames, speed, and where to look."""
    run: Mapping[str, Any] = yaml.safe_load((result / "run.yaml").read_text())
    metrics = json.loads((result / "report" / "metrics.json").read_text())
    counts, report = run["counts"], result / "report"
    dropped = sum(counts["frames_dropped"].values())
    reasons = ", ".join(f"{number} × {reason}" for reason, number in counts["frames_dropped"].items())
    trajectory = metrics.get("trajectory") or {}
    ate = trajectory.get("ate_sim3_rmse_m")
    way = trajectory.get("path_length_m")
    accuracy = (
        "no ground truth to compare with" if ate is None else f"{ate:.3f} m over {way:.0f} m (after Sim(3) alignment)"
    )
    rows = {
        "ATE": accuracy,
        "frames": f"{counts['frames_posed']} of {counts['frames_in']} posed, {dropped} dropped"
        + (f" ({reasons})" if dropped else ""),
        "real time": f"{run['real_time_factor']:.2f} × (live: 1 is keeping up with the camera)",
        "report": str(report / "report.html"),
        "pictures": ", ".join(path.name for path in sorted(report.glob("*.png"))),
        "cloud": str(result / "map.ply"),
        "trajectory": str(result / "trajectory.tum"),
    }
    lines = [f"  {name:<11}{text}" for name, text in rows.items()]
    return "\n".join(["", "── scal3r demo " + "─" * 50, *lines, "─" * 65])
