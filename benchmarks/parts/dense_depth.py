"""The dense stage alone, on a simulated street whose depth and poses are known: time per frame, coverage and error.

    python benchmarks/parts/dense_depth.py
    python benchmarks/parts/dense_depth.py --width 480 --planes 96

Chunks of 14 keyframes get their true poses and a few true points, so that nothing but the dense stage is measured. Time
is CPU time of one thread, with compiled code warmed up. `confident` is the share of pixels that the map would take,
`complete` the share of the surfaces within three median depths that are right to 2 % of the median depth, `road` the
share of the road within 20 m that has confident depth, `sky` the share of the sky that has any. To compare with another
version of the package, set PYTHONPATH to it.
"""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray

from scal3r_ros.geometry.projection import backproject
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.mapping.config import MapperConfig
from scal3r_ros.reconstruction.geometric.dense import dense_depth
from scal3r_ros.reconstruction.geometric.plane_sweep import PlaneSweepConfig
from scal3r_ros.simulation.drives.levelling import CAMERA_HEIGHT_M
from scal3r_ros.simulation.drives.street import street_drive
from scal3r_ros.simulation.simulate import SimulatedFrame, pinhole, render_frames

FRAMES = 14
ROAD_HALF_WIDTH_M, ROAD_RANGE_M, ROAD_TOLERANCE_M = 3.0, 20.0, 0.25


def main() -> None:
    """Sweeps each chunk and prints a line for it, then the mean."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=PlaneSweepConfig.width)
    parser.add_argument("--planes", type=int, default=PlaneSweepConfig.planes)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="one street and one chunk each")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    config = PlaneSweepConfig(width=arguments.width, planes=arguments.planes, min_parallax_deg=3.5)
    rows = [measured(seed, config) for seed in arguments.seeds]
    print(f"{'seed':>4} {'ms/frame':>9} {'confident':>9} {'complete':>9} {'median error':>12} {'road':>7} {'sky':>7}")
    for seed, row in zip([*map(str, arguments.seeds), "mean"], [*rows, np.mean(rows, axis=0)], strict=True):
        ms, confident, complete, error, road, sky = row
        print(f"{seed:>4} {ms:9.0f} {confident:9.1%} {complete:9.1%} {error:12.2%} {road:7.1%} {sky:7.2%}")


def measured(seed: int, config: PlaneSweepConfig) -> NDArray[np.float64]:
    """Milliseconds a frame; shares confident and complete; median relative error; shares of the road and of the sky."""
    camera = pinhole(640, 192, 83.0)
    drive = street_drive(60.0, 8.0, 10.0, seed)
    drive = Trajectory(drive.stamps_ns[24 : 24 + FRAMES], drive.T_ref_cam[24 : 24 + FRAMES])
    frames = list(render_frames(drive, camera, seed))
    T = np.stack([frame.T_ref_cam for frame in frames])
    points = {}
    for number, frame in enumerate(frames):
        local = backproject(frame.depth_m, camera)[(frame.depth_m > 0) & (frame.depth_m < 80)][::151]
        points[number] = local @ T[number, :3, :3].T + T[number, :3, 3]
    images, cpu = [frame.image for frame in frames], torch.device("cpu")
    with ThreadPoolExecutor(1) as pool:
        dense_depth(images[:4], camera, T[:4], points, None, config, cpu, pool)
        start = time.process_time()
        depth, confidence, small = dense_depth(images, camera, T, points, None, config, cpu, pool)
        ms = 1e3 * (time.process_time() - start) / len(frames)
    true = np.stack([at_size(frame, small.height, small.width) for frame in frames])
    sure, there = confidence >= MapperConfig.min_confidence, true > 0
    median_m = float(np.median(true[there]))
    near = there & (true < 3 * median_m)
    error = np.abs(depth - true)
    xyz = np.stack([backproject(z, small) for z in true])
    road = there & (true < ROAD_RANGE_M) & (np.abs(xyz[..., 0]) < ROAD_HALF_WIDTH_M)
    road &= np.abs(xyz[..., 1] - CAMERA_HEIGHT_M) < ROAD_TOLERANCE_M
    right = sure & (error < 0.02 * median_m)
    relative = error[sure & there] / true[sure & there]
    shares = [sure.mean(), right[near].mean(), np.median(relative), sure[road].mean(), sure[~there].mean()]
    return np.array([ms, *shares])


def at_size(frame: SimulatedFrame, height: int, width: int) -> NDArray[np.float32]:
    """True depth (height, width) at the pixels of a smaller map."""
    rows, columns = frame.depth_m.shape
    row = np.clip(np.rint((np.arange(height) + 0.5) * rows / height - 0.5), 0, rows - 1).astype(np.int64)
    column = np.clip(np.rint((np.arange(width) + 0.5) * columns / width - 0.5), 0, columns - 1).astype(np.int64)
    return frame.depth_m[np.ix_(row, column)]


if __name__ == "__main__":
    main()
