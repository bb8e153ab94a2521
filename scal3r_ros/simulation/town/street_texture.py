"""Paints the ground: asphalt with markings, kerbs, paved sidewalks and the ground behind them."""

from __future__ import annotations

import math

import numpy as np

from scal3r_ros.simulation.compiled import compiled
from scal3r_ros.simulation.town.noise import band, detail, place_random, repeated_band, value_noise
from scal3r_ros.simulation.town.textures import RGB, mix, scaled

ROAD_HALF_WIDTH_M = 4.2
SIDEWALK_WIDTH_M = 2.8
CROSSING_SPACING_M = 70.0


@compiled
def street_coordinates(street: np.ndarray, joined: np.ndarray, near: int, x: float, y: float) -> tuple[float, float]:
    """Signed distance to the right of the street's middle and arc length along it, both in metres.

    `street` (m, 3) and `joined` (m,) are those of a `Scene`; `near` is a point of it close to the place asked for.
    """
    best, across, along = 1e30, 1e3, 0.0
    for i in range(max(near - 4, 0), min(near + 4, len(street) - 1)):
        if not joined[i]:
            continue
        ax, ay = street[i, 0], street[i, 1]
        ex, ey = street[i + 1, 0] - ax, street[i + 1, 1] - ay
        length = math.sqrt(ex * ex + ey * ey)
        ex, ey = ex / length, ey / length
        t = min(max(ex * (x - ax) + ey * (y - ay), 0.0), length)
        px, py = x - ax - t * ex, y - ay - t * ey
        distance = px * px + py * py
        if distance < best:
            best = distance
            across = math.copysign(math.sqrt(distance), ey * px - ex * py)
            along = street[i, 2] + t
    return across, along


@compiled
def paint_ground(x: float, y: float, across: float, along: float, footprint: float, seed: int) -> RGB:
    """Colour of the ground at (x, y), at `across` and `along` of the nearest street."""
    away = abs(across)
    side = 1 if across > 0 else 0
    kerb = ROAD_HALF_WIDTH_M
    if away < kerb - 0.5 * footprint:
        return _road(x, y, across, along, footprint, seed)
    if away < kerb + 0.2:
        joint = repeated_band(along, 1.0, 0.02, footprint)
        stone = scaled(
            (0.5, 0.49, 0.47), (1.0 - 0.5 * joint) * (1.0 + 0.3 * detail(x, y, footprint, seed + 3, 0.5, 0.85))
        )
        return mix(stone, (0.06, 0.06, 0.06), 0.7 * band(away, kerb, kerb + 0.04, footprint))
    if away < kerb + SIDEWALK_WIDTH_M:
        return _sidewalk(x, y, away, along, side, footprint, seed)
    patches = value_noise(0.11 * x, 0.11 * y, seed + 17)
    grass = (0.10 + 0.03 * patches, 0.17, 0.05)
    gravel = (0.34, 0.31, 0.27)
    share = min(1.0, max(0.0, 0.5 + 2.5 * patches))
    return scaled(mix(grass, gravel, share), 1.0 + 0.4 * detail(x, y, footprint, seed + 5, 1.0, 1.05))


@compiled
def _road(x: float, y: float, across: float, along: float, footprint: float, seed: int) -> RGB:
    grain = detail(x, y, footprint, seed, 3.0, 1.0)
    tone = 1.0 + 0.2 * grain
    # Repairs: rectangles of older and newer asphalt, sealed with tar.
    i, j = math.floor(along / 5.5), math.floor((across + 20.0) / 2.1)
    a, b = along - 5.5 * i, across + 20.0 - 2.1 * j
    if place_random(i, j, seed + 1) < 0.3:
        left, right = 2.0 * place_random(i, j, seed + 2), 3.5 + 1.8 * place_random(i, j, seed + 3)
        patch = band(a, left, right, footprint) * band(b, 0.25, 1.85, footprint)
        seam = patch - band(a, left + 0.06, right - 0.06, footprint) * band(b, 0.31, 1.79, footprint)
        tone *= 1.0 + patch * (0.7 * place_random(i, j, seed + 4) - 0.4) - 0.6 * seam
    # Cracks follow the zero line of a noise.
    if footprint < 0.12:
        line = abs(value_noise(0.55 * x, 0.55 * y, seed + 6) + 0.12 * value_noise(4.0 * x, 4.0 * y, seed + 7))
        tone *= 1.0 - 0.5 * band(line, -0.012, 0.012, 0.6 * footprint + 0.008)
    road = scaled((0.19, 0.19, 0.195), tone)
    # A manhole now and then.
    k = math.floor(along / 19.0)
    u, v = along - 19.0 * k - 9.0, across - 2.4 * (place_random(k, 0, seed + 8) - 0.5)
    if abs(u) < 0.5 and abs(v) < 0.5:
        r = math.sqrt(u * u + v * v)
        lid = band(r, -1.0, 0.33, footprint)
        ribs = repeated_band(u, 0.08, 0.04, footprint)
        road = mix(road, scaled((0.11, 0.10, 0.10), 1.0 + 0.8 * ribs), lid)
        road = mix(road, (0.03, 0.03, 0.03), band(r, 0.33, 0.37, footprint))
    wear = min(1.0, max(0.25, 0.85 + 0.3 * grain))
    return mix(road, (0.72, 0.72, 0.70), wear * _marking(across, along, footprint))


@compiled
def _marking(across: float, along: float, footprint: float) -> float:
    """The share of a pixel that is white paint: dashed centre line, parking bays, zebra crossings."""
    local = along - CROSSING_SPACING_M * math.floor(along / CROSSING_SPACING_M) - 30.0
    if -0.5 < local < 4.5:
        return band(local, 0.0, 3.5, footprint) * repeated_band(across + 0.25, 1.0, 0.5, footprint)
    dash = repeated_band(along, 6.0, 3.0, footprint) * band(across + 0.4, -0.07, 0.07, footprint)
    away = abs(across)
    line = band(away, 2.12, 2.22, footprint)
    bays = band(away, 2.2, 4.1, footprint) * repeated_band(along, 6.2, 0.1, footprint)
    return min(1.0, dash + line + bays)


@compiled
def _sidewalk(x: float, y: float, away: float, along: float, side: int, footprint: float, seed: int) -> RGB:
    size = 0.6
    joint = max(repeated_band(along, size, 0.025, footprint), repeated_band(away, size, 0.025, footprint))
    i, j = math.floor(along / size), math.floor(away / size)
    tone = 0.35 * (place_random(i, j + 50 * side, seed + 9) - 0.5) * min(1.0, 0.3 / footprint)
    grain = 0.2 * detail(x, y, footprint, seed + 10, 1.2, 1.0)
    return scaled((0.40, 0.385, 0.36), (1.0 - 0.55 * joint) * (1.0 + tone + grain))
