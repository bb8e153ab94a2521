"""Indoor worlds: corridors with doors, and furnished rooms."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from scal3r_ros.simulation.worlds.floorplan import CELL_M, SOLID, Floorplan, Room, draw_floorplan
from scal3r_ros.simulation.worlds.motion import camera_poses
from scal3r_ros.simulation.worlds.objects import Maker
from scal3r_ros.simulation.worlds.rendering.light import Light
from scal3r_ros.simulation.worlds.surfaces.mesh import GLOWING, MeshBuilder, up
from scal3r_ros.simulation.worlds.world import Clearing, Request, World, weave

TEXTURES = {
    "variation": 1, "any": 14, "speckle": 3, "planks": 3, "picture": 6, "shelf": 2, "leaves": 1, "facade": 1,
    "grass": 1, "bricks": 1,
}  # fmt: skip
START_M = 1.0
WALL_DISTANCE_M = 0.3
DOOR_HEIGHT_M = 2.1


def build_corridor(request: Request, rng: np.random.Generator, held_out: bool) -> World:
    """Corridors that turn, with doors, pictures, pipes and loose objects."""
    return _build(request, rng, held_out, corridor=True)


def build_rooms(request: Request, rng: np.random.Generator, held_out: bool) -> World:
    """Rooms with furniture, one after the other."""
    return _build(request, rng, held_out, corridor=False)


def _build(request: Request, rng: np.random.Generator, held_out: bool, corridor: bool) -> World:
    atlas, textures = weave(rng, held_out, TEXTURES, request.images)
    mesh = MeshBuilder()
    motion = request.motion
    needed = float(np.ptp(motion.along)) + 2 * START_M
    plan = draw_floorplan(needed, corridor, rng)
    height = float(rng.uniform(2.3, 3.2) if corridor else rng.uniform(2.3, 4.5))
    place, heading = _follow(plan, motion.along - motion.along.min() + START_M, motion.left)
    tallest = height - 0.25
    z = np.minimum(request.camera_height_m, tallest - 0.1) + np.clip(motion.rise, -0.15, 0.1)
    z = np.minimum(z, DOOR_HEIGHT_M - 0.3)
    poses = camera_poses(np.column_stack([place, z]), heading + motion.yaw, motion.pitch, motion.roll)
    house = _House(Maker(mesh, textures, rng), plan, height, Clearing(place))
    house.walls()
    lamps = house.lamps()
    for room in plan.rooms:
        house.furnish(room, corridor)
    mover_poses = house.people(place)
    bounce = float(rng.uniform(0.05, 0.4))
    warm = np.array([1.0, float(rng.uniform(0.8, 1.0)), float(rng.uniform(0.55, 1.0))])
    light = Light(
        sun=np.array([0.1, 0.1, 0.98994949]),
        sun_colour=np.zeros(3),
        above=bounce * warm,
        below=bounce * float(rng.uniform(0.4, 0.9)) * warm,
        horizon=np.full(3, 0.4),
        zenith=np.full(3, 0.5),
        cloud=np.full(3, 0.8),
        clouds=0.0,
        haze_m=1e5,
        lamps=lamps,
        noise_texture=textures["variation"][0],
        relief=float(rng.uniform(0.3, 0.9)),
    )
    return World(mesh.build(), atlas, light, poses, mover_poses)


def _follow(
    plan: Floorplan, along: NDArray[np.float64], left: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Positions (n, 2) and headings (n,) on the plan's path, as far to its left as walls allow."""
    way = plan.way
    arc = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(way, axis=0), axis=1))])
    tangent = np.gradient(way, axis=0)
    angle = gaussian_filter1d(np.unwrap(np.arctan2(tangent[:, 1], tangent[:, 0])), 8.0, mode="nearest")
    heading = np.interp(along, arc, angle)
    aside = np.clip(left, -0.3, 0.3)[:, None] * np.stack([-np.sin(heading), np.cos(heading)], axis=-1)
    middle = np.column_stack([np.interp(along, arc, way[:, axis]) for axis in range(2)])
    # Inside an opening there is no room to the side.
    doors = np.array([door.centre for door in plan.doors]).reshape(-1, 2)
    near = np.linalg.norm(middle[:, None] - doors[None], axis=-1).min(axis=1, initial=9.0)
    return middle + aside * np.clip((near - 0.8) / 1.0, 0.0, 1.0)[:, None], heading


