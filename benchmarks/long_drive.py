"""Time per frame and resident memory of the online mapper over a long simulated drive: both have to stay flat.

    python benchmarks/long_drive.py                      3,000 frames, about 2.4 km
    python benchmarks/long_drive.py --frames 500 --out out/long_drive
    python benchmarks/long_drive.py --frames 12500 --speed 16 --width 320 --height 96 --sweep-width 128 \
        --max-points 500000                              20 km, in small images

Prints a row per 250 frames and the two curves, and writes long_drive.csv and long_drive.png. Only the mapper's own
time is counted, not the rendering; memory is that of the whole process, so it includes the simulated town, which is
built first.
"""

from __future__ import annotations

import argparse
import csv
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import psutil

from scal3r_ros.assembly import build_mapper, core_config
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.mapping.cloud.config import PointMapConfig
from scal3r_ros.reconstruction.geometric.plane_sweep import PlaneSweepConfig
from scal3r_ros.reconstruction.protocol import Frame
from scal3r_ros.simulation.drives.street import street_drive
from scal3r_ros.simulation.simulate import pinhole, render_frames

ROW = 250
FIRST_M = 2000.0
"""Way after which memory has to stay where it is, on drives longer than twice that."""
RATE_HZ = 10.0


def main() -> None:
    """Runs the drive and prints both curves."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=3000)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--height", type=int, default=192)
    parser.add_argument("--speed", type=float, default=8.0, help="metres a second")
    parser.add_argument("--sweep-width", type=int, default=PlaneSweepConfig.width)
    parser.add_argument("--max-points", type=int, default=PointMapConfig.max_points)
    parser.add_argument("--out", type=Path, default=Path("out/long_drive"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    length_m = arguments.frames / RATE_HZ * arguments.speed * 1.3 + 100.0
    drive = street_drive(length_m, arguments.speed, RATE_HZ, seed=7)
    drive = Trajectory(drive.stamps_ns[: arguments.frames], drive.T_ref_cam[: arguments.frames])
    camera = pinhole(arguments.width, arguments.height, 83.0)
    settings = {"geometric.sweep.width": arguments.sweep_width, "map.max_points": arguments.max_points}
    mapper = build_mapper(core_config(settings)[0])
    seconds, resident_mb = np.zeros(len(drive)), np.zeros(len(drive))
    process = psutil.Process()
    print(f"{'frames':>12} {'ms/frame':>9} {'RSS MB':>8} {'map points':>11} {'posed':>6}")
    for index, view in enumerate(render_frames(drive, camera, seed=7)):
        frame = Frame(index, int(drive.stamps_ns[index]), view.image, camera)
        started = time.perf_counter()
        mapper.push(frame)
        seconds[index] = time.perf_counter() - started
        resident_mb[index] = process.memory_info().rss / 2**20
        if (index + 1) % ROW == 0:
            counters = mapper.counters()
            print(
                f"{index + 1 - ROW:>5} – {index:>4} {1e3 * seconds[index + 1 - ROW : index + 1].mean():>9.1f} "
                f"{resident_mb[index]:>8.0f} {counters['map_points']:>11} {counters['frames_posed']:>6}",
                flush=True,
            )
    _report(seconds, resident_mb, _way(drive), arguments.out)


def _way(drive: Trajectory) -> np.ndarray:
    steps = np.linalg.norm(np.diff(drive.T_ref_cam[:, :3, 3], axis=0), axis=1)
    return np.concatenate([[0.0], np.cumsum(steps)])


def _report(seconds: np.ndarray, resident_mb: np.ndarray, distance_travelled: np.ndarray, out: Path) -> None:
    third = max(1, len(seconds) // 3)
    early, late = seconds[third : 2 * third].mean(), seconds[-third:].mean()
    print(f"time per frame, last third over middle third: {late / early:.3f}")
    print(f"resident memory, end over one third of the drive: {resident_mb[-1] / resident_mb[third - 1]:.3f}")
    print(f"path: {distance_travelled[-1] / 1e3:.2f} km")
    if distance_travelled[-1] > 2 * FIRST_M:
        after = int(np.searchsorted(distance_travelled, FIRST_M))
        low, high = resident_mb[after:].min() / resident_mb[after], resident_mb[after:].max() / resident_mb[after]
        print(f"resident memory after the first 2 km, over that there: {low:.3f} … {high:.3f}")
        late = _per_frame(seconds, distance_travelled, -1) / _per_frame(seconds, distance_travelled, 2)
        print(f"time per frame, last kilometre over the third: {late:.3f}")
    with (out / "long_drive.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["frame", "seconds", "resident_mb"])
        writer.writerows(
            zip(range(len(seconds)), seconds.round(5).tolist(), resident_mb.round(1).tolist(), strict=True)
        )
    window = np.ones(100) / 100
    figure, (above, below) = plt.subplots(2, 1, sharex=True, figsize=(8, 5))
    above.plot(np.arange(99, len(seconds)), 1e3 * np.convolve(seconds, window, "valid"))
    above.set_ylabel("ms per frame (mean of 100)")
    above.set_ylim(bottom=0)
    below.plot(resident_mb)
    below.set_ylabel("resident memory, MB")
    below.set_ylim(bottom=0)
    below.set_xlabel("frame")
    figure.tight_layout()
    figure.savefig(out / "long_drive.png", dpi=110)
    print(f"curves in {out / 'long_drive.png'} and {out / 'long_drive.csv'}")


def _per_frame(seconds: np.ndarray, distance_travelled: np.ndarray, kilometre: int) -> float:
    """Mean seconds a frame in a kilometre of the path, the first being 0 and the last whole one −1."""
    number = kilometre if kilometre >= 0 else int(distance_travelled[-1] // 1000) + kilometre
    return float(seconds[(distance_travelled >= 1000 * number) & (distance_travelled < 1000 * (number + 1))].mean())


if __name__ == "__main__":
    main()
