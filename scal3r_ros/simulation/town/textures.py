"""Paints the surfaces of the street: façades, cars, trees, poles. Colours are linear RGB; lengths are metres."""

from __future__ import annotations

import math

from scal3r_ros.simulation.compiled import compiled
from scal3r_ros.simulation.town.noise import band, detail, place_random, repeated_band, value_noise
from scal3r_ros.simulation.town.scene import Material

RGB = tuple[float, float, float]

BURIED_M = 1.5
"""How far houses reach below the ground at their middle, so that none floats on a slope."""

_PLASTER, _BRICK = int(Material.PLASTER), int(Material.BRICK)
_CAR_BODY, _CAR_CABIN, _RUBBER = int(Material.CAR_BODY), int(Material.CAR_CABIN), int(Material.RUBBER)
_METAL, _BARK, _LEAVES = int(Material.METAL), int(Material.BARK), int(Material.LEAVES)
_SIGN, _BAY, _STONE = int(Material.SIGN), int(Material.BAY), int(Material.STONE)


@compiled
def mix(first: RGB, second: RGB, share: float) -> RGB:
    """`first` where share is 0, `second` where it is 1."""
    return (
        first[0] + share * (second[0] - first[0]),
        first[1] + share * (second[1] - first[1]),
        first[2] + share * (second[2] - first[2]),
    )


@compiled
def scaled(colour: RGB, factor: float) -> RGB:
    """A colour made brighter or darker; never negative."""
    factor = max(factor, 0.02)
    return (colour[0] * factor, colour[1] * factor, colour[2] * factor)


@compiled
def paint_part(
    material: int, seed: int, colour: RGB, accent: RGB, u: float, v: float, width: float, height: float, side: int,
    footprint: float,
) -> RGB:  # fmt: skip
    """Colour of a point of a part: `u` runs along the surface from 0 to `width`, `v` from its bottom (0) to `height`.

    `side` numbers the surface: 0, 1 the ends, 2, 3 the long sides, 4 the top.
    """
    if material in (_PLASTER, _BRICK):
        if side == 4:
            return scaled((0.25, 0.22, 0.2), 1.0 + 0.35 * detail(u, v, footprint, seed, 3.0, 0.8))
        return _facade(material, seed + 31 * side, colour, accent, u, v - BURIED_M, width, height - BURIED_M, footprint)
    if material == _STONE:
        return _wall(_PLASTER, seed, colour, u, v, footprint)
    if material == _BAY:
        return _bay(seed, colour, accent, u, v, width, height, side, footprint)
    if material == _CAR_BODY:
        return _car_body(seed, colour, u, v, width, side, footprint)
    if material == _CAR_CABIN:
        return _car_cabin(seed, colour, u, v, width, height, side, footprint)
    if material == _RUBBER:
        return scaled((0.03, 0.03, 0.032), 1.0 + 0.5 * detail(u, v, footprint, seed, 0.3, 0.8))
    if material == _METAL:
        ring = repeated_band(v - 0.4, 1.9, 0.12, footprint)
        base = mix(colour, accent, ring)
        return scaled(base, 1.0 + 0.5 * detail(3.0 * u, v, footprint, seed, 0.6, 0.8))
    if material == _BARK:
        return scaled(colour, 1.0 + 0.8 * detail(4.0 * u, v, footprint, seed, 0.8, 0.85))
    if material == _LEAVES:
        clumps = detail(u, v, footprint, seed, 0.7, 1.15)
        return mix(scaled(colour, 1.0 + 0.6 * clumps), accent, max(0.0, 0.3 * clumps))
    if material == _SIGN:
        return _sign(seed, colour, accent, u, v, width, height, footprint)
    plank = repeated_band(u, 0.16, 0.012, footprint)
    tone = 1.0 + 0.4 * (place_random(math.floor(u / 0.16), side, seed) - 0.5) * min(1.0, 0.08 / footprint)
    return scaled(colour, (1.0 - 0.7 * plank) * (tone + 0.4 * detail(6.0 * u, v, footprint, seed, 1.5, 0.8)))


@compiled
def _wall(material: int, seed: int, colour: RGB, u: float, v: float, footprint: float) -> RGB:
    stains = 0.24 * detail(1.5 * u, v, footprint, seed, 3.0, 0.95)
    wall = scaled(colour, 1.0 + stains)
    if material == _BRICK and footprint < 0.12:
        row = math.floor(v / 0.08)
        shifted = u + 0.13 * (row & 1)
        tone = 0.5 * (place_random(math.floor(shifted / 0.26), row, seed) - 0.5) * min(1.0, 0.05 / footprint)
        mortar = max(repeated_band(v, 0.08, 0.012, footprint), repeated_band(shifted, 0.26, 0.012, footprint))
        wall = mix(scaled(wall, 1.0 + tone), (0.45, 0.43, 0.4), 0.7 * mortar)
    return wall


