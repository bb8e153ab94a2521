"""What is built along a long way: strips of road, floor, wall and ceiling, rows of houses, trees, cars, lamps."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.simulation.worlds.landscape import Hills, Way, lay_strip
from scal3r_ros.simulation.worlds.objects import Maker
from scal3r_ros.simulation.worlds.surfaces.mesh import GLOWING, TWO_SIDED, up
from scal3r_ros.simulation.worlds.world import Clearing

Array = NDArray[np.float64]

PANEL_M = 3.0
FLOOR_M = 0.09


@dataclass(frozen=True)
class Stretch:
    """From `begin` to `end` along the way, free for `half_m` to either side, `height_m` high where there is a roof."""

    sort: str
    begin: float
    end: float
    half_m: float
    height_m: float | None


@dataclass
class Site:
    """The world while it is being furnished; `lamps` are place, reach and colour (7,)."""

    make: Maker
    way: Way
    hills: Hills
    clearing: Clearing
    lamps: list[Array]

    def place(self, s: float, left: float) -> Array:
        """A place (3,) on the ground."""
        return self.hills.on(self.way.at(s, left))

    def claim(self, place: Array, radius: float, margin: float = 1.0) -> bool:
        """Whether a disc there keeps off the camera's way and all else."""
        return self.clearing.claim(float(place[0]), float(place[1]), radius, margin)

    def along(self, stretch: Stretch, spacing: tuple[float, float]) -> list[float]:
        """Points along a stretch, so far apart."""
        rng, made = self.make.rng, []
        s = stretch.begin + float(rng.uniform(0.5, spacing[1]))
        while s < stretch.end:
            made.append(s)
            s += float(rng.uniform(*spacing))
        return made

    def strip(self, stretch: Stretch, left: Array, above: Array, texture: int, repeat_m: float, tint: Array) -> None:
        """A surface along a stretch with the cross section `left`, `above`; seen from both sides."""
        s = np.append(np.arange(stretch.begin, stretch.end, PANEL_M), stretch.end)
        flat = np.stack([self.way.at(s, float(one)) for one in left], axis=1)
        points = np.concatenate([flat, (self.hills.at(flat) + above)[..., None]], axis=-1)
        arc = np.concatenate([[0.0], np.cumsum(np.hypot(np.diff(left), np.diff(above)))])
        uv = np.stack(np.broadcast_arrays(s[None, :] / repeat_m, arc[:, None] / repeat_m), axis=-1)
        self.make.mesh.grid(points.swapaxes(0, 1), uv, texture, tint, TWO_SIDED)

    def floor(self, stretch: Stretch, half_m: float, name: str = "any") -> None:
        """A floor from side to side, over whatever ground there is."""
        make = self.make
        across = np.linspace(-half_m, half_m, max(2, int(half_m / 3.0)))
        repeat_m = float(make.rng.uniform(1.0, 4.0))
        self.strip(stretch, across, np.full(len(across), FLOOR_M), make.pick(name), repeat_m, make.tint())

    def lamp(self, place: Array, reach_m: float, strength: float) -> None:
        """A lamp that hangs at `place`."""
        rng = self.make.rng
        half = [*rng.uniform(0.1, 0.5, 2), 0.04]
        self.make.mesh.box(
            place, half, float(rng.uniform(0, 3)), self.make.pick("speckle"), [3.0, 3.0, 2.8], 1.0, kind=GLOWING
        )
        colour = strength * np.array([1.0, rng.uniform(0.8, 1.0), rng.uniform(0.6, 1.0)])
        self.lamps.append(np.array([*(place - up(0.25)), reach_m, *colour]))

    def houses(self, stretch: Stretch, setback: tuple[float, float], heights: tuple[float, float], gaps: float) -> None:
        """A row of houses on both sides, with a gap now and then."""
        rng = self.make.rng
        for side in (-1.0, 1.0):
            s = stretch.begin
            while s < stretch.end:
                length, depth = float(rng.uniform(6.0, 15.0)), float(rng.uniform(6.0, 12.0))
                left = side * (stretch.half_m + float(rng.uniform(*setback)) + depth / 2)
                at = s + length / 2
                s += length + (float(rng.uniform(2.0, 9.0)) if rng.random() < gaps else 0.1)
                if at + length / 2 < stretch.end + 2.0:
                    yaw = float(self.way.heading(at))
                    self.make.house(self.place(at, left), yaw, length, depth, float(rng.uniform(*heights)))

    def scatter(self, stretch: Stretch, count: int, left: tuple[float, float], spread_m: float, trees: float) -> None:
        """Trees, bushes and rocks, from `left` metres beside the way on, ever fewer further off."""
        rng, make = self.make.rng, self.make
        for _ in range(count):
            aside = float(rng.uniform(*left)) + float(rng.exponential(spread_m))
            side = float(rng.choice([-1.0, 1.0]))
            place = self.place(float(rng.uniform(stretch.begin, stretch.end)), side * aside)
            kind = rng.random()
            if not self.claim(place, 0.5 if kind < trees else 0.8):
                continue
            if kind < trees:
                make.tree(place, float(rng.uniform(3.5, 12.0)))
            elif kind < 0.5 + 0.5 * trees:
                make.bush(place, float(rng.uniform(0.5, 1.4)))
            else:
                make.rock(place, float(rng.uniform(0.3, 1.2)))

    def things(self, stretch: Stretch, spacing: tuple[float, float], from_m: float) -> None:
        """What stands at the edge of a way: crates, signs, people, poles, bushes."""
        rng, make = self.make.rng, self.make
        for side in (-1.0, 1.0):
            for s in self.along(stretch, spacing):
                place = self.place(s, side * float(rng.uniform(from_m, max(from_m, stretch.half_m))))
                yaw, kind = float(self.way.heading(s)) + float(rng.normal(0.0, 0.2)), rng.random()
                if not self.claim(place, 0.45, 0.7):
                    continue
                if kind < 0.35:
                    make.crate(place, yaw, rng.uniform((0.2, 0.2, 0.2), (0.5, 0.45, 0.8)))
                elif kind < 0.55:
                    make.sign(place, yaw + math.pi)
                elif kind < 0.7:
                    make.person(place, float(rng.uniform(0, 2 * math.pi)))
                elif kind < 0.85:
                    make.pole(place, float(rng.uniform(3.0, 8.0)))
                else:
                    make.bush(place, float(rng.uniform(0.4, 1.0)))

    def cars(self, stretch: Stretch, left: float, density: float) -> None:
        """Parked cars."""
        rng = self.make.rng
        for side in (-1.0, 1.0):
            for s in np.arange(stretch.begin + 3.0, stretch.end - 3.0, 6.5):
                place = self.place(float(s), side * left) + up(0.05)
                if rng.random() < density and self.claim(place, 2.3, 0.3):
                    self.make.car(place, float(self.way.heading(float(s))) + (0.0 if side < 0 else math.pi))

    def shell(self, stretch: Stretch, arched: bool) -> None:
        """Floor, walls and ceiling."""
        make, half, height = self.make, stretch.half_m, stretch.height_m or 3.0
        self.floor(stretch, half)
        if arched:
            angle = np.linspace(0.0, math.pi, 9)
            rise = min(half, 0.45 * height)
            left = np.concatenate([[half], half * np.cos(angle), [-half]])
            above = np.concatenate([[0.0], height - rise + rise * np.sin(angle), [0.0]])
            self.strip(stretch, left, above, make.pick("any"), float(make.rng.uniform(1.5, 4.0)), make.tint())
            return
        wall, tint = make.pick("any" if make.rng.random() < 0.7 else "bricks"), make.tint(0.35)
        for side in (-half, half):
            self.strip(
                stretch, np.full(2, side), np.array([0.0, height]), wall, float(make.rng.uniform(1.0, 3.0)), tint
            )
        across = np.linspace(-half, half, max(2, int(half / 3.0)))
        self.strip(stretch, across, np.full(len(across), height), make.pick("speckle"), 2.5, 1.2 * make.tint(0.1))


