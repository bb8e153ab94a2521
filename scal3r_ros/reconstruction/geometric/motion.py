"""Camera motion and sparse structure of a chunk from its feature tracks: start, PnP, triangulation, bundle
adjustment.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from scal3r_ros.configuration import parameter
from scal3r_ros.reconstruction.geometric.bundle import PosePrior, adjust
from scal3r_ros.reconstruction.geometric.pure_rotation import is_pure_rotation, rotation_between, stop_would_show
from scal3r_ros.reconstruction.geometric.triangulation import (
    TrackTable,
    consistent,
    near_depth,
    reprojection,
    triangulate,
)
from scal3r_ros.reconstruction.geometric.two_view import MIN_COMMON, common_points, widest_baseline_pair
from scal3r_ros.reconstruction.protocol import Chunk, ChunkHealth, Previous

MIN_SPANNING = 15
"""Tracks from the first to the last new frame below which nothing can be said of the motion between them."""
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
    held: int = parameter(
        6, "shared frames that are held where the chunk before has placed them; the others only start there",
        unit="frames", minimum=2, maximum=64,
    )  # fmt: skip


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


def estimate_motion(
    table: TrackTable, frames: int, focal: float, start: KnownStart | None, config: MotionConfig
) -> Motion:
    """Poses of all `frames` of a chunk; `focal` in pixels turns the pixel settings into the z = 1 plane's unit."""
    sigma = config.sigma / focal
    if start is None:
        return _without_start(table, frames, sigma, config)
    T = np.tile(np.eye(4), (frames, 1, 1))
    shared = len(start.T_ref_cam)
    T[:shared] = start.T_ref_cam
    points, known = start.points_of(table)
    turned = is_pure_rotation(table, T, shared - 1, sigma)
    if turned is not None and stop_would_show(table, T, shared - 1, points, known, start.near_depth, sigma):
        return _stayed(table, turned, shared - 1, points, known)
    measured = list(range(shared)) if len(start.ids) else []  # without points, those frames were only carried on
    points, known = _grow(table, T, measured, points, known, sigma, config)
    for frame in range(shared, frames):
        velocity = np.linalg.inv(T[frame - 2]) @ T[frame - 1] if frame >= 2 else np.eye(4)
        guess = T[frame - 1] @ velocity
        pose = _pose_from_points(table, frame, points, known, guess, sigma, config)
        if pose is None:
            T[frame] = _turned_only(table, frame, T, guess)
            continue
        T[frame] = pose
        measured.append(frame)
        points, known = _grow(table, T, measured, points, known, sigma, config)
    failed = frames - shared - sum(frame >= shared for frame in measured)
    if failed > (frames - shared) // 2:
        restarted = _restarted(table, T, shared if 0 in measured else 0, start.near_depth, sigma, config)
        return _carried(table, T, shared, failed) if restarted is None else restarted
    count = min(config.held, shared)
    priors = [PosePrior(frame, T[frame], 1e-5, 1e-5) for frame in range(count)]
    seen = table.select(np.isin(table.frame, measured))
    return _refined(seen, T, points, known, priors, None, sigma, config)


def _stayed(
    table: TrackTable, T: NDArray[np.float64], first: int, points: NDArray[np.float64], known: NDArray[np.bool_]
) -> Motion:
    """A chunk whose camera stays where frame `first` is, with the points known before and no new ones.

    What a camera without a way triangulates is noise, and would soon be all that the motion rests on.
    """
    turn = T[first, :3, :3].T @ T[-1, :3, :3]
    if np.arccos(np.clip((np.trace(turn) - 1.0) / 2.0, -1.0, 1.0)) < STILL:
        health, note = ChunkHealth.NO_PARALLAX, "the image hardly moves, so that the camera stands"
    else:
        health, note = ChunkHealth.PURE_ROTATION, "the image moves as one, so that the camera only turns"
    return Motion(T, table.ids[known], points[known], np.full(int(known.sum()), np.inf), health, note)


def _without_start(table: TrackTable, frames: int, sigma: float, config: MotionConfig) -> Motion:
    pair = widest_baseline_pair(table, frames, sigma)
    T = np.tile(np.eye(4), (frames, 1, 1))
    if pair is None:
        return _carried(table, T, 1, frames)
    T[pair.j] = pair.T_i_j
    seen = np.isin(table.frame, [pair.i, pair.j])
    points, known = _triangulated(table.select(seen), T, sigma, config)
    order = sorted((f for f in range(frames) if f not in (pair.i, pair.j)), key=lambda f: (abs(f - pair.j), f))
    placed = [pair.i, pair.j]
    for frame in order:
        nearest = min(placed, key=lambda f: abs(f - frame))
        pose = _pose_from_points(table, frame, points, known, T[nearest], sigma, config)
        if pose is None:
            return Motion(
                T, table.ids[:0], np.empty((0, 3)), np.empty(0), ChunkHealth.FEW_TRACKS,
                f"frame {frame} of the first chunk shares too few tracks with the others",
            )  # fmt: skip
        T[frame] = pose
        placed.append(frame)
        points, known = _triangulated(table.select(np.isin(table.frame, placed)), T, sigma, config)
    motion = _refined(table, T, points, known, [PosePrior(0, T[0], 1e-5, 1e-5)], (pair.i, pair.j, 1.0), sigma, config)
    return _with_unit_depth(motion)