@compiled
def _facade(
    material: int,
    seed: int,
    colour: RGB,
    accent: RGB,
    u: float,
    v: float,
    width: float,
    height: float,
    footprint: float,
) -> RGB:
    wall = _wall(material, seed, colour, u, v, footprint)
    wall = mix(wall, scaled(accent, 0.6), band(v, 0.0, 0.55, footprint))
    wall = mix(wall, accent, band(v, height - 0.45, height, footprint))
    ground_floor = 3.4
    wall = mix(wall, accent, band(v, ground_floor - 0.12, ground_floor + 0.12, footprint))
    bays = max(1, int(width / (2.4 + 1.4 * place_random(1, 0, seed))))
    bay_width = width / bays
    bay = min(max(int(u / bay_width), 0), bays - 1)
    a = u - bay * bay_width
    if v < ground_floor:
        return _shop_front(seed, wall, accent, a, v, bay_width, bay, footprint)
    floor_height = 2.9 + 0.6 * place_random(2, 0, seed)
    floor = int((v - ground_floor) / floor_height)
    if ground_floor + (floor + 1) * floor_height > height:
        return wall
    return _window(
        seed, wall, accent, a, v - ground_floor - floor * floor_height, bay_width, floor_height, bay, floor, footprint
    )


@compiled
def _bay(
    seed: int, colour: RGB, accent: RGB, u: float, v: float, width: float, height: float, side: int, footprint: float
) -> RGB:
    wall = mix(_wall(_PLASTER, seed, colour, u, v, footprint), accent, band(v, height - 0.25, height, footprint))
    floors = max(1, int(height / 3.0))
    floor_height = height / floors
    floor = min(max(int(v / floor_height), 0), floors - 1)
    if side < 2 or side >= 4 or height < 2.0:
        return wall
    return _window(seed, wall, accent, u, v - floor * floor_height, width, floor_height, 0, floor, footprint)


@compiled
def _window(
    seed: int, wall: RGB, accent: RGB, a: float, b: float, bay_width: float, floor_height: float, bay: int, floor: int,
    footprint: float,
) -> RGB:  # fmt: skip
    half = 0.5 * bay_width * (0.42 + 0.2 * place_random(3, 0, seed))
    low, high = 0.85, floor_height - 0.45
    x = a - 0.5 * bay_width
    opening = band(x, -half, half, footprint) * band(b, low, high, footprint)
    frame = band(x, -half - 0.12, half + 0.12, footprint) * band(b, low - 0.12, high + 0.16, footprint)
    sill = band(x, -half - 0.22, half + 0.22, footprint) * band(b, low - 0.26, low - 0.1, footprint)
    tone = place_random(bay, floor, seed + 7)
    glass = scaled(
        (0.07, 0.09, 0.12), 0.6 + 1.2 * tone + 0.5 * value_noise(0.9 * a + 7.0 * bay, 0.9 * b + 5.0 * floor, seed)
    )
    if tone > 0.55:  # a curtain, drawn to some width, in folds
        drawn = half * (2.2 * tone - 1.1)
        cloth = band(x, -half, -half + drawn, footprint) + band(x, half - drawn, half, footprint)
        folds = (
            1.0 + 0.3 * repeated_band(x, 0.14, 0.07, footprint) + 0.2 * detail(x, b, footprint, seed + bay, 0.5, 0.8)
        )
        glass = mix(glass, scaled((0.42, 0.4, 0.36), folds), min(1.0, cloth))
    bars = max(band(x, -0.035, 0.035, footprint), band(b, high - 0.55, high - 0.48, footprint))
    glass = mix(glass, (0.7, 0.68, 0.64), bars)
    surround = mix(mix(wall, accent, frame), scaled(accent, 1.25), sill)
    return mix(surround, glass, opening)


