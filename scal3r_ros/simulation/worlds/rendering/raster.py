"""The triangle that each point of an image sees: homogeneous rasterisation (Olano & Greer 1997), without clipping.

For a triangle with corners p0, p1, p2 in homogeneous image coordinates, b = [p0 p1 p2]⁻¹ (u, v, 1) holds the
barycentric coordinates over depth: the point is inside where all three are positive, and their sum is one over z-depth,
exactly.
"""

from __future__ import annotations

import math

import numpy as np

from scal3r_ros.simulation.compiled import compiled
from scal3r_ros.simulation.worlds.surfaces.atlas import SIZE, level_of, sample_channel
from scal3r_ros.simulation.worlds.surfaces.mesh import CUTOUT, TWO_SIDED, Mesh

NEAREST_M = 0.05
_OVERLAP = 1e-4  # neighbours overlap by this part of a sample, so that rounding leaves no gap between them


@compiled
def place_movers(mesh: Mesh, poses: np.ndarray, first: int, corners: np.ndarray, normals: np.ndarray) -> None:
    """Corners and normals in the world of the triangles from `first` on, whose objects stand at `poses` (m, 4, 4)."""
    for i in range(first, len(mesh.corners)):
        pose = poses[mesh.mover[i]]
        for k in range(3):
            p, n = mesh.corners[i, k], mesh.normals[i, k]
            for axis in range(3):
                r0, r1, r2 = pose[axis, 0], pose[axis, 1], pose[axis, 2]
                corners[i, k, axis] = r0 * p[0] + r1 * p[1] + r2 * p[2] + pose[axis, 3]
                normals[i, k, axis] = np.float32(r0 * n[0] + r1 * n[1] + r2 * n[2])


@compiled
def rasterise(
    corners: np.ndarray,
    uv: np.ndarray,
    texture: np.ndarray,
    kind: np.ndarray,
    texels: np.ndarray,
    begin: np.ndarray,
    P: np.ndarray,
    edges: np.ndarray,
    inverse_depth: np.ndarray,
    triangle: np.ndarray,
) -> None:
    """Draws triangles into `inverse_depth` (h, w) float32 and `triangle` (h, w) int32, which begin as 0 and -1.

    `P` (3, 4) maps the world to homogeneous samples, its last row to z-depth. `edges` (n, 9) gets the rows of the
    inverse matrix of every triangle that was drawn.
    """
    height, width = inverse_depth.shape
    p = np.empty((3, 3))
    polygon = np.empty((4, 2))
    for i in range(len(corners)):
        behind = 0
        for k in range(3):
            x, y, z = corners[i, k, 0], corners[i, k, 1], corners[i, k, 2]
            p[k, 2] = P[2, 0] * x + P[2, 1] * y + P[2, 2] * z + P[2, 3]
            behind += p[k, 2] < NEAREST_M
        if behind == 3:
            continue
        for k in range(3):
            x, y, z = corners[i, k, 0], corners[i, k, 1], corners[i, k, 2]
            p[k, 0] = P[0, 0] * x + P[0, 1] * y + P[0, 2] * z + P[0, 3]
            p[k, 1] = P[1, 0] * x + P[1, 1] * y + P[1, 2] * z + P[1, 3]
        count = _visible_polygon(p, polygon)
        left, right, top, bottom = polygon[0, 0], polygon[0, 0], polygon[0, 1], polygon[0, 1]
        for k in range(1, count):
            left, right = min(left, polygon[k, 0]), max(right, polygon[k, 0])
            top, bottom = min(top, polygon[k, 1]), max(bottom, polygon[k, 1])
        if right < 0.0 or left > width - 1.0 or bottom < 0.0 or top > height - 1.0:
            continue
        a0 = p[1, 1] * p[2, 2] - p[1, 2] * p[2, 1]
        a1 = p[1, 2] * p[2, 0] - p[1, 0] * p[2, 2]
        a2 = p[1, 0] * p[2, 1] - p[1, 1] * p[2, 0]
        determinant = p[0, 0] * a0 + p[0, 1] * a1 + p[0, 2] * a2
        if determinant == 0.0 or (determinant > 0.0 and not kind[i] & TWO_SIDED):
            continue
        scale = 1.0 / determinant
        e = edges[i]
        e[0], e[1], e[2] = a0 * scale, a1 * scale, a2 * scale
        e[3] = (p[2, 1] * p[0, 2] - p[2, 2] * p[0, 1]) * scale
        e[4] = (p[2, 2] * p[0, 0] - p[2, 0] * p[0, 2]) * scale
        e[5] = (p[2, 0] * p[0, 1] - p[2, 1] * p[0, 0]) * scale
        e[6] = (p[0, 1] * p[1, 2] - p[0, 2] * p[1, 1]) * scale
        e[7] = (p[0, 2] * p[1, 0] - p[0, 0] * p[1, 2]) * scale
        e[8] = (p[0, 0] * p[1, 1] - p[0, 1] * p[1, 0]) * scale
        first_row, last_row = int(max(0.0, math.ceil(top))), int(min(height - 1.0, math.floor(bottom)))
        cutout = bool(kind[i] & CUTOUT)
        for row in range(first_row, last_row + 1):
            low, high = max(0.0, left), min(width - 1.0, right)
            for k in range(3):
                slope, offset = e[3 * k], e[3 * k + 1] * row + e[3 * k + 2]
                if slope > 0.0:
                    low = max(low, -offset / slope - _OVERLAP)
                elif slope < 0.0:
                    high = min(high, -offset / slope + _OVERLAP)
                elif offset < 0.0:
                    high = -1.0
            if high < low:
                continue
            step = e[0] + e[3] + e[6]
            start = (e[1] + e[4] + e[7]) * row + e[2] + e[5] + e[8]
            for column in range(math.ceil(low), math.floor(high) + 1):
                near = np.float32(start + step * column)
                if near <= inverse_depth[row, column] or near > 1.0 / NEAREST_M:
                    continue
                if cutout and not _opaque(uv, texture, texels, begin, e, i, float(column), float(row)):
                    continue
                inverse_depth[row, column] = near
                triangle[row, column] = i


