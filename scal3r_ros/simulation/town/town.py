"""Builds a town along a camera's trajectory: streets under it, houses beside it, nothing in its path."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from scal3r_ros.errors import SimulationError
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.simulation.drives.levelling import CAMERA_HEIGHT_M, upright
from scal3r_ros.simulation.town import furniture
from scal3r_ros.simulation.town.centreline import Centreline, Ground, lay_centreline
from scal3r_ros.simulation.town.furniture import Place
from scal3r_ros.simulation.town.scene import Part, Scene, parts_by_cell
from scal3r_ros.simulation.town.street_texture import ROAD_HALF_WIDTH_M, SIDEWALK_WIDTH_M

CELL_M = 3.0
MARGIN_M = 160.0
LARGEST_GRID = 16_000_000
LOWEST_CAMERA_M = 0.6

HOUSE_CLEARANCE_M = 5.0
CAR_CLEARANCE_M = 1.0
POST_CLEARANCE_M = 2.2
HOUSE_FRONT_M = ROAD_HALF_WIDTH_M + SIDEWALK_WIDTH_M


@dataclass(frozen=True)
class Town:
    """A `scene`, and `T_scene_ref` (4, 4) from the frame of the trajectory it was built for to the scene's."""

    scene: Scene
    T_scene_ref: NDArray[np.float64]


def build_town(drive: Trajectory, seed: int = 0, camera_height_m: float = CAMERA_HEIGHT_M) -> Town:
    """A town in which the camera poses of `drive` (metres, any frame) run along streets, `camera_height_m` above them.

    Up is the mean direction of the cameras' tops. Equal arguments give an equal town.

    Raises:
        SimulationError: the drive is too short for a street, too large for the grid, or no single ground lies under it.
    """
    if len(drive) < 2:
        raise SimulationError(f"drive has {len(drive)} poses, but at least two are needed to lay a street along it")
    T_scene_ref = upright(drive.T_ref_cam)
    path = (T_scene_ref @ drive.T_ref_cam)[:, :3, 3]
    ground = Ground(path - np.array([0.0, 0.0, camera_height_m]))
    centreline = lay_centreline(path[:, :2])
    lowest = float((path[:, 2] - ground.heights(path[:, :2])).min())
    if lowest < LOWEST_CAMERA_M:
        raise SimulationError(
            f"drive comes back to a place at another height: its camera is {lowest:.1f} m above one ground; level it"
        )

    everything = np.concatenate([path[:, :2], centreline.points])
    origin = np.floor((everything.min(axis=0) - MARGIN_M) / CELL_M) * CELL_M
    size = np.ceil((everything.max(axis=0) + MARGIN_M - origin) / CELL_M).astype(int)
    nx, ny = int(size[0]), int(size[1])
    if nx * ny > LARGEST_GRID:
        raise SimulationError(
            f"drive covers {nx * CELL_M / 1000:.1f} × {ny * CELL_M / 1000:.1f} km, too much to simulate; cut it"
        )
    corners = _grid_points(origin, nx + 1, ny + 1, 0.0)
    heights = ground.heights(corners).reshape(ny + 1, nx + 1)
    cell_street = cKDTree(centreline.points).query(_grid_points(origin, nx, ny, 0.5))[1].reshape(ny, nx)

    rng = np.random.default_rng(seed)
    site = _Site(path[:, :2], ground, centreline, rng)
    parts = site.furnish()
    cell_begin, cell_parts, cell_top = parts_by_cell(parts, origin, CELL_M, (ny, nx))
    azimuth, elevation = float(rng.uniform(0, 2 * math.pi)), math.radians(float(rng.uniform(38, 58)))
    sun = (math.cos(azimuth) * math.cos(elevation), math.sin(azimuth) * math.cos(elevation), math.sin(elevation))
    scene = Scene(
        origin=origin,
        cell=CELL_M,
        cell_heights=_cell_heights(heights, cell_top),
        cell_begin=cell_begin,
        cell_parts=cell_parts,
        highest=float(max(cell_top.max(), heights.max())),
        cell_street=cell_street.astype(np.int32),
        street=np.column_stack([centreline.points, centreline.arc]),
        street_joined=centreline.joined,
        shape=np.array([part.shape for part in parts], np.int64),
        material=np.array([part.material for part in parts], np.int64),
        seed=np.array([part.seed for part in parts], np.int64),
        solid=np.array(
            [
                [*part.centre, part.bottom, part.top, *part.half, math.cos(part.yaw), math.sin(part.yaw)]
                for part in parts
            ],
            np.float64,
        ).reshape(-1, 8),
        paint=np.array([[*part.colour, *part.accent] for part in parts], np.float64).reshape(-1, 6),
        sun=np.array(sun),
    )
    return Town(scene, T_scene_ref)