def _restarted(
    table: TrackTable, T: NDArray[np.float64], measured: int, depth_before: float, sigma: float, config: MotionConfig
) -> Motion | None:
    """A new start inside the chunk where the old points are lost, at the scale of the motion before; None if it fails.

    `T` (frames, 4, 4) holds poses of which the first `measured` are sure. Where those stand still, or are missing, the
    scale is that at which near points are as far away as `depth_before`. Frames in front that see nothing keep `T`.
    """
    frames = len(T)
    first = next((f for f in range(frames - 2) if len(common_points(table, f, f + 1)[0]) >= MIN_COMMON), None)
    if first is None:
        return None
    seen = table.select(table.frame >= first)
    seen = TrackTable(seen.ids, seen.track, seen.frame - first, seen.xy)
    fresh = _without_start(seen, frames - first, sigma, config)
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


def _with_unit_depth(motion: Motion) -> Motion:
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


def _triangulated(
    table: TrackTable, T: NDArray[np.float64], sigma: float, config: MotionConfig
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    found = triangulate(table, T)
    residual, depth = reprojection(table, found.points, T)
    bad = (np.linalg.norm(residual, axis=1) > 2.0 * config.outlier * sigma) | (depth <= 0)
    worst = np.zeros(len(table.ids), bool)
    np.logical_or.at(worst, table.track, bad)
    return found.points, (found.angle > _narrowest(sigma, config)) & ~worst


def _narrowest(sigma: float, config: MotionConfig) -> float:
    """Angle in rad from which a point's depth is believed."""
    return max(float(np.deg2rad(config.min_angle_deg)), PARALLAX_SIGMA * sigma)


def _grow(
    table: TrackTable, T: NDArray[np.float64], measured: list[int], points: NDArray[np.float64],
    known: NDArray[np.bool_], sigma: float, config: MotionConfig,
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:  # fmt: skip
    """Adds the tracks that the `measured` frames can triangulate; points known already stay."""
    new_points, new = _triangulated(table.select(np.isin(table.frame, measured)), T, sigma, config)
    add = new & ~known
    return np.where(add[:, None], new_points, points), known | add


def _pose_from_points(
    table: TrackTable, frame: int, points: NDArray[np.float64], known: NDArray[np.bool_], guess: NDArray[np.float64],
    sigma: float, config: MotionConfig,
) -> NDArray[np.float64] | None:  # fmt: skip
    """T_ref_cam of `frame` by robust PnP from `guess`, None with too few inliers."""
    rows = (table.frame == frame) & known[table.track]
    if rows.sum() < config.min_tracks:
        return None
    object_points, image_points = points[table.track[rows]], table.xy[rows]
    T_cam_ref = np.linalg.inv(guess)
    ok, rotation, translation, inliers = cv2.solvePnPRansac(
        object_points, image_points, np.eye(3), None, cv2.Rodrigues(T_cam_ref[:3, :3])[0], T_cam_ref[:3, 3:].copy(),
        useExtrinsicGuess=True, iterationsCount=100, reprojectionError=2.0 * config.outlier * sigma, confidence=0.999,
        flags=cv2.SOLVEPNP_ITERATIVE,
    )  # fmt: skip
    if not ok or inliers is None or len(inliers) < max(config.min_tracks // 2, 0.3 * rows.sum()):
        return None
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = cv2.Rodrigues(rotation)[0], translation[:, 0]
    return np.asarray(np.linalg.inv(pose), np.float64)


def _turned_only(
    table: TrackTable, frame: int, T: NDArray[np.float64], guess: NDArray[np.float64]
) -> NDArray[np.float64]:
    """`guess` with the rotation that the image points themselves show against the frame before, where they can."""
    xy_before, xy = common_points(table, frame - 1, frame)
    if len(xy) < 8:
        return guess
    turned = guess.copy()
    turned[:3, :3] = T[frame - 1, :3, :3] @ rotation_between(xy_before, xy)
    return turned


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
        more = ~known & (again.angle > _narrowest(sigma, config))
        points, known = np.where(more[:, None], again.points, points), known | more
    final = consistent(table, points, known, T, config.outlier * sigma)
    used = np.unique(final.track)
    angle = triangulate(final, T).angle[used]
    depth_of = np.zeros(len(table.ids))
    np.maximum.at(depth_of, final.track, reprojection(final, points, T)[1])
    spread = depth_of[used] * sigma / np.maximum(angle, 1e-4)
    share = len(final.track) / max(1, int((known[table.track]).sum()))
    return Motion(T, table.ids[used], points[used], spread, ChunkHealth.OK, "", share)


def _carried(table: TrackTable, T: NDArray[np.float64], known: int, failed: int) -> Motion:
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
    note = f"{note}; the motion of {failed} frames is carried on"
    return Motion(poses, table.ids[:0], np.empty((0, 3)), np.empty(0), health, note)
