"""Objects along a street, each as the parts it is made of."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from scal3r_ros.simulation.town.scene import Material, Part, Shape
from scal3r_ros.simulation.town.textures import BURIED_M

WHITE = (0.75, 0.75, 0.75)
PLASTER_COLOURS = ((0.62, 0.55, 0.42), (0.66, 0.62, 0.55), (0.50, 0.40, 0.30), (0.55, 0.57, 0.58), (0.60, 0.45, 0.34))
BRICK_COLOURS = ((0.36, 0.16, 0.11), (0.42, 0.25, 0.17), (0.30, 0.19, 0.15))
ACCENT_COLOURS = ((0.68, 0.65, 0.58), (0.45, 0.42, 0.38), (0.72, 0.70, 0.66))
CAR_COLOURS = ((0.55, 0.55, 0.56), (0.04, 0.04, 0.05), (0.70, 0.70, 0.70), (0.30, 0.04, 0.04), (0.05, 0.10, 0.28))
SIGN_COLOURS = ((0.05, 0.15, 0.5), (0.6, 0.04, 0.04), (0.75, 0.6, 0.05), (0.05, 0.35, 0.12))


@dataclass(frozen=True)
class Place:
    """Where an object stands: a point on the ground (m), the ground's height, and the direction of the street (rad)."""

    x: float
    y: float
    ground: float
    yaw: float

    def beside(self, along: float, left: float) -> tuple[float, float]:
        """The point `along` and to the `left` of this one, in metres, seen in its direction."""
        c, s = math.cos(self.yaw), math.sin(self.yaw)
        return self.x + c * along - s * left, self.y + s * along + c * left


def building(place: Place, length: float, depth: float, height: float, rng: np.random.Generator) -> list[Part]:
    """A house with façades all around, a roof that juts out, and now and then a bay in front (to its left)."""
    brick = rng.random() < 0.45
    material = Material.BRICK if brick else Material.PLASTER
    colour, accent = _pick(BRICK_COLOURS if brick else PLASTER_COLOURS, rng), _pick(ACCENT_COLOURS, rng)
    top = place.ground + height
    base = _box(place, (0.0, 0.0), (length, depth), place.ground - BURIED_M, top, material, colour, accent, rng)
    eaves = _box(place, (0.0, 0.0), (length + 0.5, depth + 0.5), top, top + 0.35, Material.STONE, accent, accent, rng)
    parts = [base, eaves]
    if rng.random() < 0.4:
        at = float(rng.uniform(-0.25, 0.25)) * length
        size = (float(rng.uniform(2.4, 3.6)), 1.0)
        low, high = place.ground + 3.6, top - float(rng.uniform(0.5, 2.0))
        for side in (-1.0, 1.0):
            parts.append(_box(place, (at, side * depth / 2), size, low, high, Material.BAY, colour, accent, rng))
    return parts


def car(place: Place, rng: np.random.Generator) -> list[Part]:
    """A parked car: body, cabin, and two axles of wheels."""
    colour = _pick(CAR_COLOURS, rng)
    length, width = float(rng.uniform(3.8, 4.7)), float(rng.uniform(1.65, 1.8))
    waist, roof = float(rng.uniform(0.85, 1.0)), float(rng.uniform(1.4, 1.75))
    g = place.ground
    cabin_at = -0.08 * length
    parts = [
        _box(place, (0.0, 0.0), (length, width), g + 0.25, g + waist, Material.CAR_BODY, colour, WHITE, rng),
        _box(
            place, (cabin_at, 0.0), (0.55 * length, width - 0.2), g + waist, g + roof,
            Material.CAR_CABIN, colour, WHITE, rng,
        ),
    ]  # fmt: skip
    for at in (-0.31 * length, 0.31 * length):
        parts.append(
            _box(place, (at, 0.0), (0.6, width + 0.04), g, g + 0.6, Material.RUBBER, (0.03, 0.03, 0.03), WHITE, rng)
        )
    return parts


def lamp(place: Place, left: float, rng: np.random.Generator) -> list[Part]:
    """A street lamp whose arm reaches `left` metres over the road (negative: to the right)."""
    height = float(rng.uniform(6.0, 7.5))
    g, grey = place.ground, (0.22, 0.24, 0.23)
    middle = (0.0, left / 2)
    return [
        _round(place, Shape.CYLINDER, (0.0, 0.0), 0.09, g, g + height, Material.METAL, grey, (0.6, 0.55, 0.1), rng),
        _box(place, (0.0, 0.0), (0.34, 0.34), g, g + 0.9, Material.METAL, grey, grey, rng),
        _box(place, middle, (0.08, abs(left)), g + height - 0.1, g + height, Material.METAL, grey, grey, rng),
        _box(place, (0.0, left), (0.25, 0.6), g + height - 0.22, g + height, Material.METAL, grey, WHITE, rng),
    ]


