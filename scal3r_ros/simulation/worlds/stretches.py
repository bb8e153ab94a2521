"""Stretches of a long way, each of one kind: alley, street, square, country, forest, tunnel, hall, corridor.

What stands beside the way is how open it is: from one metre to sixty to either side.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from scal3r_ros.simulation.worlds.site import Site, Stretch
from scal3r_ros.simulation.worlds.surfaces.mesh import up


class Sort(NamedTuple):
    """A kind of stretch: ranges of its length, of the room to either side and, under a roof, of its height (m)."""

    length_m: tuple[float, float]
    half_m: tuple[float, float]
    height_m: tuple[float, float] | None
    furnish: Callable[[Site, Stretch], None]


def _alley(site: Site, stretch: Stretch) -> None:
    site.floor(stretch, stretch.half_m + 0.5, "speckle" if site.make.rng.random() < 0.5 else "any")
    site.houses(stretch, (0.0, 0.3), (4.0, 16.0), 0.1)
    site.things(stretch, (5.0, 16.0), 0.75 * stretch.half_m)


def _street(site: Site, stretch: Stretch) -> None:
    rng = site.make.rng
    site.houses(stretch, (0.0, 4.0), (5.0, 22.0), 0.25)
    site.cars(stretch, stretch.half_m - 1.6, float(rng.uniform(0.0, 0.6)))
    site.things(stretch, (4.0, 14.0), 0.6 * stretch.half_m)
    site.scatter(stretch, int(0.1 * (stretch.end - stretch.begin)), (0.7 * stretch.half_m, stretch.half_m), 0.5, 0.7)


def _square(site: Site, stretch: Stretch) -> None:
    rng = site.make.rng
    site.floor(stretch, stretch.half_m + 4.0)
    site.houses(stretch, (0.0, 15.0), (6.0, 30.0), 0.3)
    site.cars(stretch, float(rng.uniform(0.3, 0.8)) * stretch.half_m, float(rng.uniform(0.0, 0.3)))
    site.things(stretch, (10.0, 40.0), 3.0)


def _country(site: Site, stretch: Stretch) -> None:
    rng, length = site.make.rng, stretch.end - stretch.begin
    site.scatter(stretch, int(rng.uniform(0.1, 0.6) * length), (4.0, stretch.half_m), 25.0, 0.6)
    line = np.arange(stretch.begin, stretch.end, 2.5)
    if rng.random() < 0.4 and len(line) > 3:
        fence = float(rng.choice([-1.0, 1.0]) * rng.uniform(4.0, 9.0))
        site.make.fence(site.hills.on(site.way.at(line, fence)), float(rng.uniform(0.7, 1.6)))
    s = rng.uniform(stretch.begin, stretch.end, int(2 * length))
    aside = rng.choice([-1.0, 1.0], len(s)) * (3.2 + rng.exponential(3.0, len(s)))
    site.make.tufts(site.hills.on(site.way.at(s, aside), 0.03), 0.5)


def _forest(site: Site, stretch: Stretch) -> None:
    length = stretch.end - stretch.begin
    density = float(site.make.rng.uniform(1.5, 3.5))
    site.scatter(stretch, int(density * length), (stretch.half_m, stretch.half_m + 3.0), 9.0, 0.8)


def _tunnel(site: Site, stretch: Stretch) -> None:
    rng, height = site.make.rng, stretch.height_m or 5.0
    site.shell(stretch, arched=bool(rng.random() < 0.6))
    strength = float(rng.uniform(0.6, 1.6))
    for s in site.along(stretch, (9.0, 14.0)):
        site.lamp(site.place(s, float(rng.uniform(-0.3, 0.3)) * stretch.half_m) + up(height - 0.3), 14.0, strength)
    site.things(stretch, (8.0, 25.0), 0.85 * stretch.half_m)


def _hall(site: Site, stretch: Stretch) -> None:
    rng, height = site.make.rng, stretch.height_m or 8.0
    site.shell(stretch, arched=False)
    strength, columns = float(rng.uniform(1.0, 2.5)), float(rng.uniform(0.35, 0.75)) * stretch.half_m
    for s in site.along(stretch, (6.0, 10.0)):
        for side in (-1.0, 1.0):
            site.lamp(site.place(s, side * 0.4 * stretch.half_m) + up(height - 0.3), 2.2 * height + 4.0, strength)
            place = site.place(s + 1.5, side * columns)
            if rng.random() < 0.7 and site.claim(place, 0.4, 0.6):
                site.make.mesh.box(place + up(height / 2), [0.3, 0.3, height / 2], 0.0, site.make.pick("speckle"))
    for _ in range(int(0.05 * stretch.half_m * (stretch.end - stretch.begin))):
        left = float(rng.uniform(-0.95, 0.95)) * stretch.half_m
        place = site.place(float(rng.uniform(stretch.begin + 1.0, stretch.end - 1.0)), left)
        if site.claim(place, 0.9):
            yaw, half = float(rng.uniform(0, math.pi)), rng.uniform((0.3, 0.3, 0.3), (0.7, 0.6, 1.2))
            if rng.random() < 0.7:
                site.make.crate(place, yaw, half)
            else:
                site.make.table(place, yaw, half[:2], float(rng.uniform(0.4, 0.8)))


def _corridor(site: Site, stretch: Stretch) -> None:
    rng, make, height = site.make.rng, site.make, stretch.height_m or 2.6
    site.shell(stretch, arched=False)
    strength = float(rng.uniform(0.5, 1.5))
    for s in site.along(stretch, (3.5, 6.5)):
        site.lamp(site.place(s, 0.0) + up(height - 0.03), 7.0, strength)
    for side in (-1.0, 1.0):
        for s in site.along(stretch, (2.5, 7.0)):
            heading = float(site.way.heading(s))
            centre = site.place(s, side * (stretch.half_m - 0.03))
            if rng.random() < 0.4:
                make.panel(centre + up(1.04), heading - side * math.pi / 2, (0.45, 1.02), "planks", False)
            else:
                size = (float(rng.uniform(0.2, 0.7)), float(rng.uniform(0.2, 0.5)))
                make.panel(centre + up(1.5), heading - side * math.pi / 2, size, "picture", bool(rng.random() < 0.2))
    for s in site.along(stretch, (6.0, 18.0)):
        half = rng.uniform((0.15, 0.1, 0.2), (0.4, 0.18, 0.7))
        place = site.place(s, float(rng.choice([-1.0, 1.0])) * (stretch.half_m - half[1] - 0.05))
        if site.claim(place, 0.2, 0.35):
            make.crate(place, float(site.way.heading(s)), half)


SORTS = {
    "alley": Sort((30.0, 70.0), (1.6, 2.8), None, _alley),
    "street": Sort((40.0, 90.0), (5.0, 10.0), None, _street),
    "square": Sort((60.0, 110.0), (25.0, 60.0), None, _square),
    "country": Sort((60.0, 120.0), (12.0, 40.0), None, _country),
    "forest": Sort((40.0, 80.0), (2.2, 4.5), None, _forest),
    "tunnel": Sort((35.0, 80.0), (2.6, 5.0), (3.4, 5.5), _tunnel),
    "hall": Sort((30.0, 60.0), (7.0, 18.0), (5.0, 11.0), _hall),
    "corridor": Sort((20.0, 45.0), (0.9, 1.6), (2.3, 3.0), _corridor),
}
OPEN, NARROW = ("square", "country", "country", "hall", "street"), ("alley", "corridor", "corridor", "tunnel", "forest")


def draw_stretches(count: int, camera_height_m: float, rng: np.random.Generator) -> list[Stretch]:
    """So many stretches, one after the other from s = 0 on; open and narrow ones take turns more often than not."""
    made: list[Stretch] = []
    begin, is_open = 0.0, bool(rng.random() < 0.5)
    for _ in range(count):
        name = str(rng.choice(OPEN if is_open else NARROW))
        is_open = is_open != bool(rng.random() < 0.85)
        sort = SORTS[name]
        length, half = float(rng.uniform(*sort.length_m)), math.exp(float(rng.uniform(*np.log(sort.half_m))))
        height = None if sort.height_m is None else max(float(rng.uniform(*sort.height_m)), camera_height_m + 0.5)
        made.append(Stretch(name, begin, begin + length, half, height))
        begin += length
    return made
