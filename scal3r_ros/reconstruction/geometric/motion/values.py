"""A chunk's motion and sparse structure, and the steps that extend them: PnP and triangulation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.configuration import parameter
from scal3r_ros.features.pnp import pose_from_points
from scal3r_ros.reconstruction.geometric.triangulation import TrackTable, reprojection, triangulate
from scal3r_ros.reconstruction.protocol import Chunk, ChunkHealth, Previous

MIN_SPANNING = 15
"""Tracks from the first to the last new frame below which the motion between them counts as not measured."""
STILL = 0.005
"""Median image motion on the z = 1 plane below which a camera counts as standing."""
PARALLAX_SIGMA = 5.0
"""Narrowest angle between a point's rays, in standard deviations of an image point: what noise alone does not show."""


@dataclass(frozen=True)
class MotionConfig:
    """How strictly tracks are judged and how long the adjustment may take."""

    sigma: float = parameter(
        0.5, "standard deviation of a tracked image point", unit="pixels", minimum=0.05, maximum=10.0
    )
    outlier: float = parameter(
        4.0, "image residual beyond which an observation is taken out", unit="sigma", minimum=1.0, maximum=20.0
    )
    min_angle_deg: float = parameter(
        0.6, "narrowest angle between a point's rays at which it is used", unit="degrees", minimum=0.05, maximum=10.0
    )
    min_tracks: int = parameter(20, "fewest tracks that a frame's pose is computed from", minimum=6, maximum=1000)
    iterations: int = parameter(12, "steps of each bundle adjustment at most", minimum=1, maximum=100)


@dataclass(frozen=True)
class KnownStart:
    """What the chunk before says of this one, in this one's gauge: poses of the first frames and some tracks' points.

    `near_depth` of the last measured chunk keeps the scale where neither points nor motion of the one before can.
    """

    T_ref_cam: NDArray[np.float64]
    ids: NDArray[np.int64]
    points: NDArray[np.float64]
    near_depth: float

    def points_of(self, table: TrackTable) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Points (n, 3) of the table's tracks that the chunk before knew, and which those are."""
        points, known = np.zeros((len(table.ids), 3)), np.zeros(len(table.ids), bool)
        _, here, there = np.intersect1d(table.ids, self.ids, return_indices=True)
        points[here], known[here] = self.points[there], True
        return points, known


def start_from(chunk: Chunk, previous: Previous, depth_before: float) -> KnownStart | None:
    """Poses of the shared frames and the points of the chunk before, seen from the first shared camera."""
    if chunk.shared < 2:
        return None
    geometry = previous.geometry
    T = geometry.T_chunk_cam[-chunk.shared :]
    to_first = np.linalg.inv(T[0])
    if geometry.tracks is None:
        return KnownStart(to_first @ T, np.empty(0, np.int64), np.empty((0, 3)), depth_before)
    points = geometry.tracks.points_chunk @ to_first[:3, :3].T + to_first[:3, 3]
    return KnownStart(to_first @ T, geometry.tracks.ids, points, depth_before)


@dataclass(frozen=True)
class Motion:
    """Poses `T_ref_cam` (s, 4, 4), and the points (n, 3) of tracks `ids` (n,) with one standard deviation `sigma` (n,).

    `inlier_share` is the share of observations that the adjustment kept.
    """

    T_ref_cam: NDArray[np.float64]
    ids: NDArray[np.int64]
    points: NDArray[np.float64]
    sigma: NDArray[np.float64]
    health: ChunkHealth
    note: str
    inlier_share: float = 0.0


Refine = Callable[[TrackTable, NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]], Motion]
"""Adjusts tracks, poses, points (n, 3) and which of these are known, all against each other."""


def narrowest_angle(sigma: float, config: MotionConfig) -> float:
    """Angle in rad from which a point's depth counts as known."""
    return max(float(np.deg2rad(config.min_angle_deg)), PARALLAX_SIGMA * sigma)


def triangulated(
    table: TrackTable, T: NDArray[np.float64], sigma: float, config: MotionConfig
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    found = triangulate(table, T)
    residual, depth = reprojection(table, found.points, T)
    bad = (np.linalg.norm(residual, axis=1) > 2.0 * config.outlier * sigma) | (depth <= 0)
    worst = np.zeros(len(table.ids), bool)
    np.logical_or.at(worst, table.track, bad)
    return found.points, (found.angle > narrowest_angle(sigma, config)) & ~worst


def point_spread(
    table: TrackTable, points: NDArray[np.float64], T: NDArray[np.float64], sigma: float
) -> NDArray[np.float64]:
    """One standard deviation (n,) of each point along its worst axis, from its depth and the angle between its rays."""
    depth = np.zeros(len(table.ids))
    np.maximum.at(depth, table.track, reprojection(table, points, T)[1])
    return np.asarray(depth * sigma / np.maximum(triangulate(table, T).angle, 1e-4))


def pose_of_frame(
    table: TrackTable, frame: int, points: NDArray[np.float64], known: NDArray[np.bool_], guess: NDArray[np.float64],
    sigma: float, config: MotionConfig,
) -> NDArray[np.float64] | None:  # fmt: skip
    """T_ref_cam of `frame` by robust PnP from `guess`, None with too few inliers."""
    rows = (table.frame == frame) & known[table.track]
    if rows.sum() < config.min_tracks:
        return None
    found = pose_from_points(
        points[table.track[rows]], table.xy[rows], guess, sigma, outlier=2.0 * config.outlier,
        min_inliers=max(6, config.min_tracks // 2), min_share=0.3,
    )  # fmt: skip
    return None if found is None else found.T_ref_cam
