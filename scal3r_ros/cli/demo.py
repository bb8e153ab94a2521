"""`scal3r demo`: node and player as two processes over DDS, then one block that says how it went."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated, Any

import typer
import yaml
from rich.console import Console

from scal3r_ros.assembly import TINY, CoreConfig, core_config
from scal3r_ros.cli.bag import bag as make_bag
from scal3r_ros.cli.evaluate import evaluate
from scal3r_ros.cli.simulate import simulate
from scal3r_ros.configuration import read_parameter_file
from scal3r_ros.errors import Scal3rError, SequenceError
from scal3r_ros.io.bags.file import BagFile
from scal3r_ros.io.bags.reader import BagReader
from scal3r_ros.io.bags.topics import STATIC_TRANSFORM_TOPIC
from scal3r_ros.io.images.folder import find_images, read_image
from scal3r_ros.reconstruction.network.bundled_weights import bundled_weights

ASSUMED_FOV_DEG = 70.0
LAST_LINES = 12
PROCESSES = ("mapper", "player")


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
    reconstructor: Annotated[
        str | None,
        typer.Option(
            help="geometric, tiny or scal3r, as in the parameter file; if not given, the simulated street is mapped a "
            "second time by tiny, whose memory learns live, where its weights come with the package."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Where everything is written.")] = None,
    default_config: Annotated[Path | None, typer.Option(hidden=True)] = None,
    default_out: Annotated[Path, typer.Option(hidden=True)] = Path("out/demo"),
) -> None:
    """Map live with the real node and the real player over DDS, and evaluate the result.

    Example: scal3r demo street.bag --config config/driving.yaml
    """
    console = Console(stderr=True, highlight=False)
    parameters = config or default_config
    runs = _runs(parameters, reconstructor, source is None)
    folder = out or default_out
    folder.mkdir(parents=True, exist_ok=True)
    bag = _bag_of(source, folder, 60.0 if short else 300.0, calib, rate, console)
    with BagReader(bag) as reader:
        images, image_topic, info_topic = reader.image_count, reader.image_topic, reader.camera_info_topic
        has_truth = reader.ground_truth() is not None
    topics = ["-r", f"image:={image_topic}", "-r", f"camera_info:={info_topic or '/camera/camera_info'}"]
    with closing(BagFile(bag)) as file:
        recorded = {topic.name for topic in file.topics}
    static = STATIC_TRANSFORM_TOPIC if STATIC_TRANSFORM_TOPIC in recorded else None
    played = ",".join(topic for topic in (image_topic, info_topic, static) if topic is not None)
    playing = ["-p", f"bag:={bag}", "-p", f"rate:={speed}", "-p", f"topics:={played}"]
    for run in runs:
        result, logs = folder / run.named("result"), {name: folder / run.named(name, ".log") for name in PROCESSES}
        written = ", ".join(map(str, logs.values()))
        console.print(f"mapping {images} images of {bag} live with {run.reconstructor}; logs: {written}")
        wanted = ["--params-file", str(parameters)] if parameters is not None else []
        wanted += ["-p", f"reconstructor:={run.reconstructor}", "-p", f"result_directory:={result}"]
        _drive(logs, [*wanted, *topics], playing, math.ceil(images / 5) + 120, speed)
        if not (result / "trajectory.tum").is_file():
            raise DemoError(f"the mapper wrote no result: {_last_lines(logs['mapper'])}")
        evaluate(result, truth=bag if has_truth else None)
        Console(highlight=False, soft_wrap=True).print(_block(result, run.reconstructor))


@dataclass(frozen=True)
class _Run:
    """One live drive: by which reconstructor, and what the names of all that it writes have at their end."""

    reconstructor: str
    suffix: str = ""

    def named(self, name: str, kind: str = "") -> str:
        """Name of a file or folder of this run."""
        return f"{name}{self.suffix}{kind}"


def _runs(parameters: Path | None, reconstructor: str | None, simulated: bool) -> list[_Run]:
    """The reconstructor given or that of the parameter file; on the simulated street a memory, too, where one ships."""
    if reconstructor is not None:
        core_config({"reconstructor": reconstructor})  # a mistyped name is told before the street is made
        return [_Run(reconstructor)]
    values = {} if parameters is None else read_parameter_file(parameters)
    usual = str(values.get("reconstructor", CoreConfig.reconstructor))
    if simulated and usual == "geometric" and bundled_weights(TINY) is not None:
        return [_Run(usual), _Run(TINY, f"_{TINY}")]
    return [_Run(usual)]


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


def _drive(logs: Mapping[str, Path], mapping: list[str], playing: list[str], timeout_s: float, speed: float) -> None:
    """Runs mapper and player, told by their arguments, until the bag is played and everything is mapped and written."""
    with logs["mapper"].open("w") as mapper_log, logs["player"].open("w") as player_log:
        mapper, player = _start("mapper", mapping, mapper_log), _start("player", playing, player_log)
        try:
            _wait(player, "player", logs, timeout_s / speed)
            if mapper.poll() is None:
                mapper.send_signal(signal.SIGINT)
            _wait(mapper, "mapper", logs, timeout_s)
        finally:
            for process in (player, mapper):
                with suppress(ProcessLookupError):
                    process.kill()
                process.wait()


def _start(name: str, words: list[str], log: IO[str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", f"scal3r_ros.nodes.{name}_main", "--ros-args", *words]
    return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, text=True)


def _wait(process: subprocess.Popen[str], name: str, logs: Mapping[str, Path], timeout_s: float) -> None:
    log = logs[name]
    try:
        code = process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        raise DemoError(f"the {name} has not ended after {timeout_s:.0f} s: {_last_lines(log)}") from None
    if code != 0:
        raise DemoError(f"the {name} ended with code {code}: {_last_lines(log)}")


def _last_lines(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-LAST_LINES:])


def _block(result: Path, reconstructor: str) -> str:
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
        "memory": _memory(metrics.get("memory")),
        "report": str(report / "report.html"),
        "pictures": ", ".join(path.name for path in sorted(report.glob("*.png"))),
        "cloud": str(result / "map.ply"),
        "trajectory": str(result / "trajectory.tum"),
    }
    lines = [f"  {name:<11}{text}" for name, text in rows.items() if text]
    title = f"── scal3r demo, {reconstructor} "
    return "\n".join(["", title + "─" * (65 - len(title)), *lines, "─" * 65])


def _memory(learnt: Mapping[str, Any] | None) -> str:
    """What the memory has learnt; nothing where the reconstructor has none."""
    if learnt is None:
        return ""
    moved = ", ".join(f"{100 * change:.1f} % in layer {layer}" for layer, change in learnt["change"].items() if change)
    told = f"learnt live from {learnt['chunks']} chunks"
    return f"{told}; the last one changed it by {moved}" if moved else told