def close_ends(site: Site, before: Stretch | None, after: Stretch | None) -> None:
    """The wall between two stretches of which one has a roof at least, open as far as the narrower one is."""
    both = [one for one in (before, after) if one is not None]
    covered = [one for one in both if one.height_m is not None]
    if not covered:
        return
    s = before.end if before is not None else both[0].begin
    half, height = min(one.half_m for one in covered), min(one.height_m or 0.0 for one in covered)
    beyond = 0.0 if len(covered) == 2 else float(site.make.rng.uniform(3.0, 9.0))
    wide = max(one.half_m for one in covered) + beyond
    tall = max(one.height_m or 0.0 for one in covered) + 0.5 * beyond
    name = "facade" if beyond and site.make.rng.random() < 0.5 else "any"
    texture, tint = site.make.pick(name), site.make.tint()
    pieces = [(half, wide, -0.5, tall), (-wide, -half, -0.5, tall), (-half, half, height, tall)]
    for right, left, low, high in pieces:
        if left - right > 0.02 and high - low > 0.02:
            a, b = site.place(s, right), site.place(s, left)
            corners = np.stack([a + up(low), b + up(low), b + up(high), a + up(high)])
            site.make.mesh.quads(corners, texture, tint, 4.0, TWO_SIDED)


def lay_road(site: Site, half_m: float, ground: list[int]) -> None:
    """What the whole way runs on, wherever no other floor lies over it."""
    rng, make = site.make.rng, site.make
    surface = make.pick("speckle" if rng.random() < 0.6 else "any")
    across = np.array([-half_m, 0.0, half_m])
    tint = float(rng.uniform(0.4, 0.9)) * np.ones(3)
    lay_strip(make.mesh, site.way, site.hills, across, np.array([0.03, 0.06, 0.03]), surface, 3.0, tint)
    for side in (-1.0, 1.0):
        verge = side * np.array([half_m, half_m + 2.0, half_m + 4.0])
        lay_strip(make.mesh, site.way, site.hills, verge, np.array([0.02, 0.03, -0.6]), ground[1], 3.0)
