"""The occupancy grid against the true free space of simulated streets and rooms.

    python benchmarks/parts/occupancy.py
    python benchmarks/parts/occupancy.py street --seeds 1 2 3 --length 120 --pictures out/occupancy

The whole mapper maps each drive with the geometric reconstructor and is given what a robot has there: the height of the
camera on a street and in rooms, an IMU where it is carried by hand. The map is moved onto the truth without scale. A
true cell is occupied where a surface lies between the two heights over it, and free where it is not and the camera
could get there. `free` and `occupied` are precision and recall: of the cells that the map calls so, the share that is,
and of the true cells that a level ray of a camera reaches within the range, the share that the map calls so. Occupied
cells count as right within 0.2 m. `ms` is what a chunk takes for its grid.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, label

from scal3r_ros.assembly import build_mapper, core_config
from scal3r_ros.evaluation.metrics.alignment import align_cameras, align_positions, associate
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.io.trajectories import even_stamps
from scal3r_ros.mapping import OnlineMapper
from scal3r_ros.mapping.values import FREE, OCCUPIED, ImuSample, OccupancyGrid, SensorSample
from scal3r_ros.reconstruction.protocol import Frame
from scal3r_ros.simulation.drives.levelling import CAMERA_HEIGHT_M
from scal3r_ros.simulation.drives.street import street_drive
from scal3r_ros.simulation.sensors.suite import simulate_sensors
from scal3r_ros.simulation.simulate import pinhole, render_frames
from scal3r_ros.simulation.town.centreline import Ground
from scal3r_ros.simulation.town.scene import Scene, Shape
from scal3r_ros.simulation.town.town import build_town
from scal3r_ros.simulation.worlds.indoor import build_rooms
from scal3r_ros.simulation.worlds.motion import make_motion
from scal3r_ros.simulation.worlds.rendering.sensor import CLEAN
from scal3r_ros.simulation.worlds.rendering.view import Viewer
from scal3r_ros.simulation.worlds.world import Request

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

CELL_M = 0.05
NEAR_M = 0.2
RATE_HZ = 10.0
STREET = {"initial_median_depth_m": 12.0, "map.voxel_size": 0.2, "geometric.sweep.min_parallax_deg": 3.5,
          "geometric.lag.radial_sigma": 0.02, "scale.camera_height": CAMERA_HEIGHT_M}  # fmt: skip
ROOMS: dict[str, float] = {"initial_median_depth_m": 3.0, "map.voxel_size": 0.05}
ROOM_HEIGHT_M = {"rooms": 0.8, "handheld_rooms": 1.5}
OCCUPANCY = {"rooms": {"occupancy.max_range": 6.0, "occupancy.max_height": 0.7, "occupancy.cell_size": 0.05},
             "handheld_rooms": {"occupancy.max_range": 6.0, "occupancy.cell_size": 0.05}, "street": {}}  # fmt: skip


@dataclass(frozen=True)
class Truth:
    """True obstacles seen from above: `occupied` (rows, columns), cells of CELL_M, the first at `corner` (x, y)."""

    occupied: Mask
    corner: Array

    def cells(self, xy: Array) -> tuple[NDArray[np.int64], Mask]:
        """Row and column (n, 2) of places (n, 2), and whether they lie inside."""
        at = np.floor((xy - self.corner) / CELL_M).astype(np.int64)[:, ::-1]
        inside = ((at >= 0) & (at < self.occupied.shape)).all(axis=1)
        return np.where(inside[:, None], at, 0), inside


@dataclass(frozen=True)
class Drive:
    """Frames of a simulated drive, its truth, what other sensors measured, and the obstacles between two heights."""

    frames: Iterator[Frame]
    poses: Trajectory
    camera: Intrinsics
    samples: list[SensorSample]
    settings: dict[str, float]
    truth: Callable[[float, float], Truth]


def main() -> None:
    """Maps each drive and prints a line for it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kinds", nargs="*", default=["street", "rooms", "handheld_rooms"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--length", type=float, default=100.0, help="of a street, in metres")
    parser.add_argument("--frames", type=int, default=160, help="of a clip in rooms")
    parser.add_argument("--pictures", type=Path, help="folder for pictures of the map over the truth")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="parameters")
    arguments = parser.parse_args()
    more = {name: float(value) for name, value in (item.split("=") for item in arguments.set)}
    print(f"{'drive':>18} {'free':>15} {'occupied':>15} {'cells':>7} {'ms':>5}")
    for kind in arguments.kinds:
        for seed in arguments.seeds:
            made = street(seed, arguments.length) if kind == "street" else rooms(kind, seed, arguments.frames)
            measured(f"{kind} {seed}", made, more, arguments.pictures)


