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
    """Poses of all frames up to the last keyframe: keyframes as given, the others by PnP on the chunk's points.

    Where PnP fails, the pose is interpolated between the neighbouring keyframes; before the first it is that of the
    first.
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
        guess = keyframes[later]
        if earlier in stamps and later in stamps and earlier != later:
            share = (seen.stamp_ns - stamps[earlier]) / max(1, stamps[later] - stamps[earlier])
            guess = se3.interpolate(keyframes[earlier], keyframes[later], share)
        poses[seen.index] = guess
        if seen.intrinsics is None:
            continue
        _, of_frame, of_points = np.intersect1d(seen.features.ids, ids, assume_unique=True, return_indices=True)
        xy = seen.intrinsics.on_unit_plane(seen.features.uv)[of_frame]
        found = pose_from_points(points[of_points], xy, guess, sigma_px / seen.intrinsics.fx)
        if found is not None:
            poses[seen.index] = found.T_ref_cam
    return poses
