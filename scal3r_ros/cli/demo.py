"""`scal3r demo`: node and player as two processes over DDS, then a summary."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated, Any

import typer
import yaml
from rich.console import Console

from scal3r_ros.assembly import TINY, CoreConfig, core_config
from scal3r_ros.cli.bag import ASSUMED_FOV_DEG, write_bag_of
from scal3r_ros.cli.evaluate import evaluate
from scal3r_ros.cli.export.command import export
from scal3r_ros.cli.simulate import simulate
from scal3r_ros.cli.view import Host, Port
from scal3r_ros.configuration import read_parameter_file
from scal3r_ros.errors import Scal3rError, SequenceError
from scal3r_ros.io.bags.file import is_bag
from scal3r_ros.io.bags.reader import BagReader
from scal3r_ros.io.bags.topics import STATIC_TRANSFORM_TOPIC
from scal3r_ros.io.results.layout import OCCUPANCY_FILE
from scal3r_ros.io.sources import SourceOptions
from scal3r_ros.mapping.cloud.config import PointMapConfig
from scal3r_ros.reconstruction.network.bundled_weights import bundled_weights
from scal3r_ros.simulation.drives.levelling import CAMERA_HEIGHT_M
from scal3r_ros.viewer.server import LOOPBACK, announcement, next_free_port

LAST_LINES = 12
PROCESSES = ("mapper", "player")
LONGEST_START_S = 300.0
"""A busy machine takes so long at most until the mapper listens; the player waits for it."""


class DemoError(Scal3rError):
    """A process of the demo ended before its time."""


def demo(
    source: Annotated[
        Path | None,
        typer.Argument(help="What to map, as for `scal3r replay`; nothing: a simulated street."),
    ] = None,
    short: Annotated[bool, typer.Option("--short", help="A simulated street of 60 m instead of 300 m.")] = False,
    calib: Annotated[
        Path | None, typer.Option(help="A calibration file, in place of what the source knows of its camera.")
    ] = None,
    image_topic: Annotated[str | None, typer.Option(help="Which images, where a bag holds several cameras.")] = None,
    camera_info_topic: Annotated[
        str | None, typer.Option(help="The camera's calibration, where it is not beside its images.")
    ] = None,
    rate: Annotated[
        float | None, typer.Option(min=0.1, help="Images per second of a folder whose names are no times.")
    ] = None,
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
    metres: Annotated[
        bool,
        typer.Option(
            "--metres",
            help="Tell the mapper how high the simulated camera stands: the map is in metres, and written for Nav2.",
        ),
    ] = False,
    view: Annotated[bool, typer.Option("--view", help="Show the map in the browser while it grows.")] = False,
    view_host: Host = LOOPBACK,
    view_port: Port = 8080,
    default_config: Annotated[Path | None, typer.Option(hidden=True)] = None,
    default_out: Annotated[Path, typer.Option(hidden=True)] = Path("out/demo"),
) -> None:
    """Map live with the real node and the real player over DDS, and evaluate the result.

    Example: scal3r demo street.bag --config config/driving.yaml
    """
    console = Console(stderr=True, highlight=False)
    if metres and source is not None:
        raise SequenceError("--metres knows the simulated camera alone; give scale.camera_height in --config")
    parameters = config or default_config
    runs = _runs(parameters, reconstructor, source is None)
    folder = out or default_out
    folder.mkdir(parents=True, exist_ok=True)
    options = SourceOptions(image_topic, camera_info_topic, calib, rate_hz=rate, assumed_fov_deg=ASSUMED_FOV_DEG)
    bag, is_own = _bag_of(source, folder, 60.0 if short else 300.0, options)
    topics = (image_topic, camera_info_topic) if is_own else (None, None)
    with BagReader(bag, *topics) as reader:
        images, image_topic, info_topic = reader.image_count, reader.image_topic, reader.camera_info_topic
        has_truth = reader.ground_truth() is not None
        recorded = {topic.name for topic in reader.topics}
    remapped = ["-r", f"image:={image_topic}", "-r", f"camera_info:={info_topic or '/camera/camera_info'}"]
    static = STATIC_TRANSFORM_TOPIC if STATIC_TRANSFORM_TOPIC in recorded else None
    played = ",".join(topic for topic in (image_topic, info_topic, static) if topic is not None)
    playing = ["-p", f"bag:={bag}", "-p", f"rate:={speed}", "-p", f"topics:={played}"]
    for run in runs:
        result, logs = folder / run.named("result"), {name: folder / run.named(name, ".log") for name in PROCESSES}
        written = ", ".join(map(str, logs.values()))
        console.print(f"mapping {images} images of {bag} live with {run.reconstructor}; logs: {written}", markup=False)
        wanted = ["--params-file", str(parameters)] if parameters is not None else []
        wanted += ["-p", f"scale.camera_height:={CAMERA_HEIGHT_M}"] if metres else []
        wanted += ["-p", f"reconstructor:={run.reconstructor}", "-p", f"result_directory:={result}"]
        with ExitStack() as page:
            if view:
                viewing = [*remapped, *_page(view_host, view_port, parameters, console)]
                page.enter_context(_viewer(folder / run.named("viewer", ".log"), viewing))
            _drive(logs, [*wanted, *remapped], playing, math.ceil(images / 5) + 120, speed)
        if not (result / "trajectory.tum").is_file():
            raise DemoError(f"the mapper wrote no result: {_last_lines(logs['mapper'])}")
        evaluate(result, truth=bag if has_truth else None)
        if (result / OCCUPANCY_FILE).is_file():
            export(result, nav2=result / "nav2.yaml")
        Console(highlight=False, soft_wrap=True, markup=False).print(_block(result, run.reconstructor))


@dataclass(frozen=True)
class _Run:
    """One live drive: by which reconstructor, and what the names of all that it writes have at their end."""

    reconstructor: str
    suffix: str = ""

    def named(self, name: str, kind: str = "") -> str:
        """Name of a file or folder of this run."""
        return f"{name}{self.suffix}{kind}"


def _runs(parameters: Path | None, reconstructor: str | None, simulated: bool) -> list[_Run]:
    """The reconstructor given or that of the parameter file; on the simulated street tiny as well, if bundled."""
    if reconstructor is not None:
        core_config({"reconstructor": reconstructor})  # a mistyped name fails before the street is made
        return [_Run(reconstructor)]
    values = {} if parameters is None else read_parameter_file(parameters)
    usual = str(values.get("reconstructor", CoreConfig.reconstructor))
    if simulated and usual == "geometric" and bundled_weights(TINY) is not None:
        return [_Run(usual), _Run(TINY, f"_{TINY}")]
    return [_Run(usual)]


def _bag_of(source: Path | None, folder: Path, length_m: float, options: SourceOptions) -> tuple[Path, bool]:
    """The bag to play, and whether it is the one given: else one made of the source, or a simulated drive."""
    if source is None:
        bag = folder / f"street_{length_m:.0f}m"
        if not (bag / "metadata.yaml").is_file():
            simulate(bag, length=length_m, seed=1, depth_every=10)
        return bag, False
    if not source.exists():
        raise SequenceError(f"there is nothing to map at {source}")
    if is_bag(source) and options.calib is None:
        return source, True
    bag = Path(tempfile.mkdtemp(prefix="images_", dir=folder)) / "bag"
    write_bag_of(source, options, bag)
    return bag, False


def _page(host: str, port: int, parameters: Path | None, console: Console) -> list[str]:
    """Arguments of the viewer; says where its page is."""
    port = next_free_port(host, port)
    console.print(announcement(host, port), markup=False)
    values = {} if parameters is None else read_parameter_file(parameters)
    size = values.get("map.voxel_size", PointMapConfig.voxel_size)
    return ["-p", f"host:={host}", "-p", f"port:={port}", "-p", f"point_size:={size}"]


@contextmanager
def _viewer(log: Path, arguments: list[str]) -> Iterator[None]:
    """The viewer as a process, ended at the end; a page that does not come up ends no drive."""
    with log.open("w") as file:
        process = _start("viewer", arguments, file)
        try:
            yield
        finally:
            process.kill()
            process.wait()


def _drive(logs: Mapping[str, Path], mapping: list[str], playing: list[str], timeout_s: float, speed: float) -> None:
    """Runs mapper and player with their arguments until the bag is played and everything is mapped and written."""
    with logs["mapper"].open("w") as mapper_log, logs["player"].open("w") as player_log:
        mapper, player = _start("mapper", mapping, mapper_log), _start("player", playing, player_log)
        try:
            _wait(player, "player", logs, LONGEST_START_S + timeout_s / speed)
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
    path_m = trajectory.get("path_length_m")
    accuracy = (
        "no ground truth to compare with"
        if ate is None
        else f"{ate:.3f} m over {path_m:.0f} m (after Sim(3) alignment)"
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
    summary = f"learnt live from {learnt['chunks']} chunks"
    return f"{summary}; the last one changed it by {moved}" if moved else summary
