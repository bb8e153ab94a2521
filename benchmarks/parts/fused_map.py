"""The point map of a simulated street, as fused and as a pile of points, against the street's true surfaces.

    python benchmarks/parts/fused_map.py
    python benchmarks/parts/fused_map.py --length 300 --cars 0 --volumes

One replay by the geometric reconstructor gives the chunks; every way of making a map of them gets the same. `F1`,
`precision` and `recall` are those of `scal3r evaluate`, `road` the share of the road within 20 m of a camera that has a
point of the map within the same distance. `cars` is the share of the points in the colours of the moving cars, which
drive ahead of the camera and towards it. `ms` is CPU time a chunk. `--volumes` adds a TSDF of each submap (Open3D's
VoxelBlockGrid). The truth is the street without the cars.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence

import numpy as np
import open3d as o3d
from numpy.typing import NDArray

from scal3r_ros.assembly import build_mapper, core_config
from scal3r_ros.evaluation.metrics.clouds import distances, measure, thin
from scal3r_ros.evaluation.metrics.trajectories import compare_trajectories
from scal3r_ros.geometry import se3
from scal3r_ros.geometry.projection import backproject
from scal3r_ros.geometry.sim3 import Sim3
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.mapping.cloud.config import PointMapConfig
from scal3r_ros.mapping.cloud.point_map import PointMap
from scal3r_ros.mapping.submaps.points import coloured_points
from scal3r_ros.mapping.values import MapUpdate
from scal3r_ros.reconstruction.protocol import Frame
from scal3r_ros.simulation.drives.levelling import CAMERA_HEIGHT_M
from scal3r_ros.simulation.drives.street import street_drive
from scal3r_ros.simulation.simulate import SimulatedFrame, pinhole, render_frames
from scal3r_ros.simulation.town.traffic import BODY_RGB, MovingCar, car_along, with_traffic

THRESHOLD_M, RANGE_M, ROAD_RANGE_M = 0.2, 35.0, 20.0
DEPTH_EVERY, PIXEL_STEP = 5, 2
MIN_CONFIDENCE = 0.5
WAYS = {
    "pile": PointMapConfig(checked_submaps=0),
    "pile, 2 observations": PointMapConfig(checked_submaps=0, min_observations=2),
    "fused": PointMapConfig(),
    "fused, 2 observations": PointMapConfig(min_observations=2),
}

Points = NDArray[np.float64]
Made = tuple[Points, NDArray[np.uint8]]


def main() -> None:
    """Replays the drive and prints a row for each way of making a map of its chunks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--length", type=float, default=60.0, help="metres of street")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cars", type=int, default=3, help="moving cars; the first drives ahead of the camera")
    parser.add_argument("--volumes", action="store_true", help="measure TSDF volumes, too")
    arguments = parser.parse_args()
    camera = pinhole(640, 192, 83.0)
    drive = street_drive(arguments.length, 8.0, 10.0, arguments.seed)
    still = list(render_frames(drive, camera, arguments.seed, workers=2))
    frames = [frame for frame, _ in with_traffic(still, camera, cars(drive, arguments.cars))]
    mapper = build_mapper(core_config({})[0], "fused_map")
    updates = [
        update
        for number, frame in enumerate(frames)
        for update in mapper.push(Frame(number, frame.stamp_ns, frame.image, camera))
    ]
    updates = [update for update in updates + mapper.flush() if update.submap is not None]
    comparison = compare_trajectories(drive, mapper.trajectory(), 0.01)
    judge = judge_of(still, comparison.S_truth_map)
    print(f"{len(updates)} chunks, ATE {comparison.metrics.ate_sim3_rmse_m:.3f} m")
    print(f"{'way':<22} {'points':>8} {'F1':>6} {'precision':>9} {'recall':>6} {'road':>6} {'cars':>6} {'ms':>5}")
    for name, config in WAYS.items():
        report(name, lambda config=config: point_map(updates, config), judge, len(updates))
    if arguments.volumes:
        report("TSDF a submap", lambda: volumes(updates, PointMapConfig().voxel_size), judge, len(updates))
    mapper.close()


def cars(drive: Trajectory, count: int) -> list[MovingCar]:
    """One that pulls away before the camera, the others towards it on the other lane, 25 m apart."""
    T = drive.T_ref_cam
    ahead, right = T[:, :3, 2], T[:, :3, 0]
    ground, number = T[:, :3, 3] - [0.0, 0.0, CAMERA_HEIGHT_M], np.arange(len(T))[:, None]
    leading = [car_along(ground + ahead * (10.0 + 0.15 * number), ahead)]
    oncoming = [
        car_along(ground - 3.2 * right + ahead * (45.0 + 25.0 * k - 1.3 * number), -ahead) for k in range(count - 1)
    ]
    return [*leading, *oncoming][:count]