def measured(name: str, drive: Drive, more: dict[str, float], pictures: Path | None) -> None:
    """Maps a drive and prints how right its grid is."""
    config = core_config({"loops.enabled": False, "geometric.sweep.width": 320, **drive.settings, **more})[0]
    mapper = build_mapper(config)
    for sample in drive.samples:
        mapper.add_sensor(sample)
    took = _timed(mapper)
    for frame in drive.frames:
        mapper.push(frame)
    mapper.flush()
    grid = mapper.occupancy.grid()
    if grid is None:
        print(f"{name:>18} no grid: {mapper.occupancy.reason}; {dict(mapper.occupancy.counters())}", flush=True)
        return
    truth = drive.truth(config.occupancy.min_height, config.occupancy.max_height)
    true, estimate = associate(drive.poses, mapper.trajectory(), 0.01)
    S = align_positions(true, estimate, with_scale=False)
    centres = true.T_ref_cam[:, :3, 3]
    reached, walls = _reached(truth, true, drive.camera, config.occupancy.max_range)
    states = _laid_over(truth, grid, S.inverse().matrix, float(centres[:, 2].mean()) - CAMERA_HEIGHT_M)
    open_, near = _open(truth, centres), _near(truth.occupied)
    free, occupied = states == FREE, states == OCCUPIED
    rates = [_share(open_[free]), _share(free[reached]), _share(near[occupied]), _share(_near(occupied)[walls])]
    ms = 1e3 * float(np.median(took)) if took else float("nan")
    print(f"{name:>18} {rates[0]:7.1%} {rates[1]:7.1%} {rates[2]:7.1%} {rates[3]:7.1%} {free.sum():>7} {ms:5.0f}"
          f"   {dict(mapper.occupancy.counters())} {align_cameras(true, estimate).scale:.3f}", flush=True)  # fmt: skip
    if pictures is not None:
        pictures.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(pictures / f"{name.replace(' ', '_')}.png"), _picture(truth, states, reached)[::-1])


def street(seed: int, length: float) -> Drive:
    """A street of the town, with the height of the camera known."""
    poses, camera = street_drive(length, 8.0, RATE_HZ, seed), pinhole(640, 192, 83.0)
    town = build_town(poses, seed)
    views = render_frames(poses, camera, seed, town=town, workers=2)
    frames = (Frame(number, view.stamp_ns, view.image, camera) for number, view in enumerate(views))
    moved = Trajectory(poses.stamps_ns, town.T_scene_ref @ poses.T_ref_cam)
    ground = Ground(moved.T_ref_cam[:, :3, 3] - [0.0, 0.0, CAMERA_HEIGHT_M])
    return Drive(frames, moved, camera, [], STREET,
                 lambda low, high: _town_truth(town.scene, ground, moved, low, high))  # fmt: skip