@dataclass
class _House:
    """The house under construction."""

    make: Maker
    plan: Floorplan
    height: float
    clearing: Clearing
    _hung: list[tuple[NDArray[np.float64], float]] = field(default_factory=list)

    def walls(self) -> None:
        """Walls, floors and ceilings of every room, with skirting boards, and lintels over the openings."""
        make, rng, mesh = self.make, self.make.rng, self.make.mesh
        floors, ceilings = ([make.pick("any") for _ in range(2)] for _ in range(2))
        papers = [make.pick("any" if rng.random() < 0.7 else "speckle") for _ in range(3)]
        looks = []
        for room in self.plan.rooms:
            floor, ceiling = floors[int(rng.integers(2))], ceilings[int(rng.integers(2))]
            looks.append((papers[int(rng.integers(3))], make.tint(0.35), floor, ceiling, float(rng.uniform(0.8, 3.0))))
            self._level(room, looks[-1])
        for door, look in zip(self.plan.doors, looks, strict=False):
            self._level(door, look)
            low, high = np.array(door.low) * CELL_M, np.array(door.high) * CELL_M
            middle = np.array([*(low + high) / 2, (DOOR_HEIGHT_M + self.height) / 2])
            half = [*(high - low) / 2, (self.height - DOOR_HEIGHT_M) / 2]
            if half[2] > 0.02:
                mesh.box(middle, half, 0.0, look[0], look[1], look[4])
        skirting, board = float(rng.uniform(0.05, 0.15)), make.pick("planks")
        for start, end, room_number in self._runs():
            paper, tint, _, _, repeat = looks[room_number]
            a, b = np.array([*end, 0.0]), np.array([*start, 0.0])  # seen from the right of the direction from a to b
            ceiling_up = up(self.height)
            mesh.quads([a, b, b + ceiling_up, a + ceiling_up], paper, tint, repeat, shift=(float(rng.random()), 0.0))
            inward = np.array([(b - a)[1], -(b - a)[0], 0.0]) / np.linalg.norm(b - a) * 0.015
            rim = up(skirting)
            mesh.quads([a + inward, b + inward, b + inward + rim, a + inward + rim], board, tint, 1.0)

    def _level(self, room: Room, look: tuple[int, NDArray[np.float64], int, int, float]) -> None:
        (x0, y0), (x1, y1) = np.array(room.low) * CELL_M, np.array(room.high) * CELL_M
        corners = np.array([[x0, y0, 0.0], [x1, y0, 0.0], [x1, y1, 0.0], [x0, y1, 0.0]])
        self.make.mesh.quads(corners, look[2], look[1] * 0.9, look[4] * 0.8)
        self.make.mesh.quads(corners[::-1] + up(self.height), look[3], [1.2, 1.2, 1.2], look[4])

    def _runs(self) -> list[tuple[tuple[float, float], tuple[float, float], int]]:
        """Pieces of wall as start, end (m) and room; the room lies to the left of the direction from start to end."""
        cells = self.plan.cells
        runs: list[tuple[tuple[float, float], tuple[float, float], int]] = []
        for axis in (0, 1):
            for side in (-1, 1):
                neighbour = np.roll(cells, -side, axis=axis)
                wall = np.where((cells != SOLID) & (neighbour == SOLID), cells, SOLID)
                lines = wall if axis == 0 else wall.T
                for line, row in enumerate(lines):
                    cuts = np.flatnonzero(np.diff(np.concatenate([[SOLID], row, [SOLID]])))
                    for begin, end in pairwise(cuts):
                        if row[begin] == SOLID:
                            continue
                        across = (line + (side > 0)) * CELL_M
                        along = float(begin) * CELL_M, float(end) * CELL_M
                        first, last = (along[0], across), (along[1], across)
                        if axis == 0:
                            first, last = (across, along[0]), (across, along[1])
                        forward = (side > 0) == (axis == 0)
                        runs.append((first, last, int(row[begin])) if forward else (last, first, int(row[begin])))
        return runs

    def lamps(self) -> NDArray[np.float64]:
        """Lamps under the ceilings: place, reach and colour (k, 7)."""
        rng, make, made = self.make.rng, self.make, []
        colour = float(rng.uniform(0.5, 1.6)) * np.array([1.0, rng.uniform(0.8, 1.0), rng.uniform(0.6, 1.0)])
        spacing = float(rng.uniform(3.0, 6.0))
        for room in self.plan.rooms:
            counts = np.maximum(1, np.round(room.size / spacing)).astype(int)
            for i in range(counts[0]):
                for j in range(counts[1]):
                    if rng.random() < 0.15:
                        continue
                    at = np.array(room.low) * CELL_M + (np.array([i, j]) + 0.5) / counts * room.size
                    place = np.array([*at, self.height - 0.03])
                    half = [*rng.uniform(0.1, 0.5, 2), 0.03]
                    make.mesh.box(place, half, 0.0, make.pick("speckle"), [3.0, 3.0, 2.8], 1.0, kind=GLOWING)
                    made.append([*at, self.height - 0.3, 7.0, *colour])
        return np.array(made).reshape(-1, 7)

    def furnish(self, room: Room, corridor: bool) -> None:
        """Objects along the walls and on them; in rooms also in the middle."""
        rng, make = self.make.rng, self.make
        low, size = np.array(room.low) * CELL_M, room.size
        for _ in range(int(rng.integers(1, 4) + size.prod() * (0.12 if corridor else 0.3))):
            side = int(rng.integers(4))
            inward = math.pi / 2 * side  # the direction that an object at this wall faces
            axis, far = side % 2, side >= 2
            half = rng.uniform((0.15, 0.2, 0.2), (0.35, 0.6, 1.0))
            if corridor:
                half[0] *= 0.5
            if size[1 - axis] < 2 * half[1] + 0.4:
                continue
            at = np.zeros(2)
            at[axis] = low[axis] + (size[axis] - half[0] - 0.03 if far else half[0] + 0.03)
            at[1 - axis] = low[1 - axis] + float(rng.uniform(half[1] + 0.1, size[1 - axis] - half[1] - 0.1))
            self._at_wall(np.array([*at, 0.0]), inward, half)
        for _ in range(int(size.prod() * (0.25 if corridor else 0.45)) + 2):
            self._on_wall(room)
        if not corridor:
            for _ in range(int(size.prod() * 0.2)):
                half = rng.uniform((0.35, 0.3), (0.9, 0.6))
                at = low + rng.uniform(0.15, 0.85, 2) * size
                if np.any(np.minimum(at - low, low + size - at) < half.max() + 0.1):
                    continue
                if self.clearing.claim(at[0], at[1], float(np.hypot(*half)), WALL_DISTANCE_M):
                    place, yaw = np.array([*at, 0.0]), float(rng.uniform(0, math.pi))
                    make.table(place, yaw, half, float(rng.uniform(0.4, 0.8)))
        elif rng.random() < 0.6:
            long = int(size[1] > size[0])
            line = np.tile([*room.centre, self.height - 0.15], (2, 1))
            line[:, long] = low[long] + np.array([0.02, size[long] - 0.02])
            line[:, 1 - long] += float(rng.choice([-1.0, 1.0])) * (size[1 - long] / 2 - 0.15)
            make.mesh.tube(line, float(rng.uniform(0.03, 0.1)), make.pick("speckle"), make.tint())

    def _at_wall(self, place: NDArray[np.float64], inward: float, half: NDArray[np.float64]) -> None:
        rng, make = self.make.rng, self.make
        if self._before_opening(place[:2], 0.9):
            return
        if not self.clearing.claim(place[0], place[1], float(np.hypot(half[0], half[1])), WALL_DISTANCE_M):
            return
        kind = rng.random()
        if kind < 0.3:
            tall = float(rng.uniform(0.5, min(1.1, self.height / 2 - 0.1)))
            make.mesh.box(place + up(tall), [half[0], half[1], tall], inward, make.pick("shelf"), make.tint(), 2 * tall)
        elif kind < 0.55:
            make.crate(place, inward, np.minimum(half, [1.0, 1.0, self.height / 2 - 0.2]))
        elif kind < 0.75:
            make.table(place, inward, half[:2], float(rng.uniform(0.42, 0.78)))
        elif kind < 0.88:
            make.bush(place + up(0.3), 0.5)
            make.crate(place, inward, np.array([0.15, 0.15, 0.2]))
        else:
            make.person(place, float(rng.uniform(0, 2 * math.pi)))

    def _on_wall(self, room: Room) -> None:
        """A picture, a notice board, a bright window or a shut door on a wall."""
        rng, make = self.make.rng, self.make
        side = int(rng.integers(4))
        axis, far = side % 2, side >= 2
        low, size = np.array(room.low) * CELL_M, room.size
        half, kind = (float(rng.uniform(0.2, 0.8)), float(rng.uniform(0.2, 0.6))), rng.random()
        middle = float(rng.uniform(1.2, 1.8))
        if kind < 0.3:
            half, middle = (0.45, 1.02), 1.03
        if size[1 - axis] < 2 * half[0] + 0.3 or middle + half[1] > self.height - 0.05:
            return
        at = np.zeros(2)
        at[axis] = low[axis] + (size[axis] - 0.02 if far else 0.02)
        at[1 - axis] = low[1 - axis] + float(rng.uniform(half[0] + 0.1, size[1 - axis] - half[0] - 0.1))
        if self._before_opening(at, half[0] + 0.9) or not self._new_on_wall(at, half[0]):
            return
        glow = 0.3 <= kind < 0.45
        name = "planks" if kind < 0.3 else "facade" if glow and rng.random() < 0.5 else "picture"
        make.panel(np.array([*at, middle]), math.pi / 2 * side, half, name, glow)

    def _before_opening(self, at: NDArray[np.float64], away: float) -> bool:
        return any(np.linalg.norm(door.centre - at) < away + 0.5 * float(door.size.max()) for door in self.plan.doors)

    def _new_on_wall(self, at: NDArray[np.float64], half: float) -> bool:
        """Whether the place was free; from now on it is taken."""
        if any(np.linalg.norm(other - at) < half + reach + 0.1 for other, reach in self._hung):
            return False
        self._hung.append((at, half))
        return True

    def people(self, camera: NDArray[np.float64]) -> NDArray[np.float64]:
        """People who walk in the rooms, away from the camera: their poses (n, m, 4, 4)."""
        rng, frames = self.make.rng, len(camera)
        poses: list[NDArray[np.float64]] = []
        for _ in range(int(rng.integers(0, 4))):
            room = self.plan.rooms[int(rng.integers(len(self.plan.rooms)))]
            low, size = np.array(room.low) * CELL_M + 0.6, room.size - 1.2
            if size.min() < 0.3:
                continue
            start, angle, pace = low + rng.random(2) * size, rng.uniform(0, 2 * math.pi), rng.uniform(0.02, 0.12)
            go = np.array([math.cos(angle), math.sin(angle)]) * float(pace)
            place = start + go * np.arange(frames)[:, None]
            place = low + size * (1.0 - np.abs((place - low) / size % 2.0 - 1.0))  # turns round at the walls
            if np.linalg.norm(place - camera, axis=1).min() < 0.8:
                continue
            if any(self.clearing.is_taken(float(x), float(y), 0.3) for x, y in place[::3]):
                continue
            T = np.tile(np.eye(4), (frames, 1, 1))
            step = np.gradient(place, axis=0)
            yaw = np.arctan2(step[:, 1], step[:, 0])
            T[:, 0, 0], T[:, 0, 1], T[:, 1, 0], T[:, 1, 1] = np.cos(yaw), -np.sin(yaw), np.sin(yaw), np.cos(yaw)
            T[:, :2, 3] = place
            self.make.mesh.mover = len(poses)
            self.make.person(np.zeros(3), 0.0)
            self.make.mesh.mover = -1
            poses.append(T)
        return np.stack(poses, axis=1) if poses else np.zeros((frames, 0, 4, 4))
