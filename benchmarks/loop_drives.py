"""Drives with real loops: circuits of our own or the true trajectories of KITTI through a town laid along them, mapped
with loops, without, and without but with the height of the camera.

    python benchmarks/loop_drives.py block eight delivery
    python benchmarks/loop_drives.py ../shared/data/kitti_ground_truth/07.txt
    python benchmarks/loop_drives.py ../shared/data/kitti_ground_truth/0[0567].txt --out out/loop_drives

All mappers are shown the same images in turn, and share what the first of them reconstructs. A true loop is a submap
one of whose frames comes within 10 m and 45° of a frame long enough before; it is found where the map rests on a loop
that ends there. A loop is false where no two frames of its submaps are within 15 m and 60° of each other in truth.
Prints a row a drive and writes loop_drives.csv.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from shared_geometry import SharedGeometry

from scal3r_ros.assembly import build_reconstructor, core_config
from scal3r_ros.evaluation.metrics.trajectories import compare_trajectories
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.io.trajectories import read_trajectory
from scal3r_ros.mapping import OnlineMapper, SubmapSummary
from scal3r_ros.reconstruction.protocol import Frame
from scal3r_ros.simulation.drives.circuits import CIRCUITS, circuit_drive
from scal3r_ros.simulation.drives.levelling import CAMERA_HEIGHT_M, levelled
from scal3r_ros.simulation.simulate import pinhole, render_frames
from scal3r_ros.simulation.town.town import build_town

RATE_HZ = 10.0
NEAR_M, NEAR_DEG = 10.0, 45.0
FALSE_M, FALSE_DEG = 15.0, 60.0


@dataclass(frozen=True)
class Row:
    """Figures of one drive; lengths in metres, times in seconds.

    ATE is after the best similarity, `ate_height_metres_m` after the best rigid motion.
    """

    drive: str
    frames: int
    length_m: float
    ate_without_m: float
    ate_with_m: float
    ate_height_m: float
    ate_height_metres_m: float
    loops: int
    true_places: int
    found_places: int
    false_loops: int
    dropped: int
    mapping_s: float
    loops_s: float


def main() -> None:
    """Runs the drives one after the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("drives", nargs="+", help=f"{', '.join(CIRCUITS)}, or files with KITTI trajectories")
    parser.add_argument("--frames", type=int, default=None, help="stop each drive after so many")
    parser.add_argument("--width", type=int, default=480)
    parser.add_argument("--height", type=int, default=144)
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--sweep-width", type=int, default=160)
    parser.add_argument("--out", type=Path, default=Path("out/loop_drives"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for name in arguments.drives:
        rows.append(run(name, arguments))
        print(", ".join(f"{name} {_short(value)}" for name, value in asdict(rows[-1]).items()), flush=True)
        with (arguments.out / "loop_drives.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(asdict(rows[0])))
            writer.writeheader()
            writer.writerows({name: _short(value) for name, value in asdict(row).items()} for row in rows)


def run(name: str, arguments: argparse.Namespace) -> Row:
    """One drive with two mappers."""
    drive = circuit_drive(name) if name in CIRCUITS else levelled(read_trajectory(Path(name), rate_hz=RATE_HZ))
    town = build_town(drive, arguments.seed)
    drive = Trajectory(drive.stamps_ns[: arguments.frames], drive.T_ref_cam[: arguments.frames])
    camera = pinhole(arguments.width, arguments.height, 83.0)
    settings = {"geometric.sweep.width": arguments.sweep_width, "geometric.sweep.planes": 32}
    ways = ({"loops.enabled": False}, {}, {"loops.enabled": False, "scale.camera_height": CAMERA_HEIGHT_M})
    configs = [core_config({**settings, **way})[0] for way in ways]
    shared = SharedGeometry(build_reconstructor(configs[0]), len(configs))
    mappers = [OnlineMapper(config, shared) for config in configs]
    seconds, submaps = np.zeros(len(mappers)), dict[int, SubmapSummary]()
    views = render_frames(drive, camera, seed=arguments.seed, town=town)
    for number, view in enumerate(views):
        frame = Frame(number, view.stamp_ns, view.image, camera)
        for which, mapper in enumerate(mappers):
            started = time.perf_counter()
            for update in mapper.push(frame):
                if which == 1 and update.submap is not None:
                    submaps[update.submap.index] = update.submap
            seconds[which] += time.perf_counter() - started
    for which, mapper in enumerate(mappers):
        for update in mapper.flush():
            if which == 1 and update.submap is not None:
                submaps[update.submap.index] = update.submap
    without, with_loops, height = (compare_trajectories(drive, mapper.trajectory()).metrics for mapper in mappers)
    found, true, false = _judged(mappers[1], drive, submaps)
    counters = mappers[1].counters()
    return Row(
        Path(name).stem, len(drive), with_loops.path_length_m, without.ate_sim3_rmse_m, with_loops.ate_sim3_rmse_m,
        height.ate_sim3_rmse_m, height.ate_se3_rmse_m, int(counters["loops"]), len(true), len(true & found), false,
        int(counters["loops_dropped"]), float(seconds[0]), float(seconds[1]),
    )  # fmt: skip


def _judged(
    mapper: OnlineMapper, drive: Trajectory, submaps: dict[int, SubmapSummary]
) -> tuple[set[int], set[int], int]:
    """Submaps that loops end in, submaps that truly see a place again, and the number of loops between other places."""
    frames = {
        index: np.flatnonzero((drive.stamps_ns >= s.first_stamp_ns) & (drive.stamps_ns <= s.last_stamp_ns))
        for index, s in submaps.items()
    }
    config = core_config({})[0].loops
    true = set()
    for index, own in frames.items():
        before = drive.stamps_ns[own[0]] - config.min_gap_s * 1e9
        olds = [other for other in frames if other <= index - config.min_gap_submaps]
        old = np.concatenate([frames[other] for other in olds]) if olds else np.zeros(0, int)
        old = old[drive.stamps_ns[old] <= before]
        if len(old) and _meet(drive, own, old, NEAR_M, NEAR_DEG):
            true.add(index)
    loops = mapper.loops()
    false = sum(not _meet(drive, frames[edge.j], frames[edge.i], FALSE_M, FALSE_DEG) for edge in loops)
    return {edge.j for edge in loops}, true, false


def _meet(drive: Trajectory, some: Sequence[int], others: Sequence[int], metres: float, degrees: float) -> bool:
    a, b = drive.T_ref_cam[some], drive.T_ref_cam[others]
    near = np.linalg.norm(a[:, None, :3, 3] - b[None, :, :3, 3], axis=2) <= metres
    alike = a[:, :3, 2] @ b[:, :3, 2].T >= np.cos(np.deg2rad(degrees))
    return bool((near & alike).any())


def _short(value: object) -> object:
    return round(value, 3) if isinstance(value, float) else value


if __name__ == "__main__":
    main()
