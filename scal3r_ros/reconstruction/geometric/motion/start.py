"""A start without any map: the two views of a chunk with the most parallax, all other frames placed from there."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from scal3r_ros.reconstruction.geometric.bundle import PosePrior, adjust
from scal3r_ros.reconstruction.geometric.motion.values import (
    MIN_SPANNING,
    STILL,
    Motion,
    MotionConfig,
    narrowest_angle,
    point_spread,
    pose_of_frame,
    triangulated,
)
from scal3r_ros.reconstruction.geometric.triangulation import (
    MIN_COMMON,
    TrackTable,
    common_points,
    consistent,
    near_depth,
    triangulate,
)
from scal3r_ros.reconstruction.protocol import ChunkHealth

MIN_PARALLAX_ANGLE = np.deg2rad(1.0)


@dataclass(frozen=True)
class TwoView:
    """Frames `i < j` of the chunk, `T_i_j` (4, 4) with a baseline of 1, and how many points it sees with enough
    angle.
    """

    i: int
    j: int
    T_i_j: NDArray[np.float64]
    parallax_inliers: int


def without_start(table: TrackTable, frames: int, sigma: float, config: MotionConfig) -> Motion:
    pair = widest_baseline_pair(table, frames, sigma)
    T = np.tile(np.eye(4), (frames, 1, 1))
    if pair is None:
        return constant_velocity(table, T, 1, frames)
    T[pair.j] = pair.T_i_j
    seen = np.isin(table.frame, [pair.i, pair.j])
    points, known = triangulated(table.select(seen), T, sigma, config)
    order = sorted((f for f in range(frames) if f not in (pair.i, pair.j)), key=lambda f: (abs(f - pair.j), f))
    placed = [pair.i, pair.j]
    for frame in order:
        nearest = min(placed, key=lambda f: abs(f - frame))
        pose = pose_of_frame(table, frame, points, known, T[nearest], sigma, config)
        if pose is None:
            return Motion(
                T, table.ids[:0], np.empty((0, 3)), np.empty(0), ChunkHealth.FEW_TRACKS,
                f"frame {frame} of the first chunk shares too few tracks with the others",
            )  # fmt: skip
        T[frame] = pose
        placed.append(frame)
        points, known = triangulated(table.select(np.isin(table.frame, placed)), T, sigma, config)
    motion = _refined(table, T, points, known, [PosePrior(0, T[0], 1e-5, 1e-5)], (pair.i, pair.j, 1.0), sigma, config)
    return with_unit_depth(motion)


def restarted(
    table: TrackTable, T: NDArray[np.float64], own: int, measured: int, depth_before: float, sigma: float,
    config: MotionConfig,
) -> Motion | None:  # fmt: skip
    """A new start inside the chunk where the old points are lost, at the scale of the motion before; None if it fails.

    `T` (frames, 4, 4) holds poses of which the first `measured` are sure. Where those stand still, or are missing, the
    scale is that at which near points are as far away as `depth_before`. The new start lies at frame `own` or after;
    frames before it keep `T`.
    """
    frames = len(T)
    first = next((f for f in range(own, frames - 2) if len(common_points(table, f, f + 1)[0]) >= MIN_COMMON), None)
    if first is None:
        return None
    seen = table.select(table.frame >= first)
    seen = replace(seen, frame=seen.frame - first)
    fresh = without_start(seen, frames - first, sigma, config)
    if fresh.health is not ChunkHealth.OK:
        return None
    depth = near_depth(seen, fresh.T_ref_cam, fresh.ids, fresh.points)
    known = found = 0.0
    if measured > first:
        last = measured - 1
        known = float(np.linalg.norm(T[last, :3, 3] - T[first, :3, 3]))
        found = float(np.linalg.norm(fresh.T_ref_cam[last - first, :3, 3] - fresh.T_ref_cam[0, :3, 3]))
    moved = min(known / max(depth_before, 1e-9), found / depth) > 0.01
    unit = known / found if moved else depth_before / depth
    poses = fresh.T_ref_cam.copy()
    poses[:, :3, 3] *= unit
    to_ref = T[first] @ np.linalg.inv(poses[0])
    points = (fresh.points * unit) @ to_ref[:3, :3].T + to_ref[:3, 3]
    source = "motion" if moved else "depth"
    note = f"the points of the chunk before are lost; started anew at the scale of its {source}"
    T = np.concatenate([T[:first], to_ref @ poses])
    return Motion(T, fresh.ids, points, fresh.sigma * unit, ChunkHealth.FEW_TRACKS, note, fresh.inlier_share)


def constant_velocity(table: TrackTable, T: NDArray[np.float64], known: int, failed: int) -> Motion:
    """No motion could be measured for most frames beyond the first `known`: says why, and carries on what is likely.

    A camera that sees the image stand still stands still, one that only turns keeps its place, any other keeps its
    speed.
    """
    frames = len(T)
    xy_first, xy_last = common_points(table, known - 1, frames - 1)
    poses = T.copy()
    if len(xy_first) < MIN_SPANNING:
        health, note = ChunkHealth.FEW_TRACKS, f"only {len(xy_first)} tracks span the new frames"
    elif np.median(np.linalg.norm(xy_first - xy_last, axis=1)) < STILL:
        health, note = ChunkHealth.NO_PARALLAX, "the image hardly moves"
        poses[known:] = T[known - 1]
    else:
        health, note = ChunkHealth.PURE_ROTATION, "the image moves as one, so that the camera only turns"
        poses[known:, :3, 3] = T[known - 1, :3, 3]
    note = f"{note}; the motion of {failed} frames is extrapolated"
    return Motion(poses, table.ids[:0], np.empty((0, 3)), np.empty(0), health, note)


def with_unit_depth(motion: Motion) -> Motion:
    """The same motion scaled so that the median depth of its points in the first camera is 1."""
    depth = (motion.points - motion.T_ref_cam[0, :3, 3]) @ motion.T_ref_cam[0, :3, 2]
    if not len(depth) or np.median(depth) <= 0:
        return motion
    unit = 1.0 / np.median(depth)
    T = motion.T_ref_cam.copy()
    T[:, :3, 3] *= unit
    return Motion(
        T, motion.ids, motion.points * unit, motion.sigma * unit, motion.health, motion.note, motion.inlier_share
    )


def widest_baseline_pair(table: TrackTable, frames: int, sigma: float) -> TwoView | None:
    """The pair of frames, one of them the first, that triangulates the most tracks at an angle that tells their depth.

    `sigma` is one standard deviation of an image point on the z = 1 plane. None where no pair has enough parallax.
    """
    best: TwoView | None = None
    for j in range(frames - 1, 0, -1):
        found = _relative_pose(table, 0, j, sigma)
        if found is not None and (best is None or found.parallax_inliers > 1.1 * best.parallax_inliers):
            best = found
    return best


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
    parallax_inliers = int((angle > MIN_PARALLAX_ANGLE).sum())
    return TwoView(i, j, T_i_j, parallax_inliers) if parallax_inliers >= MIN_COMMON else None


def _refined(
    table: TrackTable, T: NDArray[np.float64], points: NDArray[np.float64], known: NDArray[np.bool_],
    priors: list[PosePrior], baseline: tuple[int, int, float] | None, sigma: float, config: MotionConfig,
) -> Motion:  # fmt: skip
    """Two adjustments with the outliers taken out before each."""
    kept = table
    for threshold in (3.0 * config.outlier, config.outlier):
        kept = consistent(table, points, known, T, threshold * sigma)
        result = adjust(kept, T, points, priors, sigma=sigma, max_iterations=config.iterations, baseline=baseline)
        T, points = result.T_ref_cam, result.points
        again = triangulate(table, T)
        more = ~known & (again.angle > narrowest_angle(sigma, config))
        points, known = np.where(more[:, None], again.points, points), known | more
    final = consistent(table, points, known, T, config.outlier * sigma)
    used = np.unique(final.track)
    spread = point_spread(final, points, T, sigma)[used]
    share = len(final.track) / max(1, int((known[table.track]).sum()))
    return Motion(T, table.ids[used], points[used], spread, ChunkHealth.OK, "", share)
