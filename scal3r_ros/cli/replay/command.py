"""`scal3r replay`: maps a recording as fast as the machine can, without any middleware."""

from __future__ import annotations

import tempfile
import time
from array import array
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, nullcontext
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from scal3r_ros.assembly import CoreConfig, build_mapper, bundled_weights_used, core_config
from scal3r_ros.cli.bag import ASSUMED_FOV_DEG
from scal3r_ros.cli.replay.interrupt import INTERRUPTED, first_interrupt, until
from scal3r_ros.cli.replay.offline import Memory, offline_mapper, with_memory
from scal3r_ros.cli.replay.watched import WatchedReplay, watchers_of
from scal3r_ros.cli.view import Host, Port
from scal3r_ros.configuration import read_parameter_file, read_settings, to_parameters
from scal3r_ros.errors import ConfigurationError, Scal3rError, SequenceError
from scal3r_ros.io.bags.reader import BagReader
from scal3r_ros.io.bags.sensors import SensorReader, SensorTopics
from scal3r_ros.io.results.writer import ResultWriter, RunTotals
from scal3r_ros.io.sources import SampleList, Source, SourceOptions, open_source
from scal3r_ros.mapping import OnlineMapper
from scal3r_ros.mapping.storage.map_store import MapWriter, StoredMap
from scal3r_ros.mapping.values import MapUpdate
from scal3r_ros.viewer.server import LOOPBACK

LONGEST_PAUSE_S = 60.0
"""A longer time between two images is a jump of the clock."""
SENSORS_AHEAD_NS = 200_000_000
"""So much beyond an image other sensors are read: what lies between two images is only known with the sample after."""