@compiled
def _shop_front(
    seed: int, wall: RGB, accent: RGB, a: float, v: float, bay_width: float, bay: int, footprint: float
) -> RGB:
    kind = place_random(bay, 3, seed)
    x = a - 0.5 * bay_width
    half = 0.5 * bay_width - 0.35
    if kind < 0.3:  # a door with panels
        door = band(x, -0.55, 0.55, footprint) * band(v, 0.0, 2.3, footprint)
        frame = band(x, -0.7, 0.7, footprint) * band(v, 0.0, 2.45, footprint)
        panel = repeated_band(x + 0.55, 0.55, 0.08, footprint) + repeated_band(v, 0.76, 0.08, footprint)
        hue = place_random(bay, 5, seed)
        leaf = scaled((0.12 + 0.25 * hue, 0.12 + 0.1 * hue, 0.16 - 0.1 * hue), 1.0 - 0.5 * min(1.0, panel))
        return mix(mix(wall, scaled(accent, 1.2), frame), leaf, door)
    if kind < 0.55:  # a wall with a poster of patches
        poster = band(x, -0.6, 0.6, footprint) * band(v, 0.9, 2.5, footprint)
        ix, iy = math.floor(x / 0.2), math.floor(v / 0.2)
        red, green, blue = place_random(ix, iy, seed), place_random(ix, iy, seed + 1), place_random(ix, iy, seed + 2)
        return mix(wall, (0.1 + 0.7 * red, 0.1 + 0.6 * green, 0.1 + 0.6 * blue), poster)
    pane = band(x, -half, half, footprint) * band(v, 0.5, 2.45, footprint)
    board = band(x, -half, half, footprint) * band(v, 2.6, 3.15, footprint)
    # Goods behind the pane, and letters on the board above it: blocks of two tones.
    ix, iy = math.floor(x / 0.23), math.floor(v / 0.31)
    goods = 0.05 + 0.35 * place_random(ix + 40 * bay, iy, seed + 11) * min(1.0, 0.2 / footprint)
    inside = scaled((goods, 0.9 * goods, 0.8 * goods), 1.0 + 0.4 * detail(x, v, footprint, seed + bay, 0.6, 0.8))
    letter = place_random(math.floor(x / 0.07) + 90 * bay, math.floor(v / 0.11), seed + 13) > 0.55
    text = band(v, 2.72, 3.03, footprint) * (1.0 if letter else 0.0)
    text = text if footprint < 0.06 else 0.45
    hue = place_random(bay, 9, seed)
    sign = mix((0.1 + 0.45 * hue, 0.12, 0.5 - 0.4 * hue), (0.85, 0.83, 0.75), text)
    return mix(mix(wall, inside, pane), sign, board)


@compiled
def _car_body(seed: int, colour: RGB, u: float, v: float, width: float, side: int, footprint: float) -> RGB:
    dirt = 0.16 * detail(u, v, footprint, seed, 0.7, 1.0)
    body = scaled(colour, 1.0 + dirt)
    if side >= 4:
        return body
    body = mix(body, (0.05, 0.05, 0.055), band(v, 0.0, 0.12, footprint))
    if side >= 2:
        for part in range(1, 4):
            body = mix(
                body, (0.03, 0.03, 0.03), 0.8 * band(u, part * width / 4 - 0.012, part * width / 4 + 0.012, footprint)
            )
        return mix(body, (0.6, 0.6, 0.6), band(v, 0.42, 0.46, footprint))
    lamp = band(u, 0.1, 0.42, footprint) + band(u, width - 0.42, width - 0.1, footprint)
    lamp_colour = (0.8, 0.8, 0.75) if side == 1 else (0.55, 0.03, 0.03)
    body = mix(body, lamp_colour, lamp * band(v, 0.3, 0.5, footprint))
    plate = band(u, 0.5 * width - 0.26, 0.5 * width + 0.26, footprint) * band(v, 0.14, 0.26, footprint)
    letter = 0.1 if place_random(math.floor(u / 0.06), 0, seed) > 0.5 else 0.8
    return mix(body, (letter, letter, 0.9 * letter), plate)


@compiled
def _car_cabin(
    seed: int, colour: RGB, u: float, v: float, width: float, height: float, side: int, footprint: float
) -> RGB:
    body = scaled(colour, 1.0 + 0.12 * detail(u, v, footprint, seed, 1.0, 0.9))
    if side >= 4:
        return body
    pane = band(u, 0.08, width - 0.08, footprint) * band(v, 0.04, height - 0.1, footprint)
    if side >= 2:
        pane *= 1.0 - band(u, 0.5 * width - 0.05, 0.5 * width + 0.05, footprint)
    glass = scaled((0.06, 0.075, 0.09), 1.0 + 0.9 * value_noise(1.3 * u, 2.0 * v, seed + 5))
    return mix(body, glass, pane)


@compiled
def _sign(
    seed: int, colour: RGB, accent: RGB, u: float, v: float, width: float, height: float, footprint: float
) -> RGB:
    rim = 1.0 - band(u, 0.05, width - 0.05, footprint) * band(v, 0.05, height - 0.05, footprint)
    ix, iy = math.floor(u / 0.12), math.floor(v / 0.12)
    mark = 1.0 if place_random(ix, iy, seed) > 0.6 else 0.0
    face = mix(colour, accent, mark if footprint < 0.1 else 0.4)
    return mix(scaled(face, 1.0 + 0.1 * detail(u, v, footprint, seed, 0.4, 0.8)), (0.8, 0.8, 0.8), rim)
