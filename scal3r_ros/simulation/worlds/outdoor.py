"""Outdoor worlds: streets with houses, and open country."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.simulation.worlds.landscape import Hills, Road, Way, lay_ground, lay_strip, raise_mountains
from scal3r_ros.simulation.worlds.motion import camera_poses
from scal3r_ros.simulation.worlds.objects import Maker
from scal3r_ros.simulation.worlds.surfaces.mesh import MeshBuilder, up
from scal3r_ros.simulation.worlds.world import Clearing, Request, World, daylight, weave

BEFORE_M, AHEAD_M = 60.0, 170.0
TEXTURES = {
    "variation": 1, "any": 9, "facade": 5, "speckle": 3, "grass": 3, "bricks": 1, "planks": 2, "picture": 3,
    "leaves": 3, "blades": 2, "lattice": 1,
}  # fmt: skip
MOVER_CLEARANCE_M = {"car": 3.4, "person": 1.1}


def build_street(request: Request, rng: np.random.Generator, held_out: bool) -> World:
    """A street with houses on both sides, parked cars, trees, posts, and traffic."""
    return _build(request, rng, held_out, town=True)


def build_country(request: Request, rng: np.random.Generator, held_out: bool) -> World:
    """A road or track through hills, fields and woods, with a farm now and then."""
    return _build(request, rng, held_out, town=False)


def _build(request: Request, rng: np.random.Generator, held_out: bool, town: bool) -> World:
    atlas, textures = weave(rng, held_out, TEXTURES, request.images)
    mesh = MeshBuilder()
    make = Maker(mesh, textures, rng)
    motion = request.motion
    walked = float(np.abs(np.diff(motion.along)).max(initial=0.0)) < 0.3
    first, last = float(motion.along.min()), float(motion.along.max())
    way = Way(first - BEFORE_M, last + AHEAD_M, float(rng.uniform(0.0, 1.0)), rng)
    hills = Hills.random(float(rng.choice([0.0, 0.04, 0.12])), rng)
    pavement = float(rng.uniform(1.5, 4.0)) if town else 0.0
    road = Road(float(rng.uniform(2.6, 6.5)), pavement, 0.12 if town else 0.0)

    lane = road.half_m * float(rng.uniform(-0.5, 0.1)) if not walked else float(rng.uniform(-1, 1)) * road.edge_m
    left = lane + motion.left
    place = way.at(motion.along, left)
    z = hills.at(place) + request.camera_height_m + motion.rise + 0.12
    slope = (hills.at(place + 1e-3 * _ahead(way, motion.along)) - hills.at(place)) / 1e-3
    pitch = motion.pitch + np.arctan(slope) * np.cos(motion.yaw)
    T_world_cam = camera_poses(
        np.column_stack([place, z]), way.heading(motion.along) + motion.yaw, pitch, motion.roll
    )  # fmt: skip

    _pave(make, way, hills, road, town)
    site = _Site(make, way, hills, road, Clearing(place))
    if town:
        site.houses((3.0, 12.0), (5.0, 22.0), 0.9)
    else:
        site.houses((10.0, 40.0), (3.0, 8.0), float(rng.uniform(0.0, 0.12)))
    site.parked_cars(float(rng.uniform(0.0, 0.6)) if town else 0.03)
    site.roadside(float(rng.uniform(4.0, 9.0)) if town else float(rng.uniform(8.0, 25.0)), town)
    site.poles(town)
    site.clutter(town)
    mover_poses = site.traffic(place, left, motion.along, town)
    return World(mesh.build(), atlas, daylight(rng, textures["variation"][0]), T_world_cam, mover_poses)


def _ahead(way: Way, s: NDArray[np.float64]) -> NDArray[np.float64]:
    heading = way.heading(s)
    return np.stack([np.cos(heading), np.sin(heading)], axis=-1)


def _pave(make: Maker, way: Way, hills: Hills, road: Road, town: bool) -> None:
    rng, mesh = make.rng, make.mesh
    ground = [make.pick("grass") if rng.random() < 0.7 else make.pick("any") for _ in range(2)]
    lay_ground(mesh, way, hills, road, ground, float(rng.uniform(0.0, 1.2)), rng)
    raise_mountains(mesh, way, make.pick("grass"), rng)
    surface = make.pick("speckle" if town or rng.random() < 0.6 else "any")
    half, tint = road.half_m, float(rng.uniform(0.4, 0.9))
    across = np.array([-half, -0.5 * half, 0.0, 0.5 * half, half])
    camber = np.array([0.02, 0.05, 0.06, 0.05, 0.02])
    lay_strip(mesh, way, hills, across, camber, surface, float(rng.uniform(1.5, 5.0)), tint * np.ones(3))
    if town:
        stone, plates = make.pick("speckle"), make.pick("any")
        k, p = road.kerb_m + 0.02, road.pavement_m
        for side in (-1.0, 1.0):
            kerb = side * np.array([half - 0.02, half, half + 0.18])
            lay_strip(mesh, way, hills, kerb, np.array([0.0, k, k]), stone, 1.0)
            lay_strip(mesh, way, hills, side * np.array([half + 0.18, half + p]), np.full(2, k), plates, 1.7)
    if rng.random() < (0.85 if town else 0.5):
        _mark(make, way, hills, half)


def _mark(make: Maker, way: Way, hills: Hills, half: float) -> None:
    """Lines on the road, dashed in the middle and solid at the edges, now and then a crossing."""
    rng = make.rng
    dash, gap = float(rng.uniform(1.5, 5.0)), float(rng.uniform(2.0, 7.0))
    begin = np.arange(way.s[0], way.s[-1] - dash, dash + gap)
    pieces = [(begin, dash, 0.0, 0.07)]
    if rng.random() < 0.6:
        solid = np.arange(way.s[0], way.s[-1] - 2.0, 2.0)
        pieces += [(solid, 2.0, side * (half - 0.25), 0.06) for side in (-1.0, 1.0)]
    for _ in range(int(rng.integers(0, 4))):
        at = float(rng.uniform(way.s[0], way.s[-1] - 4.0))
        pieces += [(np.array([at]), 3.0, lane, 0.25) for lane in np.arange(-half + 0.5, half - 0.3, 1.0)]
    colour = np.array([1.9, 1.9, 1.8]) if rng.random() < 0.8 else np.array([2.0, 1.5, 0.3])
    for starts, length, lane, width in pieces:
        above = 0.075 - 0.04 * abs(lane) / half
        corners = [
            hills.on(way.at(starts + ahead, lane + aside), above)
            for ahead, aside in ((0.0, width), (0.0, -width), (length, -width), (length, width))
        ]
        make.mesh.quads(np.stack(corners, axis=1), make.textures["speckle"][0], colour, 1.0)


@dataclass
class _Site:
    """The world under construction."""

    make: Maker
    way: Way
    hills: Hills
    road: Road
    clearing: Clearing

    def _spot(self, s: float, left: float) -> NDArray[np.float64]:
        return self.hills.on(self.way.at(s, left))

    def houses(self, setbacks: tuple[float, float], heights: tuple[float, float], density: float) -> None:
        """Rows of houses along both sides, and a few behind them."""
        rng = self.make.rng
        for side in (-1.0, 1.0):
            for row in range(2):
                s = float(self.way.s[0])
                setback = float(rng.uniform(*setbacks)) * (row == 0) + row * float(rng.uniform(22.0, 35.0))
                while s < self.way.s[-1]:
                    length, depth = float(rng.uniform(7.0, 20.0)), float(rng.uniform(8.0, 13.0))
                    height = float(rng.uniform(*heights)) * (1.0 + 0.5 * row)
                    away = self.road.edge_m + setback + depth / 2 + float(rng.uniform(0.0, 1.5))
                    at = s + length / 2
                    s += length + float(rng.choice([0.3, 0.3, 3.0, 9.0]))
                    if rng.random() > density:
                        continue
                    place = self._spot(at, side * away)
                    if self._clear_of_way(place, length, depth) and self.clearing.claim(
                        place[0], place[1], 0.47 * max(length, depth), 0.0
                    ):
                        self.make.house(place, float(self.way.heading(at)), length, depth, height)

    def _clear_of_way(self, place: NDArray[np.float64], length: float, depth: float) -> bool:
        """Whether a house stays off the road, also in curves."""
        reach = 0.5 * math.hypot(length, depth)
        near = float(self.way.distance(place[None, :2])[0])
        return near > self.road.edge_m + min(reach, 0.5 * depth + 0.3)

    def parked_cars(self, density: float) -> None:
        """Cars at the edge of the road."""
        rng = self.make.rng
        for side in (-1.0, 1.0):
            for s in np.arange(self.way.s[0], self.way.s[-1], 6.5):
                if rng.random() < density:
                    place = self._spot(float(s), side * (self.road.half_m - 0.9)) + up(0.03)
                    yaw = float(self.way.heading(float(s))) + (0.0 if side < 0 else math.pi)
                    if self.clearing.claim(place[0], place[1], 2.4, 0.3):
                        self.make.car(place, yaw)

    def roadside(self, spacing: float, town: bool) -> None:
        """Trees, signs, crates, people who stand, and fences beside the road."""
        rng, make = self.make.rng, self.make
        trees = float(rng.uniform(0.2, 1.0))
        for side in (-1.0, 1.0):
            s = float(self.way.s[0])
            while s < self.way.s[-1]:
                s += spacing * float(rng.uniform(0.4, 1.6))
                aside = self.road.half_m + 0.5 + float(rng.uniform(0.0, max(self.road.pavement_m, 1.5)))
                place = self._spot(s, side * aside)
                yaw = float(self.way.heading(s)) + float(rng.normal(0.0, 0.15))
                kind = rng.random()
                if not self.clearing.claim(place[0], place[1], 0.5, 0.7):
                    continue
                if kind < 0.3 * trees + 0.1:
                    make.tree(place, float(rng.uniform(3.5, 9.0)))
                elif kind < 0.5:
                    make.sign(place, yaw + math.pi)
                elif kind < 0.72:
                    make.crate(place, yaw, rng.uniform((0.2, 0.2, 0.3), (0.5, 0.45, 0.8)))
                elif kind < 0.85 and town:
                    make.person(place, float(rng.uniform(0, 2 * math.pi)))
                else:
                    make.bush(place, float(rng.uniform(0.6, 1.2)))
            if rng.random() < (0.4 if town else 0.6):
                begin, end = np.sort(rng.uniform(self.way.s[0], self.way.s[-1], 2))
                line = np.arange(begin, end, 2.5)
                aside = side * (self.road.edge_m + 1.0 + float(rng.uniform(0.0, 2.0)))
                points = self.hills.on(self.way.at(line, aside))
                if len(line) > 3 and all(self.clearing.claim(p[0], p[1], 0.3, 0.6) or not town for p in points):
                    make.fence(points, float(rng.uniform(0.7, 2.0)))

    def poles(self, town: bool) -> None:
        """Lamps or poles in a row, with or without wires between them."""
        rng, make = self.make.rng, self.make
        if rng.random() < 0.3:
            return
        side, spacing = float(rng.choice([-1.0, 1.0])), float(rng.uniform(18.0, 40.0))
        height, wired = float(rng.uniform(5.0, 9.0)), rng.random() < 0.6
        before: NDArray[np.float64] | None = None
        for s in np.arange(self.way.s[0] + 5.0, self.way.s[-1], spacing):
            place = self._spot(float(s), side * (self.road.half_m + 0.5))
            before_top, before = before, None
            if not self.clearing.claim(place[0], place[1], 0.15, 0.8):
                continue
            toward = self.way.at(float(s), 0.0) - place[:2]
            arm = np.array([*(toward / np.linalg.norm(toward) * 1.6), 0.1]) if town or rng.random() < 0.3 else None
            make.pole(place, height, arm)
            before = place + up(height - 0.2)
            if wired and before_top is not None:
                for aside in (0.0, 0.35):
                    make.wire(before_top - up(aside), before - up(aside), 0.02 * spacing)

    def clutter(self, town: bool) -> None:
        """Grass in tufts on the verge, and trees, bushes and rocks farther away."""
        rng, make = self.make.rng, self.make
        count = int(rng.integers(100, 500))
        s = rng.uniform(self.way.s[0] + 30.0, self.way.s[-1] - 60.0, count)
        left = rng.choice([-1.0, 1.0], count) * (self.road.edge_m + 0.3 + rng.exponential(2.0, count))
        places = self.hills.on(self.way.at(s, left), 0.03)
        away = np.min(np.linalg.norm(places[:, None, :2] - self.clearing.way[None, ::2], axis=-1), axis=1)
        make.tufts(places[(away > 1.0) & (self.way.distance(places[:, :2]) > self.road.edge_m)], 0.5)
        for _ in range(int(rng.integers(10, 40) if town else rng.integers(40, 140))):
            at, aside = float(rng.uniform(self.way.s[0], self.way.s[-1])), 3.0 + float(rng.exponential(20.0))
            place = self._spot(at, float(rng.choice([-1.0, 1.0])) * (self.road.edge_m + aside))
            kind = rng.random()
            radius = 1.3 if kind < 0.7 else 0.8
            if self.way.distance(place[None, :2])[0] < self.road.edge_m + 2.0:
                continue
            if not self.clearing.claim(place[0], place[1], radius, 2.2):
                continue
            if kind < 0.7:
                make.tree(place, float(rng.uniform(3.0, 12.0)))
            elif kind < 0.88:
                make.bush(place, float(rng.uniform(0.8, 1.8)))
            else:
                make.rock(place, float(rng.uniform(0.4, 1.5)))

    def traffic(
        self, camera: NDArray[np.float64], left: NDArray[np.float64], along: NDArray[np.float64], town: bool
    ) -> NDArray[np.float64]:
        """Moving cars and people: their poses (n, m, 4, 4). None comes near the camera or another one's lane."""
        rng, make, frames = self.make.rng, self.make, len(camera)
        poses: list[NDArray[np.float64]] = []
        for _ in range(int(rng.integers(0, 7)) if town else int(rng.integers(0, 4))):
            name = "car" if rng.random() < 0.6 or not town else "person"
            direction = float(rng.choice([-1.0, 1.0]))
            start = float(along[0]) + float(rng.uniform(-25.0, 70.0))
            if name == "car":
                speed, lane = float(rng.uniform(0.3, 1.3)), -direction * 0.5 * self.road.half_m
            else:
                speed = float(rng.uniform(0.06, 0.18))
                lane = float(rng.choice([-1.0, 1.0])) * (self.road.half_m + 0.3 + 0.5 * self.road.pavement_m)
            s = start + direction * speed * np.arange(frames, dtype=np.float64)
            place = self.hills.on(self.way.at(s, lane), 0.06 if name == "car" else 0.15)
            gap = np.linalg.norm(place[:, :2] - camera, axis=1).min()
            inside = s.min() > self.way.s[0] and s.max() < self.way.s[-1]
            near = (np.linalg.norm(place[:, None, :2] - other[None, :, :2, 3], axis=-1).min() < 5.0 for other in poses)
            if gap < MOVER_CLEARANCE_M[name] or not inside or any(near) or not self._lane_is_free(place):
                continue
            T = np.tile(np.eye(4), (frames, 1, 1))
            yaw = self.way.heading(s) + (0.0 if direction > 0 else math.pi)
            T[:, 0, 0], T[:, 0, 1], T[:, 1, 0], T[:, 1, 1] = np.cos(yaw), -np.sin(yaw), np.sin(yaw), np.cos(yaw)
            T[:, :3, 3] = place
            make.mesh.mover = len(poses)
            make.car(np.zeros(3), 0.0) if name == "car" else make.person(np.zeros(3), 0.0)
            make.mesh.mover = -1
            poses.append(T)
        return np.stack(poses, axis=1) if poses else np.zeros((frames, 0, 4, 4))

    def _lane_is_free(self, place: NDArray[np.float64]) -> bool:
        return not any(self.clearing.is_taken(float(x), float(y), 0.8) for x, y, _ in place[::4])