def rooms(kind: str, seed: int, count: int) -> Drive:
    """A furnished flat: driven through with the height of the camera known, or carried through with an IMU."""
    rng = np.random.default_rng([seed, 17])
    driven = kind == "rooms"
    motion = make_motion("forward" if driven else "walk", count, 0.06, rng)
    world = build_rooms(Request(motion, ROOM_HEIGHT_M[kind]), rng, True)
    camera = pinhole(480, 320, 90.0)
    T = world.T_world_cam[:count]
    poses = Trajectory(even_stamps(count, RATE_HZ), T)
    viewer = Viewer(world.mesh, world.atlas, world.light, camera, T[:, :3, 3])
    still = np.zeros(world.mover_poses.shape[1], np.bool_)

    def frames() -> Iterator[Frame]:
        for k in range(count):
            view = viewer.draw(T[k], T[min(k + 1, count - 1)], world.mover_poses[0], still, CLEAN, seed * 1000 + k)
            yield Frame(k, int(poses.stamps_ns[k]), view.image, camera)

    samples = [] if driven else [s for s in simulate_sensors(poses, seed) if isinstance(s, ImuSample)]
    settings = {**ROOMS, **OCCUPANCY[kind], **({"scale.camera_height": ROOM_HEIGHT_M[kind]} if driven else {})}
    corners = world.mesh.corners[world.mesh.mover < 0]
    return Drive(frames(), poses, camera, samples, settings, lambda low, high: _mesh_truth(corners, T, low, high))


def _timed(mapper: OnlineMapper) -> list[float]:
    took: list[float] = []
    add = mapper.occupancy.add

    def timed(*arguments: object) -> None:
        start = time.process_time()
        add(*arguments)  # type: ignore[arg-type]
        took.append(time.process_time() - start)

    mapper.occupancy.add = timed  # type: ignore[method-assign, assignment]
    return took


def _bounds(T: Array, margin: float) -> tuple[Array, tuple[int, int]]:
    corner = T[:, :2, 3].min(axis=0) - margin
    columns, rows = np.ceil((T[:, :2, 3].max(axis=0) + margin - corner) / CELL_M).astype(int)
    return corner, (int(rows), int(columns))


def _town_truth(scene: Scene, ground: Ground, poses: Trajectory, low: float, high: float) -> Truth:
    """Footprints of all parts between the heights; of the round ones at the height where they are widest there."""
    corner, shape = _bounds(poses.T_ref_cam, 30.0)
    occupied = np.zeros(shape, np.bool_)
    for kind, (x, y, bottom, top, length, width, c, s) in zip(scene.shape, scene.solid, strict=True):
        base = float(ground.heights(np.array([[x, y]]))[0])
        if top < base + low or bottom > base + high:
            continue
        if kind == Shape.ELLIPSOID:
            middle, half = 0.5 * (bottom + top), 0.5 * (top - bottom)
            widest = (np.clip(middle, base + low, base + high) - middle) / half
            length, width = (side * np.sqrt(max(1.0 - widest**2, 0.0)) for side in (length, width))
        reach = float(np.hypot(length, width))
        first = np.maximum(np.floor((np.array([x, y]) - reach - corner) / CELL_M).astype(int), 0)
        last = np.minimum(np.ceil((np.array([x, y]) + reach - corner) / CELL_M).astype(int), shape[::-1])
        if (last <= first).any():
            continue
        dx = (np.arange(first[0], last[0]) + 0.5) * CELL_M + corner[0] - x
        dy = ((np.arange(first[1], last[1]) + 0.5) * CELL_M + corner[1] - y)[:, None]
        along, across = c * dx + s * dy, -s * dx + c * dy
        inside = (np.abs(along) <= length) & (np.abs(across) <= width)
        if kind != Shape.BOX:
            inside = (along / max(length, 1e-9)) ** 2 + (across / max(width, 1e-9)) ** 2 <= 1.0
        occupied[first[1] : last[1], first[0] : last[0]] |= inside
    return Truth(occupied, corner)


def _mesh_truth(corners: Array, T: Array, low: float, high: float) -> Truth:
    """Points of all triangles between the heights above the floor, at z = 0, closer to each other than cells."""
    corner, shape = _bounds(T, 15.0)
    occupied = np.zeros(shape, np.bool_)
    touching = (corners[:, :, 2].min(axis=1) <= high) & (corners[:, :, 2].max(axis=1) >= low)
    for a, b, c in corners[touching]:
        steps = int(np.ceil(max(np.linalg.norm(b - a), np.linalg.norm(c - a), np.linalg.norm(c - b)) / (0.7 * CELL_M)))
        u, v = np.meshgrid(np.linspace(0, 1, steps + 2), np.linspace(0, 1, steps + 2))
        keep = u + v <= 1.0 + 1e-9
        points = a + u[keep][:, None] * (b - a) + v[keep][:, None] * (c - a)
        points = points[(points[:, 2] >= low) & (points[:, 2] <= high)]
        at = np.floor((points[:, :2] - corner) / CELL_M).astype(int)
        at = at[((at >= 0) & (at < shape[::-1])).all(axis=1)]
        occupied[at[:, 1], at[:, 0]] = True
    return Truth(occupied, corner)


