"""A start without any map: the two most telling views of a chunk, from their essential matrix."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from scal3r_ros.reconstruction.triangulation import TrackTable, triangulate

MIN_COMMON = 25
TELLING_ANGLE = np.deg2rad(1.0)


@dataclass(frozen=True)
class TwoView:
    """Frames `i < j` of the chunk, `T_i_j` (4, 4) with a baseline of 1, and how many points it sees at a telling
    angle.
    """

    i: int
    j: int
    T_i_j: NDArray[np.float64]
    telling: int


def most_telling_pair(table: TrackTable, frames: int, sigma: float) -> TwoView | None:
    """The pair of frames, one of them the first, that triangulates the most tracks at an angle that tells their depth.

    `sigma` is one standard deviation of an image point on the z = 1 plane. None where no pair has enough parallax.
    """
    best: TwoView | None = None
    for j in range(frames - 1, 0, -1):
        found = _relative_pose(table, 0, j, sigma)
        if found is not None and (best is None or found.telling > 1.1 * best.telling):
            best = found
    return best


def common_points(table: TrackTable, i: int, j: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Image points (k, 2) on the z = 1 plane of the tracks that frames `i` and `j` share, in the same order."""
    in_i, in_j = table.frame == i, table.frame == j
    _, at_i, at_j = np.intersect1d(table.track[in_i], table.track[in_j], return_indices=True)
    return table.xy[in_i][at_i], table.xy[in_j][at_j]


def rotation_between(xy_i: NDArray[np.float64], xy_j: NDArray[np.float64]) -> NDArray[np.float64]:
    """R_i_j (3, 3) that turns the rays of `xy_j` (k, 2) onto those of `xy_i`, robustly (three rounds of trimming,
    Kabsch).
    """
    rays_i, rays_j = _rays(xy_i), _rays(xy_j)
    keep = np.ones(len(rays_i), bool)
    R = np.eye(3)
    for _ in range(4):
        U, _, Vt = np.linalg.svd(rays_i[keep].T @ rays_j[keep])
        R = U @ np.diag([1.0, 1.0, np.linalg.det(U @ Vt)]) @ Vt
        residual = np.linalg.norm(rays_i - rays_j @ R.T, axis=1)
        keep = residual <= 2.0 * np.median(residual) + 1e-9
    return R


def _rays(xy: NDArray[np.float64]) -> NDArray[np.float64]:
    rays = np.concatenate([xy, np.ones((len(xy), 1))], axis=1)
    return rays / np.linalg.norm(rays, axis=1, keepdims=True)


def _relative_pose(table: TrackTable, i: int, j: int, sigma: float) -> TwoView | None:
    xy_i, xy_j = common_points(table, i, j)
    if len(xy_i) < MIN_COMMON:
        return None
    E, mask = cv2.findEssentialMat(xy_i, xy_j, np.eye(3), cv2.USAC_MAGSAC, 0.999, 2.0 * sigma)
    if E is None or E.shape != (3, 3):
        return None
    count, R, t, mask = cv2.recoverPose(E, xy_i, xy_j, np.eye(3), mask=mask)
    if count < MIN_COMMON:
        return None
    T_i_j = np.eye(4)
    T_i_j[:3, :3], T_i_j[:3, 3] = R.T, -R.T @ t[:, 0]
    good = mask.ravel() > 0
    n = int(good.sum())
    pair = TrackTable(
        np.arange(n),
        np.repeat(np.arange(n), 2),
        np.tile([0, 1], n),
        np.stack([xy_i[good], xy_j[good]], 1).reshape(-1, 2),
    )
    angle = triangulate(pair, np.stack([np.eye(4), T_i_j])).angle
    telling = int((angle > TELLING_ANGLE).sum())
    return TwoView(i, j, T_i_j, telling) if telling >= MIN_COMMON else None
