"""Poses of the frames between a chunk's keyframes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.features.pnp import pose_from_points
from scal3r_ros.geometry import se3
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.reconstruction.protocol import Features

Array = NDArray[np.float64]

MOST_BETWEEN_S = 1.0
"""Time between keyframes beyond which a frame between them has no pose that its image does not show."""


@dataclass(frozen=True)
class SeenFrame:
    """A frame as long as its pose may still change: all but its image."""

    index: int
    stamp_ns: int
    features: Features
    intrinsics: Intrinsics | None


def frame_poses(
    frames: Sequence[SeenFrame], keyframes: Mapping[int, Array], ids: NDArray[np.int64], points: Array, sigma_px: float
) -> dict[int, Array]:
    """Poses of frames up to the last keyframe: keyframes as given, the others by PnP on the chunk's points.

    Where PnP fails, the pose is interpolated between the neighbouring keyframes. It has none where those are
    more than `MOST_BETWEEN_S` apart, and before the first.
    """
    order = sorted(keyframes)
    stamps = {seen.index: seen.stamp_ns for seen in frames}
    poses: dict[int, Array] = {}
    for seen in frames:
        if seen.index > order[-1]:
            break
        if seen.index in keyframes:
            poses[seen.index] = keyframes[seen.index]
            continue
        later = next(index for index in order if index > seen.index)
        earlier = max((index for index in order if index < seen.index), default=later)
        guess, gap_ns = keyframes[later], None
        if earlier in stamps and later in stamps and earlier != later:
            gap_ns = stamps[later] - stamps[earlier]
            share = (seen.stamp_ns - stamps[earlier]) / max(1, gap_ns)
            guess = se3.interpolate(keyframes[earlier], keyframes[later], share)
        if gap_ns is not None and gap_ns <= MOST_BETWEEN_S * 1e9:
            poses[seen.index] = guess
        if seen.intrinsics is None:
            continue
        _, of_frame, of_points = np.intersect1d(seen.features.ids, ids, assume_unique=True, return_indices=True)
        xy = seen.features.on_unit_plane(seen.intrinsics)[of_frame]
        found = pose_from_points(points[of_points], xy, guess, seen.features.blur * sigma_px / seen.intrinsics.fx)
        if found is not None:
            poses[seen.index] = found.T_ref_cam
    return poses
