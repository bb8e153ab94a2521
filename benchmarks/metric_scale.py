"""Metres by each source of scale: how far the map's metre, and the map, are from the truth.

    python benchmarks/metric_scale.py street                      300 m of a simulated street, every source
    python benchmarks/metric_scale.py long                        2 km with satellite fixes, with and without an outage
    python benchmarks/metric_scale.py kitti00_160 kitti02_300     recorded sequences, camera height 1.65 m

All mappers of a drive are shown the same images, and share what the first of them reconstructs; loops are off. The
metre is the length of a metre of the map in true metres, by the best similarity; ATE is given after that, and after
alignment without scale, which is what a robot gets. `worst` is the largest of the latter distances. A second table
judges the observations of each source against the true unit of their submaps: mean and standard deviation of the error
of the logarithm, its root mean square in the sigmas that the source claimed, and the correlation of neighbours. Writes
metric_scale.csv and metric_scale_observations.csv to --out.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from recorded import DATA
from shared_geometry import SharedGeometry

from scal3r_ros.assembly import build_reconstructor, core_config
from scal3r_ros.cli.bag import bag as make_bag
from scal3r_ros.evaluation.metrics.alignment import align_positions, apply, associate
from scal3r_ros.evaluation.metrics.trajectories import compare_trajectories
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.io.bags.reader import BagReader
from scal3r_ros.mapping import OnlineMapper
from scal3r_ros.mapping.values import Fix, ImuSample, SensorSample, WheelOdometry
from scal3r_ros.reconstruction.protocol import Frame
from scal3r_ros.simulation.drives.levelling import CAMERA_HEIGHT_M
from scal3r_ros.simulation.drives.street import street_drive
from scal3r_ros.simulation.sensors.suite import simulate_sensors
from scal3r_ros.simulation.simulate import pinhole, render_frames

HEIGHT = "camera_height"
KINDS: Mapping[str, type[SensorSample]] = {"wheel_odometry": WheelOdometry, "imu": ImuSample, "gnss": Fix}
MEASURED_FROM = {"kitti00_160": 16}
"""First image whose true pose was measured: until then the truth of KITTI 00 goes on at constant speed."""
ALONE = ("none", HEIGHT, *KINDS)
TOGETHER = "+".join(ALONE[1:])
RECORDED = {
    "kitti00_160": ("image_0", "poses_first160.txt", "times_first160.txt"),
    "kitti02_300": ("image_0", "poses.txt", "times.txt"),
    "kitti06_51": ("image_0", "poses.txt", None),
}
SETTINGS = {
    "loops.enabled": False, "initial_median_depth_m": 12.0, "map.voxel_size": 0.2,
    "geometric.sweep.min_parallax_deg": 2.5, "geometric.lag.radial_sigma": 0.02,
}  # fmt: skip
"""As the profile for driving has it, without loops."""


@dataclass(frozen=True)
class Drive:
    """Images with their truth, and what other sensors measured; `ways` are combinations of sources to map it by."""

    name: str
    frames: Iterable[Frame]
    truth: Trajectory
    samples: Sequence[SensorSample]
    samples_with_outage: Sequence[SensorSample]
    ways: Sequence[str]


@dataclass(frozen=True)
class Row:
    """One drive by one combination of sources; lengths in metres, scales as ratios."""

    drive: str
    sources: str
    length_m: float
    ate_sim3_m: float
    ate_rigid_m: float
    worst_m: float
    metre: float
    drift: float | None
    sigma: float | None
    conflicting: str


@dataclass(frozen=True)
class Observed:
    """The observations of one source on one drive."""

    drive: str
    source: str
    count: int
    mean: float
    std: float
    rms_in_sigmas: float
    neighbours: float


def main() -> None:
    """Runs the drives one after the other and prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("drives", nargs="+", choices=("street", "long", *RECORDED))
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--length", type=float, help="of a simulated drive, in metres")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the recorded sequences")
    parser.add_argument("--sweep-width", type=int, default=320, help="width of the depth maps")
    parser.add_argument("--out", type=Path, default=Path("out/metric_scale"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    observed: list[Observed] = []
    for name in arguments.drives:
        drive = _recorded(name, arguments) if name in RECORDED else _simulated(name, arguments)
        new_rows, new_observed = run(drive, arguments.sweep_width)
        rows += new_rows
        observed += new_observed
        for record in (*new_rows, *new_observed):
            print(", ".join(f"{key} {_short(value)}" for key, value in asdict(record).items()), flush=True)
        _write(arguments.out / "metric_scale.csv", rows)
        _write(arguments.out / "metric_scale_observations.csv", observed)


def run(drive: Drive, sweep_width: int) -> tuple[list[Row], list[Observed]]:
    """All ways to map a drive, side by side."""
    base = {**SETTINGS, "geometric.sweep.width": sweep_width}
    shared = SharedGeometry(build_reconstructor(core_config(base)[0]))
    mappers, feeds = {}, {}
    for way in drive.ways:
        height = CAMERA_HEIGHT_M if HEIGHT in way else 0.0
        mappers[way] = OnlineMapper(core_config({**base, "scale.camera_height": height})[0], shared)
        samples = drive.samples_with_outage if "outage" in way else drive.samples
        kinds = tuple(kind for name, kind in KINDS.items() if name in way)
        feeds[way] = [sample for sample in samples if isinstance(sample, kinds)]
        for sample in feeds[way]:
            mappers[way].add_sensor(sample)
    for frame in drive.frames:
        for mapper in mappers.values():
            mapper.push(frame)
    for mapper in mappers.values():
        mapper.flush()
    rows = [_row(drive, way, mapper) for way, mapper in mappers.items()]
    if (first := MEASURED_FROM.get(drive.name, 0)) > 0:
        truth = Trajectory(drive.truth.stamps_ns[first:], drive.truth.T_ref_cam[first:])
        later = replace(drive, name=f"{drive.name} from image {first}", truth=truth)
        rows += [_row(later, way, mapper) for way, mapper in mappers.items()]
    fullest = mappers[drive.ways[-1]]
    return rows, list(_observed(drive, fullest, shared))


def _row(drive: Drive, way: str, mapper: OnlineMapper) -> Row:
    metrics = compare_trajectories(drive.truth, mapper.trajectory()).metrics
    true, estimate = associate(drive.truth, mapper.trajectory(), 0.01)
    rigid = apply(align_positions(true, estimate, with_scale=False), estimate)
    worst = float(np.linalg.norm(rigid.T_ref_cam[:, :3, 3] - true.T_ref_cam[:, :3, 3], axis=1).max())
    scale = mapper.scale.estimate()
    return Row(
        drive.name, way, metrics.path_length_m, metrics.ate_sim3_rmse_m, metrics.ate_se3_rmse_m, worst, metrics.scale,
        metrics.scale_drift, None if scale is None else scale.sigma,
        "" if scale is None else " ".join(d.source.value for d in scale.conflicts),
    )  # fmt: skip


def _observed(drive: Drive, mapper: OnlineMapper, shared: SharedGeometry) -> Iterator[Observed]:
    by_source: dict[str, list[tuple[float, float]]] = {}
    for o in mapper.scale.history().observations:
        kept = shared.kept[o.submap]
        stamps = np.array([frame.stamp_ns for frame in kept.chunk.frames])
        rows = np.clip(np.searchsorted(drive.truth.stamps_ns, stamps), 0, len(drive.truth) - 1)
        true = np.linalg.norm(np.diff(drive.truth.T_ref_cam[rows, :3, 3], axis=0), axis=1).sum()
        seen = np.linalg.norm(np.diff(kept.geometry.T_chunk_cam[:, :3, 3], axis=0), axis=1).sum()
        if true > 1.0 and seen > 0:
            by_source.setdefault(o.source.value, []).append((o.log_scale - float(np.log(true / seen)), o.sigma))
    for source, pairs in by_source.items():
        errors, sigmas = np.array(pairs).T
        rest = errors - errors.mean()
        variance = float(np.mean(rest**2))
        neighbours = float(np.mean(rest[1:] * rest[:-1]) / variance) if len(rest) > 2 and variance > 0 else 0.0
        rms = float(np.sqrt(np.mean(np.square(errors / sigmas))))
        yield Observed(drive.name, source, len(errors), float(errors.mean()), float(errors.std()), rms, neighbours)


def _simulated(name: str, arguments: argparse.Namespace) -> Drive:
    length = arguments.length or {"street": 300.0, "long": 2000.0}[name]
    truth = street_drive(length, seed=arguments.seed)
    camera = pinhole(640, 192, 83.0)
    views = render_frames(truth, camera, seed=arguments.seed, workers=2)
    frames = (Frame(number, view.stamp_ns, view.image, camera) for number, view in enumerate(views))
    middle_s = 0.5 * float(truth.stamps_ns[-1] - truth.stamps_ns[0]) * 1e-9
    samples = simulate_sensors(truth, arguments.seed)
    outage = simulate_sensors(truth, arguments.seed, [middle_s])
    ways = ("none", "gnss, outage of 30 s", "gnss") if name == "long" else (*ALONE, TOGETHER)
    return Drive(f"{name} {length:g} m", frames, truth, samples, outage, ways)


def _recorded(name: str, arguments: argparse.Namespace) -> Drive:
    images, poses, times = RECORDED[name]
    source, bag = arguments.data / name, arguments.out / "bags" / name
    if not (bag / "metadata.yaml").is_file():
        bag.parent.mkdir(parents=True, exist_ok=True)
        make_bag(
            source / images, source / "calib.txt", bag, rate=None if times else 10.0,
            times=source / times if times else None, truth=source / poses,
        )  # fmt: skip
    with BagReader(bag) as reader:
        truth = reader.ground_truth()
    if truth is None:
        raise SystemExit(f"{bag} holds no true poses; remove it, and it is made anew")
    return Drive(name, _frames(bag), truth, (), (), ("none", HEIGHT))


def _frames(bag: Path) -> Iterator[Frame]:
    with BagReader(bag) as reader:
        yield from reader.frames()


def _write(path: Path, records: Sequence[Row] | Sequence[Observed]) -> None:
    if not records:
        return
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(asdict(records[0])))
        writer.writeheader()
        writer.writerows({key: _short(value) for key, value in asdict(record).items()} for record in records)


def _short(value: object) -> object:
    return round(value, 4) if isinstance(value, float) else value


if __name__ == "__main__":
    main()
