"""Verifies loop candidates by geometry: what the neighbours of both keyframes see has to fit together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.features.sift import match
from scal3r_ros.geometry import se3
from scal3r_ros.geometry.sim3 import Sim3
from scal3r_ros.mapping.graph.edges import Edge, EdgeKind
from scal3r_ros.mapping.loops.config import LoopConfig
from scal3r_ros.mapping.loops.correspondences import Correspondences, LoopPose, fit_loop
from scal3r_ros.mapping.loops.keyframe_database import KeptKeyframe, KeyframeDatabase
from scal3r_ros.mapping.loops.retrieval import LoopCandidate

Array = NDArray[np.float64]

NEIGHBOURS = 1
"""Kept keyframes on either side that are matched together with a candidate."""
MIN_MATCHES = 12
MAX_ANGLE_DEG = 60.0
MAX_DISTANCE = 2.0
"""Distance of the two cameras, in median depths of what both see."""
MIN_SPREAD = 0.05
"""Standard deviation of the inliers in either direction of the image, on the z = 1 plane."""
_SYSTEMATIC_SIGMAS = (1e-2, 3e-3, 1e-2)
"""Errors that residuals do not show: translation relative to the depth, rotation in rad, log of the scale."""


@dataclass(frozen=True, eq=False)
class VerifiedLoop:
    """A loop: `edge` from the older to the newer submap, of the keyframes in `old_row` and `new_row`.

    `points` is the number of inliers, `share` their ratio; `residual` is in standard deviations in the images.
    """

    edge: Edge
    new_row: int
    old_row: int
    points: int
    share: float
    residual: float


def verify(
    candidate: LoopCandidate,
    database: KeyframeDatabase,
    anchors: Mapping[int, Sim3],
    config: LoopConfig,
    segments: Mapping[int, int] | None = None,
) -> VerifiedLoop | None:
    """The loop of a candidate; None where its two ends do not fit together.

    `anchors` place the submaps of neighbouring keyframes relative to each other, within one of `segments`.
    Deterministic.
    """
    submap_old, submap_new = database.submap(candidate.old_row), database.submap(candidate.new_row)
    olds = _neighbourhood(database, candidate.old_row, candidate.new_row, anchors, segments or {})
    news = _neighbourhood(database, candidate.new_row, len(database), anchors, segments or {})
    sides = _matched(olds, news, (anchors[submap_old], anchors[submap_new]), anchors, config.depth_sigma)
    if sides is None:
        return None
    old, new, names = sides
    pose = fit_loop(old, new)
    if pose is None:
        return None
    points = len(np.unique(names[pose.inliers]))
    share = points / len(np.unique(names))
    if points < config.min_points or share < config.min_share:
        return None
    if not _is_plausible(pose, old, new, database, candidate):
        return None
    unit = _median_depth(new.take(pose.inliers))
    systematic = np.diag(np.square(np.repeat(_SYSTEMATIC_SIGMAS, (3, 3, 1)) * np.array([unit] * 3 + [1.0] * 4)))
    edge = Edge(submap_old, submap_new, pose.S_old_new, pose.covariance + systematic, EdgeKind.LOOP)
    return VerifiedLoop(edge, candidate.new_row, candidate.old_row, points, share, pose.residual)


def _neighbourhood(
    database: KeyframeDatabase, row: int, end: int, anchors: Mapping[int, Sim3], segments: Mapping[int, int]
) -> list[tuple[int, KeptKeyframe]]:
    segment = segments.get(database.submap(row))
    rows = range(max(0, row - NEIGHBOURS), min(end, row + NEIGHBOURS + 1))
    near = [r for r in rows if database.submap(r) in anchors and segments.get(database.submap(r)) == segment]
    return [(r, database.keyframe(r)) for r in near]


def _matched(
    olds: Sequence[tuple[int, KeptKeyframe]],
    news: Sequence[tuple[int, KeptKeyframe]],
    ends: tuple[Sim3, Sim3],
    anchors: Mapping[int, Sim3],
    depth_sigma: float,
) -> tuple[Correspondences, Correspondences, NDArray[np.int64]] | None:
    """The points matched between any two keyframes as each side saw them, and a number (n,) of each new point."""
    sides: tuple[list[Correspondences], list[Correspondences]] = ([], [])
    names = []
    for _, old in olds:
        for row, new in news:
            pairs = match(old.features, new.features)
            if len(pairs) < MIN_MATCHES:
                continue
            for side, keyframe, rows, end in ((0, old, pairs[:, 0], ends[0]), (1, new, pairs[:, 1], ends[1])):
                sides[side].append(_seen(keyframe, rows, end.inverse() @ anchors[keyframe.submap]))
            names.append(row * 2**20 + pairs[:, 1].astype(np.int64))
    if not names:
        return None
    return _joined(sides[0], depth_sigma), _joined(sides[1], depth_sigma), np.concatenate(names)


def _seen(keyframe: KeptKeyframe, rows: NDArray[np.intp], S_end_submap: Sim3) -> Correspondences:
    """Points of a keyframe in the frame of the loop's end, and the camera that saw them."""
    S_end_cam = S_end_submap @ Sim3.from_rigid(keyframe.T_submap_cam)
    S_cam_end = S_end_cam.inverse()
    n = len(rows)
    return Correspondences(
        S_end_cam.apply(keyframe.points_cam[rows]),
        np.broadcast_to(S_cam_end.scale * S_cam_end.R, (n, 3, 3)),
        np.broadcast_to(S_cam_end.t, (n, 3)),
        keyframe.rays[rows].astype(np.float64),
        keyframe.sigma[rows].astype(np.float64),
    )


def _joined(parts: Sequence[Correspondences], depth_sigma: float) -> Correspondences:
    def column(name: str) -> Array:
        return np.concatenate([getattr(part, name) for part in parts])

    return Correspondences(column("points"), column("A"), column("b"), column("rays"), column("sigma"), depth_sigma)


def _is_plausible(
    pose: LoopPose, old: Correspondences, new: Correspondences, database: KeyframeDatabase, candidate: LoopCandidate
) -> bool:
    """Whether the inliers spread over the images, and both cameras are near each other and look the same way."""
    rays = new.rays[pose.inliers]
    if rays.std(axis=0).min() < MIN_SPREAD:
        return False
    T_old_before = database.keyframe(candidate.old_row).T_submap_cam
    T_old_now = pose.S_old_new.apply_pose(database.keyframe(candidate.new_row).T_submap_cam)
    apart = se3.invert(T_old_before) @ T_old_now
    near = np.linalg.norm(apart[:3, 3]) <= MAX_DISTANCE * _median_depth(old.take(pose.inliers))
    return bool(near and np.rad2deg(se3.rotation_angle(apart[:3, :3])) <= MAX_ANGLE_DEG)


def _median_depth(seen: Correspondences) -> float:
    """Median depth in the unit of that side's submap."""
    z = np.einsum("nj,nj->n", seen.A[:, 2], seen.points) + seen.b[:, 2]
    return float(np.median(z))