@compiled
def _visible_polygon(p: np.ndarray, polygon: np.ndarray) -> int:
    """Image points (up to 4) of the part of a triangle beyond the nearest depth, and their number."""
    count = 0
    for k in range(3):
        z, z_next = p[k, 2], p[(k + 1) % 3, 2]
        if z >= NEAREST_M:
            polygon[count, 0], polygon[count, 1] = p[k, 0] / z, p[k, 1] / z
            count += 1
        if (z >= NEAREST_M) != (z_next >= NEAREST_M):
            t = (NEAREST_M - z) / (z_next - z)
            for axis in range(2):
                polygon[count, axis] = (p[k, axis] + t * (p[(k + 1) % 3, axis] - p[k, axis])) / NEAREST_M
            count += 1
    return count


@compiled
def texture_point(uv: np.ndarray, i: int, b0: float, b1: float, b2: float) -> tuple[float, float]:
    """Texture coordinates on triangle i; b are barycentric coordinates over depth."""
    z = 1.0 / (b0 + b1 + b2)
    u = (b0 * uv[i, 0, 0] + b1 * uv[i, 1, 0] + b2 * uv[i, 2, 0]) * z
    v = (b0 * uv[i, 0, 1] + b1 * uv[i, 1, 1] + b2 * uv[i, 2, 1]) * z
    return u, v


@compiled
def _opaque(
    uv: np.ndarray, texture: np.ndarray, texels: np.ndarray, begin: np.ndarray, e: np.ndarray, i: int, x: float,
    y: float,
) -> bool:  # fmt: skip
    b0, b1, b2 = e[0] * x + e[1] * y + e[2], e[3] * x + e[4] * y + e[5], e[6] * x + e[7] * y + e[8]
    u, v = texture_point(uv, i, b0, b1, b2)
    ux, vx = texture_point(uv, i, b0 + e[0], b1 + e[3], b2 + e[6])
    wide = SIZE * (abs(ux - u) + abs(vx - v))
    return sample_channel(texels, begin, texture[i], level_of(wide), u, v, 3) > 0.5


@compiled
def rasterise_shadow(
    corners: np.ndarray,
    uv: np.ndarray,
    texture: np.ndarray,
    kind: np.ndarray,
    first: int,
    last: int,
    texels: np.ndarray,
    begin: np.ndarray,
    P: np.ndarray,
    height_map: np.ndarray,
) -> tuple[int, int, int, int]:
    """Draws triangles first…last as the sun sees them: `height_map` (h, w) float32 keeps the one nearest to the sun.

    `P` (3, 4) maps the world to column, row and nearness in metres. Returns the window (row, row, column, column) that
    may have changed.
    """
    rows, columns = height_map.shape
    changed = (rows, 0, columns, 0)
    p = np.empty((3, 3))
    for i in range(first, last):
        if kind[i] & 4:
            continue
        for k in range(3):
            for axis in range(3):
                p[k, axis] = (
                    P[axis, 0] * corners[i, k, 0] + P[axis, 1] * corners[i, k, 1] + P[axis, 2] * corners[i, k, 2]
                    + P[axis, 3]
                )  # fmt: skip
        left, right = min(p[0, 0], p[1, 0], p[2, 0]), max(p[0, 0], p[1, 0], p[2, 0])
        top, bottom = min(p[0, 1], p[1, 1], p[2, 1]), max(p[0, 1], p[1, 1], p[2, 1])
        if right < 0.0 or left > columns - 1.0 or bottom < 0.0 or top > rows - 1.0:
            continue
        area = (p[1, 0] - p[0, 0]) * (p[2, 1] - p[0, 1]) - (p[2, 0] - p[0, 0]) * (p[1, 1] - p[0, 1])
        if abs(area) < 1e-9:
            continue
        scale = 1.0 / area
        x1, y1 = (p[2, 1] - p[0, 1]) * scale, -(p[2, 0] - p[0, 0]) * scale
        x2, y2 = -(p[1, 1] - p[0, 1]) * scale, (p[1, 0] - p[0, 0]) * scale
        row0, row1 = int(max(0.0, math.ceil(top))), int(min(rows - 1.0, math.floor(bottom)))
        column0, column1 = int(max(0.0, math.ceil(left))), int(min(columns - 1.0, math.floor(right)))
        changed = (
            min(changed[0], row0), max(changed[1], row1 + 1), min(changed[2], column0), max(changed[3], column1 + 1)
        )  # fmt: skip
        cutout = bool(kind[i] & CUTOUT)
        for row in range(row0, row1 + 1):
            for column in range(column0, column1 + 1):
                dx, dy = column - p[0, 0], row - p[0, 1]
                l1, l2 = x1 * dx + y1 * dy, x2 * dx + y2 * dy
                l0 = 1.0 - l1 - l2
                if l0 < 0.0 or l1 < 0.0 or l2 < 0.0:
                    continue
                near = np.float32(l0 * p[0, 2] + l1 * p[1, 2] + l2 * p[2, 2])
                if near <= height_map[row, column]:
                    continue
                if cutout:
                    u, v = texture_point(uv, i, l0, l1, l2)
                    if sample_channel(texels, begin, texture[i], 1, u, v, 3) <= 0.5:
                        continue
                height_map[row, column] = near
    return changed