@dataclass
class _Site:
    """The town under construction: what stands already, and the camera's path, which stays free."""

    path_xy: NDArray[np.float64]
    ground: Ground
    centreline: Centreline
    rng: np.random.Generator
    parts: list[Part] = field(default_factory=list)
    house_corners: list[NDArray[np.float64]] = field(default_factory=list)

    def furnish(self) -> list[Part]:
        """Everything that stands in the town, houses first."""
        self._streets = cKDTree(self.centreline.points)
        dense = np.concatenate([self.path_xy, (self.path_xy[1:] + self.path_xy[:-1]) / 2])
        self._driven = cKDTree(dense)
        self._houses: dict[tuple[int, int], list[int]] = {}
        for stretch in self.centreline.stretches():
            for side in (1.0, -1.0):
                self._houses_along(stretch, side, HOUSE_FRONT_M, (8.0, 17.0), (6.5, 15.0), gap=0.18)
        for stretch in self.centreline.stretches():
            for side in (1.0, -1.0):
                self._houses_along(stretch, side, HOUSE_FRONT_M + 24.0, (14.0, 30.0), (14.0, 26.0), gap=0.1)
                self._cars_along(stretch, side)
                self._posts_along(stretch, side)
        return self.parts

    def _place(self, stretch: slice, arc: float, left: float) -> Place:
        arcs = self.centreline.arc[stretch]
        x, y = (float(np.interp(arc, arcs, self.centreline.points[stretch, axis])) for axis in range(2))
        yaw = float(np.interp(arc, arcs, self.centreline.heading[stretch]))
        x, y = Place(x, y, 0.0, yaw).beside(0.0, left)
        ground = float(self.ground.heights(np.array([[x, y]]))[0])
        return Place(x, y, ground, yaw)

    def _houses_along(
        self, stretch: slice, side: float, front: float, lengths: tuple[float, float], heights: tuple[float, float],
        gap: float,
    ) -> None:  # fmt: skip
        rng = self.rng
        arc, end = float(self.centreline.arc[stretch.start]), float(self.centreline.arc[stretch.stop - 1])
        while arc < end:
            length, depth = float(rng.uniform(*lengths)), float(rng.uniform(9.0, 13.0))
            height, setback = float(rng.uniform(*heights)), float(rng.uniform(0.0, 1.5))
            if rng.random() < gap:
                opening = float(rng.uniform(3.0, 8.0))
                place = self._place(stretch, arc + opening / 2, side * (front + setback))
                if rng.random() < 0.7 and self._is_free(place, opening, 0.3, HOUSE_CLEARANCE_M):
                    self.parts += furniture.fence(place, opening, rng)
                arc += opening
                continue
            place = self._place(stretch, arc + length / 2, side * (front + setback + depth / 2))
            if self._is_free(place, length, depth, HOUSE_CLEARANCE_M) and self._is_unbuilt(place, length, depth):
                self.parts += furniture.building(place, length, depth, height, rng)
                self._build_on(place, length, depth)
                arc += length + float(rng.choice([0.0, 0.0, 0.4]))
            else:
                arc += 2.0

    def _cars_along(self, stretch: slice, side: float) -> None:
        rng = self.rng
        arc, end = float(self.centreline.arc[stretch.start]) + 3.0, float(self.centreline.arc[stretch.stop - 1])
        while arc < end:
            arc += float(rng.choice([5.8, 6.2, 8.0, 14.0, 24.0, 36.0]))
            place = self._place(stretch, arc, side * float(rng.uniform(3.1, 3.3)))
            if self._is_free(place, 4.8, 1.9, CAR_CLEARANCE_M, street=1.9):
                turned = Place(place.x, place.y, place.ground, place.yaw + (0.0 if side < 0 else math.pi))
                self.parts += furniture.car(turned, rng)

    def _posts_along(self, stretch: slice, side: float) -> None:
        rng = self.rng
        arc, end = float(self.centreline.arc[stretch.start]), float(self.centreline.arc[stretch.stop - 1])
        while arc < end:
            arc += float(rng.uniform(3.5, 8.0))
            kind = rng.random()
            near = kind < 0.62
            left = side * (ROAD_HALF_WIDTH_M + (0.55 if near else SIDEWALK_WIDTH_M - 0.5))
            place = self._place(stretch, arc, left)
            if not self._is_free(place, 0.6, 0.6, POST_CLEARANCE_M, street=ROAD_HALF_WIDTH_M):
                continue
            if kind < 0.17:
                self.parts += furniture.lamp(place, -side * 1.6, rng)
            elif kind < 0.40:
                self.parts += furniture.tree(place, rng)
            elif kind < 0.62:
                self.parts += furniture.traffic_sign(place, rng)
            else:
                self.parts += furniture.cabinet(place, rng)

    def _is_free(
        self, place: Place, length: float, width: float, clearance: float, street: float = HOUSE_FRONT_M - 0.5
    ) -> bool:
        """Whether a footprint keeps `clearance` from the camera's path and `street` from the middle of any street."""
        footprint = _footprint(place, length, width)
        clear = self._driven.query(footprint)[0].min() >= clearance
        return bool(clear and self._streets.query(footprint)[0].min() >= street)

    def _is_unbuilt(self, place: Place, length: float, width: float) -> bool:
        return not any(cell in self._houses for cell in _squares(_footprint(place, length - 1.5, width - 1.5)))

    def _build_on(self, place: Place, length: float, width: float) -> None:
        for cell in _squares(_footprint(place, length, width)):
            self._houses.setdefault(cell, []).append(len(self.parts))


