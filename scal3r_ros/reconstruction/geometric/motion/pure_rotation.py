"""What of the image motion a rotation alone explains: the camera that stands, or turns on the spot."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.geometry.projection import rays_of
from scal3r_ros.reconstruction.geometric.triangulation import MIN_COMMON, TrackTable, common_points

Array = NDArray[np.float64]

TURN_SIGMA = 3.0
"""What a rotation leaves of the image motion, in standard deviations of an image point, where there is no parallax."""


def rotation_between(xy_i: Array, xy_j: Array) -> Array:
    """R_i_j (3, 3) that turns the rays of `xy_j` (k, 2) onto those of `xy_i`, robustly.

    Three rounds of trimming (Kabsch).
    """
    rays_i, rays_j = rays_of(xy_i), rays_of(xy_j)
    keep = np.ones(len(rays_i), bool)
    R = np.eye(3)
    for _ in range(4):
        U, _, Vt = np.linalg.svd(rays_i[keep].T @ rays_j[keep])
        R = U @ np.diag([1.0, 1.0, np.linalg.det(U @ Vt)]) @ Vt
        residual = np.linalg.norm(rays_i - rays_j @ R.T, axis=1)
        keep = residual <= 2.0 * np.median(residual) + 1e-9
    return R


def is_pure_rotation(table: TrackTable, T_ref_cam: Array, first: int, sigma: float) -> Array | None:
    """Poses `T_ref_cam` (s, 4, 4), those after `first` turned where that one stands; None where one shows parallax.

    Each frame is compared with the earliest one that it shares enough tracks with. `sigma` is one standard deviation of
    an image point on the z = 1 plane.
    """
    poses = T_ref_cam.copy()
    poses[first + 1 :] = T_ref_cam[first]
    for frame in range(first + 1, len(poses)):
        pair = _earliest_common(table, first, frame)
        if pair is None:
            return None
        base, xy_base, xy = pair
        R = rotation_between(xy_base, xy)
        left = np.linalg.norm(rays_of(xy_base) - rays_of(xy) @ R.T, axis=1)
        if np.percentile(left, 75) > TURN_SIGMA * sigma:  # not the median: most points may be far away
            return None
        poses[frame, :3, :3] = poses[base, :3, :3] @ R
    return poses


def stop_would_show(
    table: TrackTable, T_ref_cam: Array, first: int, points: Array, known: NDArray[np.bool_], near: float, sigma: float
) -> bool:
    """Whether the way that the camera would have gone at its speed before frame `first` would have shown in its image.

    Where only far points are in view, a rotation explains the image of a camera at full speed as well, and says
    nothing of whether it goes on. A camera whose way would not show even past points at the depth `near` stood before,
    as far as its images can tell, and may stand on. `points` (n, 3) are those of the `known` (n,) tracks.
    """
    frames_on = len(T_ref_cam) - 1 - first
    way = frames_on * (T_ref_cam[first, :3, 3] - T_ref_cam[max(first - 1, 0), :3, 3])
    tracks = np.unique(table.track[(table.frame > first) & known[table.track]])
    if np.linalg.norm(way) <= TURN_SIGMA * sigma * near or len(tracks) < MIN_COMMON:
        return True
    there = points[tracks] - T_ref_cam[first, :3, 3]
    moved = there - way
    lengths = np.linalg.norm(there, axis=1) * np.linalg.norm(moved, axis=1)
    parallax = np.linalg.norm(np.cross(there, moved), axis=1) / np.maximum(lengths, 1e-12)
    return bool(np.percentile(parallax, 75) > TURN_SIGMA * sigma)


def _earliest_common(table: TrackTable, first: int, frame: int) -> tuple[int, Array, Array] | None:
    for base in range(first, frame):
        xy_base, xy = common_points(table, base, frame)
        if len(xy) >= MIN_COMMON:
            return base, xy_base, xy
    return None
