"""Finds what rays meet first: grid traversal (Amanatides & Woo 1987), upright solids and bilinear ground."""

from __future__ import annotations

import math

import numpy as np

from scal3r_ros.simulation.compiled import compiled
from scal3r_ros.simulation.town.scene import Scene, Shape

NOTHING = -2
GROUND = -1

_BOX = int(Shape.BOX)
_CYLINDER = int(Shape.CYLINDER)
_FAR = 1e30


@compiled
def cast_rays(
    scene: Scene,
    origins: np.ndarray,
    directions: np.ndarray,
    nearest: float,
    farthest: float,
    distances: np.ndarray,
    hits: np.ndarray,
) -> None:
    """Casts rays (n, 3) from points (n, 3); a direction of zeros is passed over.

    Writes to `distances` (n,) the ray parameter of the first hit in (nearest, farthest), and to `hits` (n,) the number
    of the part that is hit, GROUND or NOTHING.
    """
    # Unpacked once: passing the whole tuple to a function for each ray costs more than the ray.
    heights, cell_begin, cell_parts = scene.cell_heights, scene.cell_begin, scene.cell_parts
    shape, solid = scene.shape, scene.solid
    x0, y0, size, highest = scene.origin[0], scene.origin[1], scene.cell, scene.highest
    ny, nx = scene.cell_street.shape
    seen = np.full(len(shape), -1, np.int64)  # the last ray tested against each part: a part lies in several cells
    for ray in range(len(origins)):
        # From here on in units of the grid's cells, except heights.
        ox, oy, oz = (origins[ray, 0] - x0) / size, (origins[ray, 1] - y0) / size, origins[ray, 2]
        dx, dy, dz = directions[ray, 0] / size, directions[ray, 1] / size, directions[ray, 2]
        best, what = farthest, NOTHING
        column, row = math.floor(ox), math.floor(oy)
        step_x, step_y = (1 if dx > 0 else -1), (1 if dy > 0 else -1)
        delta_x = 1.0 / abs(dx) if dx != 0.0 else _FAR
        delta_y = 1.0 / abs(dy) if dy != 0.0 else _FAR
        next_x = ((column + 1 - ox) if dx > 0 else (ox - column)) * delta_x if dx != 0.0 else _FAR
        next_y = ((row + 1 - oy) if dy > 0 else (oy - row)) * delta_y if dy != 0.0 else _FAR
        enter = farthest if dx == 0.0 and dy == 0.0 and dz == 0.0 else 0.0
        while 0 <= column < nx and 0 <= row < ny and enter < best:
            leave = min(min(next_x, next_y), farthest)
            lowest = min(oz + dz * enter, oz + dz * leave)
            if dz >= 0.0 and lowest > highest:
                break
            cell = row * nx + column
            if lowest <= heights[cell, 0]:
                for entry in range(cell_begin[cell], cell_begin[cell + 1]):
                    part = cell_parts[entry]
                    if seen[part] == ray:
                        continue
                    seen[part] = ray
                    t = _meet_part(
                        solid, shape, part, origins[ray, 0], origins[ray, 1], oz,
                        directions[ray, 0], directions[ray, 1], dz, nearest, best,
                    )  # fmt: skip
                    if t < best:
                        best, what = t, part
            low, high = max(enter, nearest), min(leave, best)
            if low < high and lowest <= heights[cell, 1]:
                t = _meet_ground(
                    heights[cell, 2], heights[cell, 3], heights[cell, 4], heights[cell, 5],
                    ox - column, oy - row, oz, dx, dy, dz, low, high,
                )  # fmt: skip
                if t < best:
                    best, what = t, GROUND
            enter = leave
            if next_x < next_y:
                column += step_x
                next_x += delta_x
            else:
                row += step_y
                next_y += delta_y
        distances[ray] = best
        hits[ray] = what