def point_map(updates: Sequence[MapUpdate], config: PointMapConfig) -> Made:
    """The map as the mapper makes it."""
    points = PointMap(config)
    for update in updates:
        assert update.submap is not None
        assert update.chunk is not None
        assert update.geometry is not None
        new = coloured_points(update.chunk, update.geometry, MIN_CONFIDENCE)
        anchor = update.submap.S_map_submap
        points.add(update.submap.index, new.points, new.colours, new.weights, anchor, new.surface)
    cloud = points.cloud()
    return cloud.points.astype(np.float64), cloud.colours


def volumes(updates: Sequence[MapUpdate], voxel: float) -> Made:
    """The zero crossings of a truncated signed distance of each submap, seen twice at least."""
    core, cpu = o3d.core, o3d.core.Device("CPU:0")
    clouds = []
    for update in updates:
        assert update.submap is not None
        assert update.chunk is not None
        assert update.geometry is not None
        views = coloured_points(update.chunk, update.geometry, MIN_CONFIDENCE).surface
        S = update.submap.S_map_submap
        kinds = (core.float32, core.float32, core.float32)
        grid = o3d.t.geometry.VoxelBlockGrid(("tsdf", "weight", "color"), kinds, ((1), (1), (3)), voxel, 8, 20_000, cpu)
        for view in views.views[views.shared :]:
            depth = o3d.t.geometry.Image(core.Tensor((view.depth * np.float32(S.scale))[..., None].copy()))
            black = o3d.t.geometry.Image(core.Tensor(np.zeros((*view.depth.shape, 3), np.float32)))
            K, T = core.Tensor(view.intrinsics.K), core.Tensor(se3.invert(S.apply_pose(view.T_submap_cam)))
            blocks = grid.compute_unique_block_coordinates(depth, K, T, 1.0, 40.0, 4.0)
            grid.integrate(blocks, depth, black, K, K, T, 1.0, 40.0, 4.0)
        clouds.append(grid.extract_point_cloud(2.0).point.positions.numpy().astype(np.float64))
    points = np.concatenate(clouds)
    return points, np.zeros(points.shape, np.uint8)


def judge_of(still: Sequence[SimulatedFrame], S_truth_map: Sim3) -> Callable[[Made], tuple[float, ...]]:
    """Compares maps with the surfaces that the camera truly passed."""
    camera = pinhole(640, 192, 83.0)
    surfaces, roads = [], []
    for frame in still[::DEPTH_EVERY]:
        local = backproject(frame.depth_m, camera)[::PIXEL_STEP, ::PIXEL_STEP].astype(np.float64)
        z = local[..., 2]
        world = local @ frame.T_ref_cam[:3, :3].T + frame.T_ref_cam[:3, 3]
        surfaces.append(world[(z > 0) & (z < RANGE_M)])
        below = np.abs(local[..., 1] - CAMERA_HEIGHT_M) < 0.25
        roads.append(world[(z > 0) & (z < ROAD_RANGE_M) & (np.abs(local[..., 0]) < 3.0) & below])
    surface, road = (thin(np.concatenate(parts), THRESHOLD_M / 2) for parts in (surfaces, roads))
    path = np.stack([frame.T_ref_cam[:3, 3] for frame in still])

    def judge(made: Made) -> tuple[float, ...]:
        points = thin(S_truth_map.apply(made[0]), THRESHOLD_M / 2)
        points = points[distances(points, path) < RANGE_M]
        metrics = measure(surface, points, THRESHOLD_M)
        covered = float(np.mean(distances(road, points) < THRESHOLD_M))
        green = made[1][:, 1].astype(float)
        paint = np.minimum(made[1][:, 0], made[1][:, 2]) - green
        share = float(np.mean(paint > 0.25 * (min(BODY_RGB[0], BODY_RGB[2]) - BODY_RGB[1])))
        return metrics.f1, metrics.precision, metrics.recall, covered, share

    return judge


def report(name: str, make: Callable[[], Made], judge: Callable[[Made], tuple[float, ...]], chunks: int) -> None:
    """Makes a map twice, the first time to compile, and prints its row."""
    make()
    started = time.process_time()
    made = make()
    ms = 1e3 * (time.process_time() - started) / chunks
    f1, precision, recall, road, share = judge(made)
    row = f"{f1:6.1%} {precision:9.1%} {recall:6.1%} {road:6.1%} {share:6.2%} {ms:5.0f}"
    print(f"{name:<22} {len(made[0]):>8} {row}", flush=True)


if __name__ == "__main__":
    main()