def _open(truth: Truth, centres: Array) -> Mask:
    """Cells that are connected with the camera's way without an obstacle between."""
    numbers, _ = label(~truth.occupied)
    at, inside = truth.cells(centres[:, :2])
    reached = np.unique(numbers[at[inside][:, 0], at[inside][:, 1]])
    return np.isin(numbers, reached[reached > 0])


def _near(mask: Mask) -> Mask:
    reach = round(NEAR_M / CELL_M)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    return np.asarray(binary_dilation(mask, x**2 + y**2 <= reach**2))


def _reached(truth: Truth, poses: Trajectory, camera: Intrinsics, reach: float) -> tuple[Mask, Mask]:
    """Free cells that a level ray of a camera reaches, and the obstacles that such rays end at."""
    free, walls = np.zeros_like(truth.occupied), np.zeros_like(truth.occupied)
    half = np.arctan(0.5 * camera.width / camera.fx)
    height = float(poses.T_ref_cam[0, 2, 3])
    blind = min(height / np.tan(np.arctan(0.5 * camera.height / camera.fy)), 0.7 * reach)
    steps = np.arange(0.0, reach, 0.7 * CELL_M)
    for T in poses.T_ref_cam[::3]:
        heading = np.arctan2(T[1, 2], T[0, 2])
        angles = heading + np.linspace(-half, half, 400)
        xy = T[:2, 3] + steps[:, None, None] * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
        at, inside = truth.cells(xy.reshape(-1, 2))
        blocked = (truth.occupied[at[:, 0], at[:, 1]] | ~inside).reshape(len(steps), -1)
        passed = np.cumsum(blocked, axis=0) == 0
        first = (np.cumsum(blocked, axis=0) == 1) & blocked
        free[tuple(at[(passed & (steps[:, None] > blind)).ravel()].T)] = True
        walls[tuple(at[(first & (steps[:, None] > blind)).ravel()].T)] = True
    return free & ~truth.occupied, walls & truth.occupied


def _laid_over(truth: Truth, grid: OccupancyGrid, S_map_truth: Array, z: float) -> NDArray[np.int8]:
    """The state that the grid gives each true cell; -1 outside."""
    rows, columns = np.indices(truth.occupied.shape)
    xy = np.stack([columns, rows], axis=-1).reshape(-1, 2) * CELL_M + 0.5 * CELL_M + truth.corner
    points = np.column_stack([xy, np.full(len(xy), z)])
    at = (points @ S_map_truth[:3, :3].T + S_map_truth[:3, 3])[:, :2]
    cell = np.floor((at - grid.origin) / grid.resolution).astype(np.int64)
    inside = ((cell >= 0) & (cell < grid.cells.shape[::-1])).all(axis=1)
    states = np.full(len(at), -1, np.int8)
    states[inside] = grid.cells[cell[inside][:, 1], cell[inside][:, 0]]
    return states.reshape(truth.occupied.shape)


def _picture(truth: Truth, states: NDArray[np.int8], reached: Mask) -> NDArray[np.uint8]:
    """White free, black occupied, grey unknown; red free that is not, green true obstacles, blue what was missed."""
    picture = np.full((*states.shape, 3), 128, np.uint8)
    picture[reached & (states == -1)] = (200, 160, 120)
    picture[truth.occupied] = (90, 150, 90)
    picture[states == FREE] = 255
    picture[(states == FREE) & truth.occupied] = (0, 0, 255)
    picture[states == OCCUPIED] = 0
    return picture


def _share(mask: Mask) -> float:
    return float(mask.mean()) if mask.size else float("nan")


if __name__ == "__main__":
    main()
