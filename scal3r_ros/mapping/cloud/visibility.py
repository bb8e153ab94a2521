"""Map points against depth maps: what sees a point, what sees through it, and where along its ray the surface lies.

A surfel map after Keller et al. (3DV 2013) and Whelan et al. (ElasticFusion, RSS 2015), with counts of what looks
through a point in place of a time limit. Depth errors grow with distance, so that tolerances are shares of depth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.features.compiled import compiled
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.geometry.projection import project
from scal3r_ros.geometry.sim3 import Sim3

Floats = NDArray[np.float32]

NEARER = 1.3
"""So many times nearer must a view be for its own point to replace one that it confirms."""
_RIM = 1
"""Pixels around one that have to look through a point as well: depth at the edge of a surface is often that behind."""


@dataclass(frozen=True, eq=False)
class DepthView:
    """A confident depth map in a submap: `depth` (h, w) float32, 0 where there is none, and what it weighs (h, w).

    `T_submap_cam` (4, 4) and depth are in the unit of the submap.
    """

    depth: Floats
    weight: Floats
    intrinsics: Intrinsics
    T_submap_cam: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Surface:
    """What is known of n points of a submap beside where they are, in its frame and unit.

    `normals` (n, 3) float32 point to the camera, zero where unknown; `distances` (n,) float32 are the depths at which
    the points were seen. `views` are the depth maps of all frames; the first `shared` came with the submap before.
    """

    normals: Floats
    distances: Floats
    views: tuple[DepthView, ...] = ()
    shared: int = 0

    @classmethod
    def unknown(cls, count: int) -> Surface:
        """Nothing but where the points are."""
        return cls(np.zeros((count, 3), np.float32), np.zeros(count, np.float32))


@dataclass(eq=False)
class Looks:
    """What views make of n points: how many have `seen` each, how many see `through` it (n,) uint16.

    `step` (n, 3) and `weight` (n,) float32 are the sum of weighted ways along the rays to the seen surfaces, in the
    points' frame, and of the weights; `replaced` (n,) where a view from much nearer has its own point of the surface.
    """

    seen: NDArray[np.uint16]
    through: NDArray[np.uint16]
    step: Floats
    weight: Floats
    replaced: NDArray[np.bool_]

    @classmethod
    def nothing(cls, count: int) -> Looks:
        """No view has looked yet."""
        return cls(
            np.zeros(count, np.uint16),
            np.zeros(count, np.uint16),
            np.zeros((count, 3), np.float32),
            np.zeros(count, np.float32),
            np.zeros(count, np.bool_),
        )


def look(
    points: Floats, distance: Floats, corners: NDArray[np.float64], S_views_points: Sim3, views: Sequence[DepthView],
    tolerance: float,
) -> Looks:  # fmt: skip
    """What `views` make of points (n, 3), which lie within `corners` (8, 3) and were seen from `distance` (n,) at best.

    Points, corners and distances are in the points' frame and unit, from where `S_views_points` leads to the views'.
    Two depths are of one surface where they differ by no more than `tolerance` times their sum.
    """
    looks = Looks.nothing(len(points))
    if not len(points):
        return looks
    for view in views:
        T_cam_submap = np.linalg.inv(view.T_submap_cam)
        S_cam_points = Sim3.from_rigid(T_cam_submap) @ S_views_points
        if not _in_sight(S_cam_points.apply(corners), view):
            continue
        camera = view.intrinsics
        _look(
            points, distance, view.depth, view.weight,
            S_cam_points.matrix[:3].astype(np.float32), S_cam_points.scale,
            (camera.fx, camera.fy, camera.cx, camera.cy), tolerance,
            looks.seen, looks.through, looks.step, looks.weight, looks.replaced,
        )  # fmt: skip
    return looks


def prepare() -> None:
    """Compiles what `look` needs, or reads it from numba's cache, so that the camera need not wait in a drive."""
    depth = np.ones((2, 2), np.float32)
    view = DepthView(depth, depth, Intrinsics(1.0, 1.0, 0.5, 0.5, 2, 2), np.eye(4))
    points = np.ones((1, 3), np.float32)
    look(points, points[:, 0].copy(), np.ones((8, 3)), Sim3.identity(), [view], 0.1)


def _in_sight(corners_cam: NDArray[np.float64], view: DepthView) -> bool:
    """Whether a box may reach into a view's picture; a box around the camera always may."""
    uv, z = project(corners_cam, view.intrinsics)
    if np.all(z <= 0):
        return False
    if np.any(z <= 0):
        return True
    low, high = uv.min(axis=0), uv.max(axis=0)
    return bool(
        high[0] >= -1 and high[1] >= -1 and low[0] <= view.intrinsics.width and low[1] <= view.intrinsics.height
    )


@compiled
def _look(
    points: Floats, distance: Floats, depth: Floats, shares: Floats, M: Floats, scale: float,
    camera: tuple[float, float, float, float], tolerance: float,
    seen: NDArray[np.uint16], through: NDArray[np.uint16], step: Floats, weight: Floats, replaced: NDArray[np.bool_],
) -> None:  # fmt: skip
    """One view of `look`: `M` (3, 4) takes points to its camera, and is `scale` times a rotation."""
    h, w = depth.shape
    fx, fy, cx, cy = camera
    for i in range(len(points)):
        p = points[i]
        z = M[2, 0] * p[0] + M[2, 1] * p[1] + M[2, 2] * p[2] + M[2, 3]
        if z <= 0:
            continue
        x = M[0, 0] * p[0] + M[0, 1] * p[1] + M[0, 2] * p[2] + M[0, 3]
        y = M[1, 0] * p[0] + M[1, 1] * p[1] + M[1, 2] * p[2] + M[1, 3]
        column, row = np.floor(fx * x / z + cx + 0.5), np.floor(fy * y / z + cy + 0.5)
        if not (0 <= column < w and 0 <= row < h):
            continue
        u, v = int(column), int(row)
        d = depth[v, u]
        if d <= 0:
            continue
        best = distance[i] * scale
        slack = tolerance * (best + d)
        if abs(z - d) <= slack:
            seen[i] += 1
            share = shares[v, u]
            way = share * (d - z) / (z * scale * scale)
            for k in range(3):
                step[i, k] += way * (M[0, k] * x + M[1, k] * y + M[2, k] * z)
            weight[i] += share
            replaced[i] |= best > NEARER * d
        elif z < d - slack:
            clear = True
            for near_v in range(max(0, v - _RIM), min(h, v + _RIM + 1)):
                for near_u in range(max(0, u - _RIM), min(w, u + _RIM + 1)):
                    other = depth[near_v, near_u]
                    clear &= other <= 0 or z < other - tolerance * (best + other)
            if clear:
                through[i] += 1
