"""The light along rays whose hits are known: surfaces, sun and shadow, haze, sky."""

from __future__ import annotations

import math

import numpy as np

from scal3r_ros.simulation.compiled import compiled
from scal3r_ros.simulation.town.noise import detail
from scal3r_ros.simulation.town.raycast import GROUND, NOTHING
from scal3r_ros.simulation.town.scene import Scene, Shape
from scal3r_ros.simulation.town.street_texture import paint_ground, street_coordinates
from scal3r_ros.simulation.town.textures import RGB, mix, paint_part, scaled

HAZE_DISTANCE_M = 450.0
GROUND_SEED = 101
SKY_SEED = 900
SIDES = 8  # surface numbers a part may have

_BOX, _CYLINDER = int(Shape.BOX), int(Shape.CYLINDER)
_HORIZON = (0.72, 0.78, 0.84)
_ZENITH = (0.22, 0.38, 0.70)
_LIFT_M = 0.01


@compiled
def paint_hits(
    scene: Scene,
    origin: np.ndarray,
    directions: np.ndarray,
    distances: np.ndarray,
    hits: np.ndarray,
    pixel: float,
    light: np.ndarray,
    surface: np.ndarray,
    shadow_origins: np.ndarray,
    shadow_directions: np.ndarray,
    sun_gain: np.ndarray,
) -> None:
    """Writes for each ray (n) from `origin` (3,) the colour of what it hits, lit by the sky alone, to `light` (n, 3).

    `pixel` is the size of a pixel at a ray parameter of 1. `surface` (n,) gets a number that differs between surfaces
    that meet in an edge. `sun_gain` (n,) is how much brighter than the sky alone the sun would make it;
    `shadow_origins`, `shadow_directions` (n, 3) are the rays to the sun (zeros where the surface faces away).
    """
    sx, sy, sz = scene.sun[0], scene.sun[1], scene.sun[2]
    heights, street, joined, cell_street = scene.cell_heights, scene.street, scene.street_joined, scene.cell_street
    shape, solid, paint, material, seed = scene.shape, scene.solid, scene.paint, scene.material, scene.seed
    x0, y0, cell = scene.origin[0], scene.origin[1], scene.cell
    ny, nx = cell_street.shape
    for ray in range(len(directions)):
        t, what = distances[ray], hits[ray]
        dx, dy, dz = directions[ray, 0], directions[ray, 1], directions[ray, 2]
        length = math.sqrt(dx * dx + dy * dy + dz * dz)
        sun_gain[ray] = 0.0
        shadow_directions[ray, 0], shadow_directions[ray, 1], shadow_directions[ray, 2] = 0.0, 0.0, 0.0
        surface[ray] = what * SIDES
        if what == NOTHING:
            light[ray, 0], light[ray, 1], light[ray, 2] = _sky(dx / length, dy / length, dz / length, pixel)
            continue
        px, py, pz = origin[0] + dx * t, origin[1] + dy * t, origin[2] + dz * t
        if what == GROUND:
            gx, gy = (px - x0) / cell, (py - y0) / cell
            column, row = min(max(int(gx), 0), nx - 1), min(max(int(gy), 0), ny - 1)
            normal = _ground_normal(heights, row * nx + column, gx - column, gy - row, cell)
            footprint = _footprint(dx, dy, dz, normal, length, t * pixel)
            across, along = street_coordinates(street, joined, cell_street[row, column], px, py)
            albedo = paint_ground(px, py, across, along, footprint, GROUND_SEED)
        else:
            normal, side, u, v, width, height = _surface_point(solid, shape[what], what, px, py, pz)
            footprint = _footprint(dx, dy, dz, normal, length, t * pixel)
            albedo = paint_part(
                material[what], seed[what], (paint[what, 0], paint[what, 1], paint[what, 2]),
                (paint[what, 3], paint[what, 4], paint[what, 5]), u, v, width, height, side, footprint,
            )  # fmt: skip
            surface[ray] += side
        sky_share = 0.45 * (0.7 + 0.3 * normal[2])
        light[ray, 0], light[ray, 1], light[ray, 2] = scaled(albedo, sky_share)
        facing = sx * normal[0] + sy * normal[1] + sz * normal[2]
        if facing > 0.0:
            sun_gain[ray] = 0.95 * facing / sky_share
            shadow_directions[ray, 0], shadow_directions[ray, 1], shadow_directions[ray, 2] = sx, sy, sz
            shadow_origins[ray, 0] = px + _LIFT_M * normal[0]
            shadow_origins[ray, 1] = py + _LIFT_M * normal[1]
            shadow_origins[ray, 2] = pz + _LIFT_M * normal[2]