@compiled
def _above_patch(h00: float, h01: float, h10: float, h11: float, x: float, y: float, z: float) -> float:
    low = h00 + (h01 - h00) * x
    high = h10 + (h11 - h10) * x
    return z - low - (high - low) * y


@compiled
def _meet_ground(
    h00: float, h01: float, h10: float, h11: float, ox: float, oy: float, oz: float, dx: float, dy: float, dz: float,
    enter: float, leave: float,
) -> float:  # fmt: skip
    """Where a ray goes below a cell's ground between `enter` and `leave`, or _FAR; x and y in cells from its corner."""
    f0 = _above_patch(h00, h01, h10, h11, ox + dx * enter, oy + dy * enter, oz + dz * enter)
    if f0 <= 0.0:  # rounding hid the hit on the border to the previous cell
        return enter
    f2 = _above_patch(h00, h01, h10, h11, ox + dx * leave, oy + dy * leave, oz + dz * leave)
    if f2 > 0.0:
        return _FAR
    # Over a bilinear patch the height above ground is a quadratic of t: three samples give it exactly.
    t1 = 0.5 * (enter + leave)
    f1 = _above_patch(h00, h01, h10, h11, ox + dx * t1, oy + dy * t1, oz + dz * t1)
    a = 2.0 * (f0 - 2.0 * f1 + f2)
    b = f2 - f0 - a
    root = math.sqrt(max(0.0, b * b - 4.0 * a * f0))
    u = 2.0 * f0 / (root - b) if root > b else 1.0
    return enter + min(1.0, max(0.0, u)) * (leave - enter)


@compiled
def _meet_part(
    solid: np.ndarray, shape: np.ndarray, part: int, ox: float, oy: float, oz: float, dx: float, dy: float, dz: float,
    nearest: float, farthest: float,
) -> float:  # fmt: skip
    """Where the ray enters a part, if it does so between `nearest` and `farthest`, else _FAR."""
    lz, hz = oz - 0.5 * (solid[part, 2] + solid[part, 3]), 0.5 * (solid[part, 3] - solid[part, 2])
    enter, leave = _slab(lz, dz, hz, -_FAR, _FAR)
    if leave <= nearest or enter >= farthest:
        return _FAR
    px, py, c, s = ox - solid[part, 0], oy - solid[part, 1], solid[part, 6], solid[part, 7]
    lx, ly, hx, hy = c * px + s * py, c * py - s * px, solid[part, 4], solid[part, 5]
    mx, my = c * dx + s * dy, c * dy - s * dx
    if shape[part] == _BOX:
        enter, leave = _slab(lx, mx, hx, enter, leave)
        enter, leave = _slab(ly, my, hy, enter, leave)
    elif shape[part] == _CYLINDER:
        enter, leave = _round(lx / hx, ly / hy, 0.0, mx / hx, my / hy, 0.0, enter, leave)
    else:
        enter, leave = _round(lx / hx, ly / hy, lz / hz, mx / hx, my / hy, dz / hz, enter, leave)
    return enter if nearest < enter < leave else _FAR


@compiled
def _slab(start: float, direction: float, half: float, enter: float, leave: float) -> tuple[float, float]:
    if direction == 0.0:
        return (enter, leave) if abs(start) <= half else (_FAR, -_FAR)
    inverse = 1.0 / direction
    a, b = (-half - start) * inverse, (half - start) * inverse
    return max(enter, min(a, b)), min(leave, max(a, b))


@compiled
def _round(
    x: float, y: float, z: float, dx: float, dy: float, dz: float, enter: float, leave: float
) -> tuple[float, float]:
    a = dx * dx + dy * dy + dz * dz
    b = x * dx + y * dy + z * dz
    discriminant = b * b - a * (x * x + y * y + z * z - 1.0)
    if a == 0.0 or discriminant <= 0.0:
        return _FAR, -_FAR
    root = math.sqrt(discriminant)
    return max(enter, (-b - root) / a), min(leave, (-b + root) / a)