def replay(
    source: Annotated[
        Path,
        typer.Argument(
            help="What to map: a rosbag2 (its folder, or a .mcap or .db3 file), a ROS 1 bag, a video, a folder of "
            "images, or a sequence of a known data set: KITTI, TUM RGB-D, EuRoC, 7-Scenes and others (docs/data.md)."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to write the result to.")],
    config: Annotated[Path | None, typer.Option(help="A parameter file as in config/.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="One parameter, as name=value; may be given several times.")
    ] = None,
    reconstructor: Annotated[
        str | None, typer.Option(help="geometric, tiny or scal3r: short for --set reconstructor=…")
    ] = None,
    save_depth: Annotated[bool, typer.Option("--save-depth", help="Store every keyframe's depth map, too.")] = False,
    image_topic: Annotated[str | None, typer.Option(help="Which images, where the bag holds several cameras.")] = None,
    camera_info_topic: Annotated[
        str | None, typer.Option(help="The camera's calibration, where it is not beside its images.")
    ] = None,
    calib: Annotated[
        Path | None, typer.Option(help="A calibration file, in place of what the source knows of its camera.")
    ] = None,
    rectified: Annotated[
        bool | None,
        typer.Option(
            "--rectified/--raw", help="Whether the images are rectified already; by the topic's name if not given."
        ),
    ] = None,
    rate: Annotated[
        float | None, typer.Option(min=0.001, help="Images per second of a folder whose names are no times.")
    ] = None,
    times: Annotated[Path | None, typer.Option(help="Times of the images of a folder, one a line.")] = None,
    every: Annotated[int, typer.Option(min=1, help="Take only every n-th image.")] = 1,
    start: Annotated[float, typer.Option(min=0.0, help="Seconds after the first image to begin at.")] = 0.0,
    duration: Annotated[float | None, typer.Option(min=0.0, help="Seconds to map.")] = None,
    wheel_odometry: Annotated[
        str, typer.Option(help="A topic of nav_msgs/Odometry that wheels have measured; not used where there is none.")
    ] = SensorTopics.wheel_odometry,
    imu: Annotated[str, typer.Option(help="A topic of sensor_msgs/Imu; likewise.")] = SensorTopics.imu,
    fix: Annotated[str, typer.Option(help="A topic of sensor_msgs/NavSatFix; likewise.")] = SensorTopics.fix,
    sensors: Annotated[
        bool,
        typer.Option(
            "--sensors/--no-sensors", help="Whether other sensors, of a bag or of a data set, are used for metres."
        ),
    ] = True,
    max_frames: Annotated[int | None, typer.Option(min=1, help="Stop after so many images.")] = None,
    memory: Annotated[
        Memory | None,
        typer.Option(
            help="Map with a network, its memory learning by this rule; offline learns from the whole bag "
            "before it maps: slowest, best, and needs room on the disk of the result."
        ),
    ] = None,
    load_map: Annotated[
        Path | None, typer.Option(help="A saved map to begin with: the drive continues it once it is found in it.")
    ] = None,
    save_map: Annotated[Path | None, typer.Option(help="A folder to save the map to at the end.")] = None,
    view: Annotated[
        bool, typer.Option("--view", help="Show the map in the browser while it grows, until Ctrl-C.")
    ] = False,
    rerun: Annotated[Path | None, typer.Option(help="Also write the drive to this .rrd file of Rerun.")] = None,
    view_host: Host = LOOPBACK,
    view_port: Port = 8080,
) -> None:
    """Map a recording as fast as this machine can and write trajectory, map, timings and settings.

    Example: scal3r replay street.bag -o out/street && scal3r evaluate out/street --truth street.bag
    """
    console = Console(stderr=True)
    named = [] if reconstructor is None else [f"reconstructor={reconstructor}"]
    chosen = _configuration(config, [*(settings or []), *named], memory, console)
    _print_weights(chosen, console)
    options = SourceOptions(
        image_topic, camera_info_topic, calib, rectified, times, rate,
        ASSUMED_FOV_DEG if chosen.reconstructor == "geometric" else None, every, start, duration, max_frames,
    )  # fmt: skip
    mapper = None if memory is Memory.OFFLINE else build_mapper(chosen, f"replay/{source.stem}")
    with (
        nullcontext() if mapper is None else closing(mapper),
        closing(open_source(source, options)) as reader,
        _samples(source, reader, SensorTopics(wheel_odometry, imu, fix) if sensors else None) as samples,
        ExitStack() as states,
        first_interrupt() as interrupted,
    ):
        page = WatchedReplay(chosen, view_host, view_port, console) if view else None
        watchers = watchers_of(page, rerun, chosen)
        writer = ResultWriter(out, save_depth)  # not before the source: a mistyped name must not cost an older result
        total = options.expected(reader.image_count)
        columns = (
            TextColumn("mapping"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
        )
        if save_map is not None:
            with MapWriter(save_map):
                pass  # whether it can be written to is better known before the drive than after it
        started, stamps, taken = time.perf_counter(), array("q"), 0
        if mapper is None:
            folder = states.enter_context(tempfile.TemporaryDirectory(prefix="states_", dir=out))
            mapper = offline_mapper(source, options, chosen, Path(folder), console, load_map)
        elif load_map is not None:
            mapper.load(StoredMap(load_map))
        for watcher in watchers:
            watcher.begin(mapper, reader.ground_truth())
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task("mapping", total=total, rate="")
            for frame in until(interrupted, options.select(reader.frames())):
                for sample in () if samples is None else samples.until(frame.stamp_ns + SENSORS_AHEAD_NS):
                    mapper.add_sensor(sample)
                stamps.append(frame.stamp_ns)
                taken += 1
                updates = mapper.push(frame)
                for update in updates:
                    _take(update, writer, console)
                for watcher in watchers:
                    watcher.show(frame, updates)
                bar.update(task, advance=1, rate=f"{taken / (time.perf_counter() - started):.1f} images/s")
            if interrupted.is_set():
                bar.console.print("interrupted: writing what was mapped; Ctrl-C again ends at once", highlight=False)
            updates = mapper.flush()
            for update in updates:
                _take(update, writer, console)
            for watcher in watchers:
                watcher.finish(updates)
        seconds = time.perf_counter() - started
        unsaved = _save(mapper, save_map)
        dropped = dict(reader.dropped)
    if taken == 0:
        raise SequenceError(f"{source} holds no image that can be read: {_reasons(dropped)}")
    counters = dict(mapper.counters())
    lost_by_source = sum(dropped.values())
    dropped |= _refused(counters)
    trajectory, cloud = mapper.trajectory(), mapper.cloud()
    recorded_s = _recorded_s(np.frombuffer(stamps, np.int64))
    description = {"bag": source.name}
    description |= {"memory": memory.value} if memory else {}
    description |= {"loaded_map": load_map.name} if load_map else {}
    writer.finish(
        trajectory,
        cloud,
        RunTotals(
            frames_in=taken + lost_by_source,
            frames_dropped=dropped,
            frames_mapped=taken,
            counters=counters,
            seconds=seconds,
            recorded_s=recorded_s,
            parameters=to_parameters(chosen),
            source=description,
            metres=mapper.scale.summary(),
        ),
        mapper.scale.history(),
        mapper.occupancy.placed(),
    )
    lost = f"; dropped: {_reasons(dropped)}" if dropped else ""
    summary = (
        f"{len(trajectory)} of {taken} images posed in {seconds:.1f} s ({taken / seconds:.1f} images/s, "
        f"{recorded_s / seconds:.2f} × real time), {len(cloud.points)} points; result in {out}{lost}"
    )
    console.print(summary, highlight=False, markup=False, soft_wrap=True)
    if counters["submaps_unlocalized"]:
        console.print(
            f"[yellow]The map of {escape(str(load_map))} was not found again: this drive is a separate map.[/]"
        )
    if unsaved is not None:
        raise unsaved
    if len(trajectory) == 0:
        console.print(
            "[yellow]Nothing was mapped: the camera never moved enough for a first chunk, or too few points could be "
            "tracked.[/]"
        )
        raise typer.Exit(1)
    if interrupted.is_set():
        raise typer.Exit(INTERRUPTED)
    if page is not None:
        page.wait()


@contextmanager
def _samples(path: Path, source: Source, topics: SensorTopics | None) -> Iterator[SensorReader | SampleList | None]:
    """What other sensors recorded beside the images, those of bags by `topics`; None where they are not wanted."""
    if topics is None:
        yield None
    elif isinstance(source, BagReader):
        with closing(SensorReader(path, source.camera_frame, topics)) as samples:
            yield samples
    else:
        yield SampleList(source.samples())


def _refused(counters: Mapping[str, int | float]) -> dict[str, int]:
    """Images that the mapper refused for their stamps, by reason."""
    prefix = "frames_dropped_"
    return {
        name.removeprefix(prefix).replace("_", " "): int(number)
        for name, number in counters.items()
        if name.startswith(prefix) and number
    }


def _recorded_s(stamps_ns: NDArray[np.int64]) -> float:
    """How long it took to record the images. Where the clock jumps, the usual time between two images passed."""
    steps = np.diff(stamps_ns) * 1e-9
    passed = steps[(steps > 0) & (steps <= LONGEST_PAUSE_S)]
    usual = float(np.median(passed)) if len(passed) else 0.0
    return float(passed.sum()) + usual * (len(stamps_ns) - len(passed))


def _save(mapper: OnlineMapper, folder: Path | None) -> Scal3rError | None:
    """Saves the map, if it is to be; what went wrong must not cost the result, which is yet to be written."""
    try:
        if folder is not None:
            mapper.save(folder)
    except Scal3rError as error:
        return error
    return None


def _configuration(path: Path | None, settings: list[str], memory: Memory | None, console: Console) -> CoreConfig:
    values: dict[str, object] = {}
    given = read_settings(settings)
    if path is not None:
        values = read_parameter_file(path)
    if memory is not None:
        given["reconstructor"] = with_memory(given.get("reconstructor"), values.get("reconstructor"), memory)
        if memory is not Memory.OFFLINE:
            given["network.memory.rule"] = memory.value
    config, foreign = core_config({**values, **given})
    unknown = [name for name in foreign if name in given]
    if unknown:
        known = ", ".join(sorted(to_parameters(config)))
        raise ConfigurationError(f"unknown parameter {unknown[0]}; known ones are {known}")
    if foreign:
        console.print(f"not used without ROS: {', '.join(foreign)}", style="dim")
    return config


def _print_weights(config: CoreConfig, console: Console) -> None:
    bundled = bundled_weights_used(config)
    if bundled is not None:
        console.print(f"weights: {bundled}, which come with this package", style="dim", soft_wrap=True, markup=False)


def _take(update: MapUpdate, writer: ResultWriter, console: Console) -> None:
    note = update.note or (update.submap.note if update.submap is not None else "")
    if note and update.chunk is not None:
        console.print(f"chunk {update.chunk.index}: {note}", style="yellow", highlight=False, markup=False)
    writer.add(update)


def _reasons(dropped: dict[str, int]) -> str:
    return ", ".join(f"{count} × {reason}" for reason, count in sorted(dropped.items())) or "none"