@compiled
def light_hits(
    directions: np.ndarray,
    distances: np.ndarray,
    hits: np.ndarray,
    sun_gain: np.ndarray,
    shadow_hits: np.ndarray,
    light: np.ndarray,
    surface: np.ndarray,
) -> None:
    """Adds the sun to `light` (n, 3) outside shadows, then haze; `surface` (n,) then separates light from shadow."""
    for ray in range(len(directions)):
        if hits[ray] == NOTHING:
            continue
        colour = (light[ray, 0], light[ray, 1], light[ray, 2])
        surface[ray] *= 2
        if sun_gain[ray] > 0.0 and shadow_hits[ray] == NOTHING:
            colour = scaled(colour, 1.0 + sun_gain[ray])
            surface[ray] += 1
        dx, dy, dz = directions[ray, 0], directions[ray, 1], directions[ray, 2]
        length = distances[ray] * math.sqrt(dx * dx + dy * dy + dz * dz)
        light[ray, 0], light[ray, 1], light[ray, 2] = mix(colour, _HORIZON, 1.0 - math.exp(-length / HAZE_DISTANCE_M))


@compiled
def _footprint(dx: float, dy: float, dz: float, normal: RGB, length: float, size: float) -> float:
    """Size of a pixel on a surface: the mean of its short and its long side where the surface is seen at a slant."""
    cosine = max(0.05, -(dx * normal[0] + dy * normal[1] + dz * normal[2]) / length)
    return size / math.sqrt(cosine)


@compiled
def _ground_normal(heights: np.ndarray, number: int, a: float, b: float, cell: float) -> RGB:
    h00, h01, h10, h11 = heights[number, 2], heights[number, 3], heights[number, 4], heights[number, 5]
    gx = ((h01 - h00) * (1.0 - b) + (h11 - h10) * b) / cell
    gy = ((h10 - h00) * (1.0 - a) + (h11 - h01) * a) / cell
    length = math.sqrt(1.0 + gx * gx + gy * gy)
    return (-gx / length, -gy / length, 1.0 / length)


@compiled
def _surface_point(
    solid: np.ndarray, shape: int, part: int, px: float, py: float, pz: float
) -> tuple[RGB, int, float, float, float, float]:
    """Normal, side, and place (u, v) on a surface of (width, height), of a point on a part."""
    qx, qy, c, s = px - solid[part, 0], py - solid[part, 1], solid[part, 6], solid[part, 7]
    lx, ly = c * qx + s * qy, c * qy - s * qx
    hx, hy, hz = solid[part, 4], solid[part, 5], 0.5 * (solid[part, 3] - solid[part, 2])
    up, height = pz - solid[part, 2], 2.0 * hz
    if shape == _BOX:
        inside_x, inside_y, inside_z = hx - abs(lx), hy - abs(ly), hz - abs(up - hz)
        if inside_z <= inside_x and inside_z <= inside_y:
            return (0.0, 0.0, 1.0 if up > hz else -1.0), (4 if up > hz else 5), lx + hx, ly + hy, 2.0 * hx, 2.0 * hy
        if inside_x <= inside_y:
            sign = 1.0 if lx > 0 else -1.0
            return (sign * c, sign * s, 0.0), (1 if lx > 0 else 0), ly + hy, up, 2.0 * hy, height
        sign = 1.0 if ly > 0 else -1.0
        return (-sign * s, sign * c, 0.0), (3 if ly > 0 else 2), lx + hx, up, 2.0 * hx, height
    around = math.atan2(ly, lx) * hx
    if shape == _CYLINDER:
        if hz - abs(up - hz) < 1e-6:
            return (0.0, 0.0, 1.0 if up > hz else -1.0), 4, lx + hx, ly + hy, 2.0 * hx, 2.0 * hy
        nx, ny, nz = lx / (hx * hx), ly / (hy * hy), 0.0
    else:
        nx, ny, nz = lx / (hx * hx), ly / (hy * hy), (up - hz) / (hz * hz)
    length = math.sqrt(nx * nx + ny * ny + nz * nz)
    nx, ny, nz = nx / length, ny / length, nz / length
    return (c * nx - s * ny, s * nx + c * ny, nz), 2, around, up, 2.0 * math.pi * hx, height


@compiled
def _sky(x: float, y: float, z: float, pixel: float) -> RGB:
    height = min(1.0, max(0.0, z))
    clear = mix(_HORIZON, _ZENITH, height**0.6)
    if z < 0.04:
        return clear
    scale = 1.0 / (z + 0.15)
    clouds = detail(x * scale, y * scale, pixel * scale, SKY_SEED, 1.3, 0.55)
    share = min(0.8, max(0.0, 0.25 + 0.7 * clouds)) * min(1.0, 6.0 * (z - 0.04))
    return mix(clear, (0.95, 0.95, 0.96), share)
