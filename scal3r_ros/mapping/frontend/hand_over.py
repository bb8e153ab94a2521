"""From one submap to the next: frames that wait are posed by the new one, while the camera goes on by the old one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.mapping.config import MapperConfig
from scal3r_ros.mapping.frontend.non_keyframe_poses import SeenFrame, frame_poses
from scal3r_ros.mapping.frontend.sight import Sight
from scal3r_ros.mapping.frontend.tracker import PoseTracker, Tracked
from scal3r_ros.mapping.submaps.points import feature_points
from scal3r_ros.mapping.submaps.submap import PlacedSubmap
from scal3r_ros.mapping.values import PoseSource

Array = NDArray[np.float64]

_COVARIANCE_OF_CHUNK = np.diag(np.square([0.01] * 3 + [1.5e-3] * 3))
"""Errors of a camera within its chunk: position in units of `map`, rotation in rad."""


@dataclass(frozen=True)
class PosedFrame:
    """A frame and its camera in `odom` by a submap."""

    seen: SeenFrame
    tracked: Tracked


class HandOver:
    """Poses of the frames since a new submap's first keyframe. Touches nothing that the camera uses meanwhile.

    State: `tracker`, which goes on from the newest frame posed; all `frames` that were given to `pose`, and the
    `poses` of those that have one, in order.
    """

    def __init__(self, submap: PlacedSubmap, config: MapperConfig) -> None:
        self._submap = submap
        self._sigma = config.tracker.sigma
        self._min_confidence = config.min_confidence
        self.tracker, self._sight = PoseTracker(config.tracker), Sight()
        self.camera = FoundCamera.of_submap(submap)
        self.frames: list[SeenFrame] = []
        self.poses: list[PosedFrame] = []
        self.newest_T = submap.S_odom_submap.apply_pose(submap.geometry.T_chunk_cam[-1])
        self._begun = False

    def pose(self, frames: Sequence[SeenFrame]) -> None:
        """Poses the next frames; the first call has to bring all up to the submap's last keyframe."""
        frames = [replace(seen, intrinsics=self.camera.with_calibration(seen.intrinsics)) for seen in frames]
        last = self._submap.chunk.frames[-1].index
        if not self._begun:
            self._begin(frames, last)
            self._begun = True
        for seen in frames:
            if seen.index > last and seen.intrinsics is not None:
                tracked = self.tracker.pose(seen.features, seen.intrinsics)
                self.newest_T = tracked.T_ref_cam
                self.poses.append(PosedFrame(seen, self._sight.judged(tracked, seen.stamp_ns, connected=True)))
        self.frames += frames

    def _begin(self, frames: Sequence[SeenFrame], last: int) -> None:
        submap = self._submap
        ids, points_submap = feature_points(submap.chunk, submap.geometry, self._min_confidence)
        points = submap.S_odom_submap.apply(points_submap)
        T_odom_cam = submap.S_odom_submap.apply_pose(submap.geometry.T_chunk_cam)
        keyframes = {frame.index: T for frame, T in zip(submap.chunk.frames, T_odom_cam, strict=True)}
        known = frame_poses(frames, keyframes, ids, points, self._sigma)
        newest = keyframes[min(keyframes)]
        for seen in frames:
            if seen.index <= last:
                newest = known.get(seen.index, newest)
                source = PoseSource.CHUNK if seen.index in known else PoseSource.EXTRAPOLATED
                tracked = Tracked(newest, _COVARIANCE_OF_CHUNK, source)
                self.poses.append(PosedFrame(seen, self._sight.judged(tracked, seen.stamp_ns, connected=True)))
        self.tracker.start_from(ids, points, keyframes[last], known.get(last - 1))


@dataclass(frozen=True)
class FoundCamera:
    """The reconstructor's intrinsics for a submap, at the size of its images; `guessed` where they came without any."""

    intrinsics: Intrinsics
    guessed: bool

    @staticmethod
    def of_submap(submap: PlacedSubmap) -> FoundCamera:
        """The camera of a submap's newest frame."""
        frame = submap.chunk.frames[-1]
        height, width = frame.image.shape[:2]
        return FoundCamera(submap.geometry.intrinsics[-1].scaled(width, height), frame.intrinsics is None)

    def with_calibration(self, calibrated: Intrinsics | None) -> Intrinsics | None:
        """A frame's own calibration with the distortion that was found to be left in it, and the readout found.

        Without one, the guessed intrinsics, or None where the camera has a calibration that this frame lacks.
        """
        if calibrated is None:
            return self.intrinsics if self.guessed else None
        return replace(calibrated, radial=self.intrinsics.radial, readout_s=self.intrinsics.readout_s)
