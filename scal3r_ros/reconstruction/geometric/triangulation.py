"""Scene points from tracked image points and known cameras, many tracks at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MIN_COMMON = 25
"""Tracks that two frames have to share to measure the motion between them."""


@dataclass(frozen=True)
class TrackTable:
    """Observations of a chunk's tracks, in rows sorted by track and then by frame.

    `ids` (n,) int64 ascending; `track` (m,) index into `ids`; `frame` (m,) frame number in the chunk; `xy` (m, 2)
    normalised image coordinates (z = 1 plane). `shift` (m, 2) is how far a rolling shutter moves them for each second
    that it takes, None where that is not known.
    """

    ids: NDArray[np.int64]
    track: NDArray[np.int64]
    frame: NDArray[np.int64]
    xy: NDArray[np.float64]
    shift: NDArray[np.float64] | None = None

    def select(self, observations: NDArray[np.bool_]) -> TrackTable:
        """The table with only some observations; `ids` and their numbering stay."""
        shift = None if self.shift is None else self.shift[observations]
        return TrackTable(self.ids, self.track[observations], self.frame[observations], self.xy[observations], shift)

    def lengths(self) -> NDArray[np.int64]:
        """Number of observations (n,) of each track."""
        return np.bincount(self.track, minlength=len(self.ids))


def common_points(table: TrackTable, i: int, j: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Image points (k, 2) on the z = 1 plane of the tracks that frames `i` and `j` share, in the same order."""
    in_i, in_j = table.frame == i, table.frame == j
    _, at_i, at_j = np.intersect1d(table.track[in_i], table.track[in_j], return_indices=True)
    return table.xy[in_i][at_i], table.xy[in_j][at_j]


@dataclass(frozen=True)
class Triangulated:
    """`points` (n, 3) in the cameras' reference frame; `angle` (n,) widest angle between its rays in rad, 0 where
    unsolvable.
    """

    points: NDArray[np.float64]
    angle: NDArray[np.float64]


def triangulate(table: TrackTable, T_ref_cam: NDArray[np.float64]) -> Triangulated:
    """The point nearest to all rays of each track (midpoint method, weighted by nothing), from cameras `T_ref_cam`
    (s, 4, 4).
    """
    n = len(table.ids)
    rays = np.concatenate([table.xy, np.ones((len(table.xy), 1))], axis=1)
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    directions = np.einsum("mij,mj->mi", T_ref_cam[table.frame, :3, :3], rays)
    centres = T_ref_cam[table.frame, :3, 3]
    projectors = np.eye(3) - directions[:, :, None] * directions[:, None, :]
    A = np.zeros((n, 3, 3))
    b = np.zeros((n, 3))
    np.add.at(A, table.track, projectors)
    np.add.at(b, table.track, np.einsum("mij,mj->mi", projectors, centres))
    solvable = np.linalg.det(A) > 1e-12
    points = np.zeros((n, 3))
    points[solvable] = np.linalg.solve(A[solvable], b[solvable, :, None])[:, :, 0]
    angle = np.where(solvable, _widest_angle(table, directions), 0.0)
    return Triangulated(points, angle)


def _widest_angle(table: TrackTable, directions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Largest angle (n,) between a track's first ray and any later one: within a factor of two of the widest of all
    pairs.
    """
    n = len(table.ids)
    first = np.zeros((n, 3))
    first[table.track[::-1]] = directions[::-1]
    chord = np.linalg.norm(directions - first[table.track], axis=1)
    widest = np.zeros(n)
    np.maximum.at(widest, table.track, chord)
    return 2.0 * np.arcsin(np.clip(widest / 2.0, 0.0, 1.0))


def turned(table: TrackTable, T_ref_cam: NDArray[np.float64]) -> NDArray[np.float64]:
    """Largest angle (n,) in rad between the camera that sees a track first and any later one that sees it."""
    first = np.zeros(len(table.ids), np.int64)
    first[table.track[::-1]] = table.frame[::-1]
    traces = np.einsum("aij,bij->ab", T_ref_cam[:, :3, :3], T_ref_cam[:, :3, :3])
    angles = np.arccos(np.clip((traces - 1.0) / 2.0, -1.0, 1.0))
    widest = np.zeros(len(table.ids))
    np.maximum.at(widest, table.track, angles[first[table.track], table.frame])
    return widest


def reprojection(
    table: TrackTable, points: NDArray[np.float64], T_ref_cam: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Residuals (m, 2) on the z = 1 plane and depths (m,) of every observation of `points` (n, 3)."""
    R, t = T_ref_cam[table.frame, :3, :3], T_ref_cam[table.frame, :3, 3]
    p = np.einsum("mji,mj->mi", R, points[table.track] - t)
    z = np.where(np.abs(p[:, 2]) < 1e-9, 1e-9, p[:, 2])
    return p[:, :2] / z[:, None] - table.xy, p[:, 2]


def consistent(
    table: TrackTable,
    points: NDArray[np.float64],
    known: NDArray[np.bool_],
    T_ref_cam: NDArray[np.float64],
    threshold: float | NDArray[np.float64],
) -> TrackTable:
    """The observations of `known` points (n,) that lie in front and within `threshold` on the z = 1 plane, which may be
    given of each of them (m,), of tracks with two or more of them.
    """
    residual, depth = reprojection(table, points, T_ref_cam)
    good = known[table.track] & (np.linalg.norm(residual, axis=1) < threshold) & (depth > 0)
    kept = table.select(good)
    return kept.select(kept.lengths()[kept.track] >= 2)


def near_depth(
    table: TrackTable, T_ref_cam: NDArray[np.float64], ids: NDArray[np.int64], points: NDArray[np.float64]
) -> float:
    """Depth that a quarter of the sights of `points` (n, 3) of tracks `ids` (n,) lie within; 1 without any.

    Near points are found whatever way the cameras went, far ones only after a long one: their median would not compare.
    """
    _, in_table, given = np.intersect1d(table.ids, ids, return_indices=True)
    of_track = np.zeros((len(table.ids), 3))
    of_track[in_table] = points[given]
    depth = reprojection(table, of_track, T_ref_cam)[1][np.isin(table.track, in_table)]
    depth = depth[depth > 0]
    return float(np.percentile(depth, 25)) if len(depth) else 1.0