def _footprint(place: Place, length: float, width: float) -> NDArray[np.float64]:
    """Points (k, 2) of a rectangle, no further than a metre apart."""
    along = np.linspace(-length / 2, length / 2, max(2, math.ceil(length) + 1))
    left = np.linspace(-width / 2, width / 2, max(2, math.ceil(width) + 1))
    a, b = (grid.ravel() for grid in np.meshgrid(along, left))
    c, s = math.cos(place.yaw), math.sin(place.yaw)
    return np.column_stack([place.x + c * a - s * b, place.y + s * a + c * b])


def _squares(points: NDArray[np.float64]) -> set[tuple[int, int]]:
    return {(int(x), int(y)) for x, y in np.floor(points)}


def _cell_heights(ground: NDArray[np.float64], top: NDArray[np.float64]) -> NDArray[np.float64]:
    corners = [ground[:-1, :-1], ground[:-1, 1:], ground[1:, :-1], ground[1:, 1:]]
    return np.stack([top, np.maximum.reduce(corners), *corners], axis=-1).reshape(-1, 6)


def _grid_points(origin: NDArray[np.float64], nx: int, ny: int, offset: float) -> NDArray[np.float64]:
    x, y = np.meshgrid(origin[0] + (np.arange(nx) + offset) * CELL_M, origin[1] + (np.arange(ny) + offset) * CELL_M)
    return np.column_stack([x.ravel(), y.ravel()])
