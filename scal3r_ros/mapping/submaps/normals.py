"""Surface normals of a depth map, compiled.

Inverse depth is linear in the pixel on a plane: its slope over a window around a pixel gives the plane's normal, with
the pixel's own surface alone and without depths that only noise sets apart.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.features.compiled import compiled
from scal3r_ros.geometry.intrinsics import Intrinsics

Floats = NDArray[np.float32]

RADIUS = 3
SAME_SURFACE = 0.1
"""Share of a pixel's depth by which others of its window may differ."""
LEAST_PIXELS = 10


def normals_of(depth: Floats, intrinsics: Intrinsics) -> Floats:
    """Unit normals (h, w, 3) float32 in the camera's frame, towards the camera, of z-depth (h, w), 0 where unknown.

    Zero where too little of a surface is around a pixel.
    """
    camera = (intrinsics.fx, intrinsics.fy, intrinsics.cx, intrinsics.cy)
    return _normals_of(np.ascontiguousarray(depth, np.float32), camera)


def prepare() -> None:
    """Compiles what `normals_of` needs, or reads it from numba's cache."""
    normals_of(np.ones((2, 2), np.float32), Intrinsics(1.0, 1.0, 0.5, 0.5, 2, 2))


@compiled
def _normals_of(depth: Floats, camera: tuple[float, float, float, float]) -> Floats:
    h, w = depth.shape
    fx, fy, cx, cy = camera
    normals = np.zeros((h, w, 3), np.float32)
    for v in range(h):
        for u in range(w):
            z = depth[v, u]
            if z <= 0:
                continue
            n = su = sv = sq = suu = suv = svv = suq = svq = 0.0
            for b in range(max(-RADIUS, -v), min(RADIUS, h - 1 - v) + 1):
                for a in range(max(-RADIUS, -u), min(RADIUS, w - 1 - u) + 1):
                    other = depth[v + b, u + a]
                    if other <= 0 or abs(other - z) > SAME_SURFACE * z:
                        continue
                    q = 1.0 / other
                    n += 1.0
                    su += a
                    sv += b
                    sq += q
                    suu += a * a
                    suv += a * b
                    svv += b * b
                    suq += a * q
                    svq += b * q
            if n < LEAST_PIXELS:
                continue
            suu -= su * su / n
            suv -= su * sv / n
            svv -= sv * sv / n
            suq -= su * sq / n
            svq -= sv * sq / n
            determinant = suu * svv - suv * suv
            if determinant < 1e-6 * suu * svv or determinant <= 0:
                continue
            slope_u = (svv * suq - suv * svq) / determinant
            slope_v = (suu * svq - suv * suq) / determinant
            at_centre = (sq - slope_u * su - slope_v * sv) / n
            # 1/z = slope_u (u' - u) + slope_v (v' - v) + at_centre is n · (x, y, 1) / d of the plane n · X = d.
            nx, ny = slope_u * fx, slope_v * fy
            nz = at_centre - slope_u * (u - cx) - slope_v * (v - cy)
            length = -np.sqrt(nx * nx + ny * ny + nz * nz)
            normals[v, u, 0], normals[v, u, 1], normals[v, u, 2] = nx / length, ny / length, nz / length
    return normals
