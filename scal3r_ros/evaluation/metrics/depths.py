"""How good the estimated depth is where true depth is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.evaluation.ground_truth import TrueDepth, Truth
from scal3r_ros.geometry import se3
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.geometry.projection import backproject, project
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.io.results.reader import KeyframeDepth, Result, read_keyframe_depth

DepthMap = NDArray[np.float32]

MOST_PIXELS_PER_FRAME = 20_000
DELTA = 1.25


@dataclass(frozen=True)
class DepthMetrics:
    """Errors over all pixels of all frames that have true depth, of those whose estimate is confident.

    `confident_fraction` is their share of the pixels with true depth, frames without any estimate counting as 0. The
    relative error is |estimate − truth| / truth after one scale per frame (the median ratio), and after one scale for
    all frames in `*_one_scale`; `delta_*` is the fraction of pixels whose ratio to the truth is below 1.25 either way.
    """

    frames: int
    min_confidence: float
    confident_fraction: float
    median_relative_error: float | None
    median_relative_error_one_scale: float | None
    delta: float | None
    delta_one_scale: float | None


@dataclass(frozen=True)
class FrameDepthMetrics:
    """One frame with true depth; errors are None where nothing confident was estimated. `scale` is metres per map
    unit.
    """

    stamp_ns: int
    confident_fraction: float
    median_relative_error: float | None
    delta: float | None
    scale: float | None


@dataclass(frozen=True)
class DepthExample:
    """A frame to look at: true and estimated z-depth (h, w) in metres, the latter scaled by its median ratio; 0 where
    unknown.
    """

    stamp_ns: int
    true_m: DepthMap
    estimated_m: DepthMap


@dataclass(frozen=True)
class DepthComparison:
    """The depth of a result compared with the truth: over all, frame by frame, and one frame from the middle."""

    metrics: DepthMetrics
    frames: tuple[FrameDepthMetrics, ...]
    example: DepthExample | None


def compare_depths(
    truth: Truth, result: Result, min_confidence: float = 0.5, max_difference_s: float = 0.02
) -> DepthComparison | None:
    """Compares every true depth image with the nearest keyframe's depth map; None where either side has no depth.

    A keyframe of the same stamp is compared as it is. Another one's confident points are projected into the frame by
    the estimated poses, so that their error counts as well. True depth is read at the pixel nearest to each estimate.

    Raises:
        EvaluationError: a depth map of the result is damaged, or the truth has no calibration.
        SequenceError: a true depth image is damaged.
    """
    if not result.depth_files:
        return None
    keyframes = _Keyframes(result.depth_files)
    frames: list[FrameDepthMetrics] = []
    ratios: list[NDArray[np.float32]] = []
    judged, confident = 0, 0
    reach_ns = round(max_difference_s * 1e9)
    example: DepthExample | None = None
    for index, true in enumerate(truth.depths()):
        keyframe = keyframes.nearest(true.stamp_ns)
        estimated = _estimate_at(true.stamp_ns, keyframe, result.trajectory, min_confidence, reach_ns)
        true_m = sample_nearest(true, keyframe.intrinsics)
        known = true_m > 0
        both = known & (estimated > 0)
        ratio = true_m[both] / estimated[both]
        frames.append(_frame_metrics(true.stamp_ns, int(known.sum()), ratio))
        judged, confident = judged + int(known.sum()), confident + len(ratio)
        ratios.append(_thinned(ratio))
        if len(ratio) and (example is None or index <= truth.depth_count // 2):
            example = DepthExample(true.stamp_ns, true_m, estimated * np.float32(np.median(ratio)))
    if not frames:
        return None
    scaled = np.concatenate([ratio / np.median(ratio) for ratio in ratios if len(ratio)] or [np.zeros(0)])
    pooled = np.concatenate(ratios)
    pooled = pooled / np.median(pooled) if len(pooled) else pooled
    metrics = DepthMetrics(
        frames=len(frames),
        min_confidence=min_confidence,
        confident_fraction=confident / judged if judged else 0.0,
        median_relative_error=_median_error(scaled),
        median_relative_error_one_scale=_median_error(pooled),
        delta=_delta(scaled),
        delta_one_scale=_delta(pooled),
    )
    return DepthComparison(metrics, tuple(frames), example)


def warp(depth: DepthMap, intrinsics: Intrinsics, T_target_source: NDArray[np.float64]) -> DepthMap:
    """The depth map (h, w) that a camera with the same intrinsics sees from another pose; 0 where nothing lands.

    `depth` is 0 where there is nothing to project. Each pixel covers as much of the target as it is magnified, up to
    3 × 3 pixels, and the nearest point wins (z-buffer).
    """
    points = backproject(depth, intrinsics)[depth > 0] @ T_target_source[:3, :3].T + T_target_source[:3, 3]
    points, source = points[points[:, 2] > 0], depth[depth > 0][points[:, 2] > 0]
    uv, z = project(points, intrinsics)
    nearest = np.round(uv).astype(np.int64)
    half = np.maximum(source / z, 1.0) / 2
    buffer = np.full(intrinsics.width * intrinsics.height, np.inf)
    for dv in (-1, 0, 1):
        for du in (-1, 0, 1):
            pixel = nearest + np.array([du, dv])
            lands = np.all((np.abs(pixel - uv) <= half[:, None]) & (pixel >= 0), axis=1)
            lands &= (pixel[:, 0] < intrinsics.width) & (pixel[:, 1] < intrinsics.height)
            np.minimum.at(buffer, pixel[lands, 1] * intrinsics.width + pixel[lands, 0], z[lands])
    warped = np.where(np.isfinite(buffer), buffer, 0.0)
    return warped.reshape(intrinsics.height, intrinsics.width).astype(np.float32)


def sample_nearest(true: TrueDepth, intrinsics: Intrinsics) -> DepthMap:
    """True depth (h, w) at the pixels of another pinhole in the same place; 0 where it does not reach."""
    u = np.arange(intrinsics.width) - intrinsics.cx
    v = np.arange(intrinsics.height) - intrinsics.cy
    column = np.round(u * (true.intrinsics.fx / intrinsics.fx) + true.intrinsics.cx).astype(np.int64)
    row = np.round(v * (true.intrinsics.fy / intrinsics.fy) + true.intrinsics.cy).astype(np.int64)
    height, width = true.depth_m.shape
    inside = ((row >= 0) & (row < height))[:, None] & ((column >= 0) & (column < width))
    sampled = true.depth_m[np.clip(row, 0, height - 1)[:, None], np.clip(column, 0, width - 1)]
    return np.where(inside, sampled, np.float32(0.0))


class _Keyframes:
    """Depth maps by stamp; the last one read is kept, since neighbouring true frames share it."""

    def __init__(self, files: Mapping[int, Path]) -> None:
        self._files = files
        self._stamps = np.array(list(files), np.int64)
        self._last: KeyframeDepth | None = None

    def nearest(self, stamp_ns: int) -> KeyframeDepth:
        found = int(self._stamps[np.argmin(np.abs(self._stamps - stamp_ns))])
        if self._last is None or self._last.stamp_ns != found:
            self._last = read_keyframe_depth(found, self._files[found])
        return self._last


def _estimate_at(
    stamp_ns: int, keyframe: KeyframeDepth, trajectory: Trajectory, min_confidence: float, reach_ns: int
) -> DepthMap:
    """Confident depth in map units of the frame at `stamp_ns`, 0 elsewhere; all 0 where the frame has no estimated
    pose.
    """
    confident = np.where(keyframe.confidence >= min_confidence, keyframe.depth, np.float32(0.0))
    confident = np.where(np.isfinite(confident) & (confident > 0), confident, np.float32(0.0))
    if keyframe.stamp_ns == stamp_ns:
        return confident
    T_map_target = pose_at(trajectory, stamp_ns, reach_ns)
    if T_map_target is None:
        return np.zeros_like(confident)
    T_map_source = pose_at(trajectory, keyframe.stamp_ns, 0)
    T_map_source = keyframe.T_map_cam if T_map_source is None else T_map_source
    return warp(confident, keyframe.intrinsics, se3.invert(T_map_target) @ T_map_source)


def pose_at(trajectory: Trajectory, stamp_ns: int, reach_ns: int) -> NDArray[np.float64] | None:
    """The pose (4, 4) nearest in time to `stamp_ns`, None where it is farther than `reach_ns`."""
    index = int(np.argmin(np.abs(trajectory.stamps_ns - stamp_ns)))
    if abs(int(trajectory.stamps_ns[index]) - stamp_ns) > reach_ns:
        return None
    return trajectory.T_ref_cam[index]


def _frame_metrics(stamp_ns: int, known: int, ratio: NDArray[np.float32]) -> FrameDepthMetrics:
    fraction = len(ratio) / known if known else 0.0
    if not len(ratio):
        return FrameDepthMetrics(stamp_ns, fraction, None, None, None)
    scale = float(np.median(ratio))
    return FrameDepthMetrics(stamp_ns, fraction, _median_error(ratio / scale), _delta(ratio / scale), scale)


def _thinned(ratio: NDArray[np.float32]) -> NDArray[np.float32]:
    step = max(1, -(-len(ratio) // MOST_PIXELS_PER_FRAME))
    return ratio[::step]


def _median_error(ratio: NDArray[np.floating]) -> float | None:
    """Of truth over estimate: |estimate − truth| / truth = |1 / ratio − 1|."""
    return float(np.median(np.abs(1.0 / ratio - 1.0))) if len(ratio) else None


def _delta(ratio: NDArray[np.floating]) -> float | None:
    return float(np.mean(np.maximum(ratio, 1.0 / ratio) < DELTA)) if len(ratio) else None