def tree(place: Place, rng: np.random.Generator) -> list[Part]:
    """A trunk and three clumps of leaves."""
    trunk = float(rng.uniform(2.4, 3.2))
    bark, green = (0.16, 0.12, 0.09), (0.09, float(rng.uniform(0.16, 0.24)), 0.04)
    g = place.ground
    radius = float(rng.uniform(0.13, 0.22))
    parts = [_round(place, Shape.CYLINDER, (0.0, 0.0), radius, g, g + trunk + 0.8, Material.BARK, bark, bark, rng)]
    for _ in range(3):
        at = (float(rng.uniform(-0.7, 0.7)), float(rng.uniform(-0.5, 0.5)))
        radius, low = float(rng.uniform(1.0, 1.6)), g + trunk + float(rng.uniform(-0.3, 1.0))
        high = low + 1.7 * radius
        parts.append(
            _round(place, Shape.ELLIPSOID, at, radius, low, high, Material.LEAVES, green, (0.3, 0.36, 0.08), rng)
        )
    return parts


def traffic_sign(place: Place, rng: np.random.Generator) -> list[Part]:
    """A plate on a post, facing along the street."""
    g, size = place.ground, float(rng.uniform(0.55, 0.8))
    low = g + float(rng.uniform(1.9, 2.3))
    return [
        _round(place, Shape.CYLINDER, (0.0, 0.0), 0.035, g, low + size, Material.METAL, WHITE, WHITE, rng),
        _box(place, (-0.05, 0.0), (0.03, size), low, low + size, Material.SIGN, _pick(SIGN_COLOURS, rng), WHITE, rng),
    ]


def cabinet(place: Place, rng: np.random.Generator) -> list[Part]:
    """A box such as a bin, a cabinet of wires or a planter, with or without a bush."""
    length, width, height = (float(value) for value in rng.uniform((0.5, 0.35, 0.8), (1.6, 0.6, 1.3)))
    g = place.ground
    material = (Material.PLANKS, Material.METAL, Material.SIGN)[int(rng.integers(3))]
    colour = ((0.24, 0.16, 0.09), (0.2, 0.26, 0.22), _pick(SIGN_COLOURS, rng))[int(rng.integers(3))]
    parts = [_box(place, (0.0, 0.0), (length, width), g, g + height, material, colour, WHITE, rng)]
    if rng.random() < 0.4:
        bush = 0.45 * length
        parts.append(
            _round(
                place, Shape.ELLIPSOID, (0.0, 0.0), bush, g + height - 0.1, g + height + bush, Material.LEAVES,
                (0.07, 0.17, 0.04), (0.4, 0.2, 0.2), rng,
            )
        )  # fmt: skip
    return parts


def fence(place: Place, length: float, rng: np.random.Generator) -> list[Part]:
    """A wall of bricks or planks that closes a gap between houses."""
    wooden = rng.random() < 0.5
    height = float(rng.uniform(1.3, 2.2))
    bottom, top = place.ground - 1.0, place.ground + height
    colour = (0.26, 0.18, 0.11) if wooden else _pick(BRICK_COLOURS, rng)
    material = Material.PLANKS if wooden else Material.BRICK
    return [_box(place, (0.0, 0.0), (length, 0.25), bottom, top, material, colour, (0.5, 0.48, 0.45), rng)]


def _box(
    place: Place, at: tuple[float, float], size: tuple[float, float], bottom: float, top: float, material: Material,
    colour: tuple[float, float, float], accent: tuple[float, float, float], rng: np.random.Generator,
) -> Part:  # fmt: skip
    half = (size[0] / 2, size[1] / 2)
    seed = int(rng.integers(1 << 30))
    return Part(Shape.BOX, material, place.beside(*at), bottom, top, half, place.yaw, colour, accent, seed)


def _round(
    place: Place, shape: Shape, at: tuple[float, float], radius: float, bottom: float, top: float, material: Material,
    colour: tuple[float, float, float], accent: tuple[float, float, float], rng: np.random.Generator,
) -> Part:  # fmt: skip
    seed = int(rng.integers(1 << 30))
    return Part(shape, material, place.beside(*at), bottom, top, (radius, radius), place.yaw, colour, accent, seed)


def _pick(colours: tuple[tuple[float, float, float], ...], rng: np.random.Generator) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in colours[int(rng.integers(len(colours)))] * rng.uniform(0.85, 1.15, 3))
    return (min(red, 0.9), min(green, 0.9), min(blue, 0.9))
