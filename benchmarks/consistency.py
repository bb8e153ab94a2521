"""Whether covariances are honest: normalised estimation errors squared (NEES) of odometry on simulated drives.

    python benchmarks/consistency.py                              five streets of 300 m, without metres and by source
    python benchmarks/consistency.py --seeds 11 12 --length 200 --ways none camera_height

Odometry as the node gives it out, a pose for every image and never revised, is cut into windows of 10 m of the true
way. In each, the pose at its end against that at its beginning is compared with the truth. `position` and `rotation`
are the means of the squared error in the claimed covariance, 3 for an honest one; `twist` is the same of the linear and
of the angular velocity of each image, `since start` of the pose in `odom`, `scale` of the log of the metre (1 for an
honest one). Windows count as independent; in brackets is the interval in which the mean of as many independent errors
lies in 95 of 100 cases. Poses within 10 m and all poses of a drive have much in common, so that the interval of the
last three is that of as many windows, and of as many drives.

Where no sensor measures metres the truth is taken in the unit that the first submap has set. Writes consistency.csv.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from metric_scale import ALONE, HEIGHT, KINDS, SETTINGS, TOGETHER
from numpy.typing import NDArray
from scipy.stats import chi2
from shared_geometry import SharedGeometry

from scal3r_ros.assembly import build_reconstructor, core_config
from scal3r_ros.geometry import se3
from scal3r_ros.geometry.sim3 import Sim3
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.mapping import OnlineMapper
from scal3r_ros.mapping.submaps.uncertainty import camera_covariance, chained
from scal3r_ros.mapping.values import FramePose, MapUpdate, SubmapSummary
from scal3r_ros.nodes.mapper.output.velocity import VelocityMeter
from scal3r_ros.reconstruction.protocol import Frame
from scal3r_ros.simulation.drives.levelling import CAMERA_HEIGHT_M
from scal3r_ros.simulation.drives.street import street_drive
from scal3r_ros.simulation.sensors.suite import simulate_sensors
from scal3r_ros.simulation.simulate import pinhole, render_frames

Array = NDArray[np.float64]

WINDOW_M = 10.0
POSITION, ROTATION, LINEAR, ANGULAR, START_POSITION, START_ROTATION, SCALE = (
    "position", "rotation", "twist linear", "twist angular", "position since start", "rotation since start", "scale",
)  # fmt: skip
DEGREES_OF_FREEDOM = {SCALE: 1}


@dataclass
class Recording:
    """What one mapper has given out on a drive: poses, and the submap each was given out by.

    Of each submap: whether it is in metres, and the stamps of its keyframes with their centres (s, 3) in `odom`.
    """

    poses: list[FramePose] = field(default_factory=list)
    by: list[int] = field(default_factory=list)
    metric: list[bool] = field(default_factory=list)
    submaps: list[SubmapSummary] = field(default_factory=list)
    keyframes: list[tuple[NDArray[np.int64], Array]] = field(default_factory=list)

    def take(self, updates: Sequence[MapUpdate], knew: bool, knows: bool) -> None:
        """Adds what a mapper has given out for one image; whether it `knew` metres before it, and `knows` them now.

        `odom` takes over the metre with the next submap; the first one begins with it.
        """
        for update in updates:
            first = not self.submaps
            if update.submap is not None:
                self.metric.append(knows if first else knew)
            if update.submap is not None and update.chunk is not None and update.geometry is not None:
                stamps = np.array([frame.stamp_ns for frame in update.chunk.frames])
                centres = update.submap.S_odom_submap.apply(update.geometry.T_chunk_cam[:, :3, 3])
                self.keyframes.append((stamps, centres))
            if update.submap is not None and first:
                self.submaps.append(update.submap)
            self.poses += update.poses
            self.by += [len(self.submaps) - 1] * len(update.poses)
            if update.submap is not None and not first:
                self.submaps.append(update.submap)


@dataclass(frozen=True)
class Row:
    """One quantity by one combination of sources: mean NEES, its interval, and how many errors count as independent."""

    sources: str
    quantity: str
    nees: float
    low: float
    high: float
    independent: int
    rms: float


def main() -> None:
    """Runs the drives one after the other and prints the table of all of them together."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[11, 12, 13, 14, 15])
    parser.add_argument("--length", type=float, default=300.0, help="of each drive, in metres")
    parser.add_argument("--ways", nargs="+", default=[*ALONE, TOGETHER], choices=[*ALONE, TOGETHER])
    parser.add_argument("--width", type=int, default=480, help="of the images; they are 0.3 times as high")
    parser.add_argument("--sweep-width", type=int, default=240, help="width of the depth maps")
    parser.add_argument("--out", type=Path, default=Path("out/consistency"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    errors: dict[str, list[dict[str, Array]]] = {way: [] for way in arguments.ways}
    for seed in arguments.seeds:
        drive = street_drive(arguments.length, seed=seed)
        recordings = record(drive, seed, arguments.ways, arguments.width, arguments.sweep_width)
        for way, recording in recordings.items():
            errors[way].append(squared_errors(recording, drive, metric=way != "none"))
            for row in rows_of(way, [errors[way][-1]]):
                print(f"seed {seed}: {_line(row)}", flush=True)
    rows = [row for way in arguments.ways for row in rows_of(way, errors[way])]
    for row in rows:
        print(_line(row), flush=True)
    with (arguments.out / "consistency.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(asdict(rows[0])))
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def record(drive: Trajectory, seed: int, ways: Sequence[str], width: int, sweep_width: int) -> dict[str, Recording]:
    """The drive mapped by all combinations of sources, side by side, without loops."""
    base = {**SETTINGS, "geometric.sweep.width": sweep_width, "geometric.lag.radial_sigma": 0.0}  # a pinhole
    shared = SharedGeometry(build_reconstructor(core_config(base)[0]), len(ways))
    samples = simulate_sensors(drive, seed)
    mappers = {}
    for way in ways:
        height = CAMERA_HEIGHT_M if HEIGHT in way else 0.0
        mappers[way] = OnlineMapper(core_config({**base, "scale.camera_height": height})[0], shared)
        for sample in samples:
            if isinstance(sample, tuple(kind for name, kind in KINDS.items() if name in way)):
                mappers[way].add_sensor(sample)
    recordings = {way: Recording() for way in ways}
    camera = pinhole(width, round(0.3 * width), 83.0)
    for number, view in enumerate(render_frames(drive, camera, seed=seed)):
        for way, mapper in mappers.items():
            knew = mapper.scale.estimate() is not None
            updates = mapper.push(Frame(number, view.stamp_ns, view.image, camera))
            recordings[way].take(updates, knew, mapper.scale.estimate() is not None)
    return recordings


def squared_errors(recording: Recording, drive: Trajectory, metric: bool) -> dict[str, Array]:
    """NEES by quantity: of every window, every image's twist, ends of windows since the start, every submap's scale.

    `metric`: only what was given out in metres counts, and the truth is in metres.
    """
    stamps = np.array([pose.stamp_ns for pose in recording.poses])
    true = drive.T_ref_cam[np.searchsorted(drive.stamps_ns, stamps)].copy()
    if not metric:
        true[:, :3, 3] /= _unit(recording, true)
    usable = np.array(recording.metric)[recording.by] if metric else np.ones(len(true), bool)
    found: dict[str, list[float]] = {}

    def add(position: str, rotation: str, error: Array, covariance: Array) -> None:
        for name, part in ((position, slice(0, 3)), (rotation, slice(3, 6))):
            found.setdefault(name, []).append(_nees(error[part], covariance[part, part]))

    begin = int(np.argmax(usable))
    starts_metric = bool(usable[0])
    for first, last in _windows(true, begin, WINDOW_M):
        add(POSITION, ROTATION, *_window_error(recording, true, first, last))
        if starts_metric:
            error = _error(recording.poses[0].T_odom_cam, recording.poses[last].T_odom_cam, true[0], true[last])
            to_first = np.kron(np.eye(2), recording.poses[0].T_odom_cam[:3, :3].T)
            covariance = to_first @ recording.poses[last].covariance @ to_first.T
            add(START_POSITION, START_ROTATION, error, covariance)
    meter = VelocityMeter()
    for k, pose in enumerate(recording.poses):
        extrapolated = not pose.source.measured
        twist = meter.measure(pose.stamp_ns, pose.T_odom_cam, extrapolated, pose.scale_sigma)
        if k < 5 or not usable[k - 1]:
            continue
        seconds = (pose.stamp_ns - recording.poses[k - 1].stamp_ns) * 1e-9
        velocity = se3.log(se3.invert(true[k - 1]) @ true[k]) / seconds
        add(LINEAR, ANGULAR, twist.velocity - velocity, twist.covariance)
    if metric and (scales := list(_scale_errors(recording, drive))):
        found[SCALE] = scales
    return {name: np.array(values) for name, values in found.items()}


def rows_of(way: str, drives: Sequence[Mapping[str, Array]]) -> Iterator[Row]:
    """The quantities of several drives together."""
    for name in dict.fromkeys(name for drive in drives for name in drive):
        values = np.concatenate([drive[name] for drive in drives if name in drive])
        count = sum(len(drive.get(POSITION, ())) for drive in drives) or 1
        if name in (START_POSITION, START_ROTATION, SCALE):
            count = sum(name in drive for drive in drives)
        freedom = DEGREES_OF_FREEDOM.get(name, 3)
        low, high = interval(count, freedom)
        yield Row(way, name, float(values.mean()), low, high, count, float(np.sqrt(values.mean() / freedom)))


def interval(count: int, freedom: int) -> tuple[float, float]:
    """Where the mean NEES of `count` independent errors of `freedom` dimensions lies in 95 of 100 cases."""
    low, high = chi2.ppf([0.025, 0.975], count * freedom) / count
    return float(low), float(high)


def _windows(true: Array, begin: int, length: float) -> Iterator[tuple[int, int]]:
    """Rows of poses at the ends of consecutive windows of at least `length` of the true way."""
    first, way = begin, 0.0
    for k in range(begin + 1, len(true)):
        way += float(np.linalg.norm(true[k, :3, 3] - true[k - 1, :3, 3]))
        if way >= length:
            yield first, k
            first, way = k, 0.0


def _window_error(recording: Recording, true: Array, first: int, last: int) -> tuple[Array, Array]:
    """Error (6,) of the last pose of a window against the first, in its axes, and the covariance claimed."""
    a, b = recording.poses[first], recording.poses[last]
    i, j = recording.by[first], recording.by[last]
    start, end = recording.submaps[i], recording.submaps[j]
    # What the first pose errs by against its submap, at the scale of that, in the axes of its camera.
    own = a.covariance - camera_covariance(start.covariance, start.S_odom_submap, a.T_odom_cam)
    scale, turn = start.S_odom_submap.scale, np.kron(np.eye(2), a.T_odom_cam[:3, :3].T)
    here = np.zeros((7, 7))
    here[:6, :6] = turn @ own @ turn.T
    here[:3] /= scale
    here[:, :3] /= scale
    here[6, 6] = a.scale_sigma**2
    S_odom_a = Sim3.from_rigid(a.T_odom_cam, scale)
    covariance = chained(here, S_odom_a.inverse() @ start.S_odom_submap, np.zeros((7, 7)))
    for summary in recording.submaps[i + 1 : j + 1]:
        assert summary.step is not None
        covariance = chained(covariance, summary.step.S_before_submap, summary.step.covariance)
    claimed = camera_covariance(covariance, end.S_odom_submap, b.T_odom_cam)
    claimed += b.covariance - camera_covariance(end.covariance, end.S_odom_submap, b.T_odom_cam)
    return _error(a.T_odom_cam, b.T_odom_cam, true[first], true[last]), turn @ claimed @ turn.T


def _error(T_a: Array, T_b: Array, true_a: Array, true_b: Array) -> Array:
    """Error (6,) of b against a: position and rotation, in the axes of a."""
    found, true = se3.invert(T_a) @ T_b, se3.invert(true_a) @ true_b
    return np.concatenate([found[:3, 3] - true[:3, 3], se3.rotation_log(found[:3, :3] @ true[:3, :3].T)])


def _unit(recording: Recording, true: Array) -> float:
    """Metres in the unit that the first submap has set: the true way through it by the way in `odom`."""
    first = recording.submaps[0]
    inside = [k for k, pose in enumerate(recording.poses) if pose.stamp_ns <= first.last_stamp_ns]
    found = np.array([recording.poses[k].T_odom_cam[:3, 3] for k in inside])
    around = [np.square(way - way.mean(axis=0)).sum() for way in (true[inside, :3, 3], found)]
    return float(np.sqrt(around[0] / around[1]))


def _scale_errors(recording: Recording, drive: Trajectory) -> Iterator[float]:
    """Squared error of the log of the metre, by the spread of the keyframes of every submap that is in metres."""
    for metric, summary, (stamps, found) in zip(recording.metric, recording.submaps, recording.keyframes, strict=True):
        true = drive.T_ref_cam[np.searchsorted(drive.stamps_ns, stamps), :3, 3]
        ways = [np.square(way - way.mean(axis=0)).sum() for way in (found, true)]
        if metric:
            yield float((0.5 * np.log(ways[0] / ways[1])) ** 2 / summary.covariance[6, 6])


def _nees(error: Array, covariance: Array) -> float:
    return float(error @ np.linalg.solve(covariance, error))


def _line(row: Row) -> str:
    verdict = "inside" if row.low <= row.nees <= row.high else "OUTSIDE"
    return f"{row.sources}, {row.quantity}: {row.nees:.2f} [{row.low:.2f}, {row.high:.2f}] {verdict}, {row.rms:.2f} σ"


if __name__ == "__main__":
    main()
