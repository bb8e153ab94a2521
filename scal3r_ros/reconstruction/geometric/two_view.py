"""A start without any map: the two most telling views of a chunk, from their essential matrix."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from scal3r_ros.reconstruction.geometric.triangulation import TrackTable, triangulate

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


def widest_baseline_pair(table: TrackTable, frames: int, sigma: float) -> TwoView | None:
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
