"""What the mapper does at camera rate: follow features, pose every frame, keep `odom` continuous."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.features.klt import KltTracker
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.mapping.config import MapperConfig
from scal3r_ros.mapping.frontend.non_keyframe_poses import SeenFrame, poses_between
from scal3r_ros.mapping.frontend.smoothing import SmoothPose
from scal3r_ros.mapping.frontend.tracker import PoseTracker, Tracked
from scal3r_ros.mapping.submaps.points import feature_points
from scal3r_ros.mapping.submaps.submap import PlacedSubmap
from scal3r_ros.mapping.values import FramePose, PoseSource
from scal3r_ros.reconstruction.protocol import Features, Frame

Array = NDArray[np.float64]

MAX_PENDING = 1000
"""Frames that may wait for the first submap; the oldest beyond that stay without a pose."""
_OF_CHUNK = np.diag([1e-4] * 3 + [1e-6] * 3)


@dataclass(frozen=True)
class TakenOver:
    """What a new submap says of frames: `known` poses `T_odom_cam` of all it poses, `given` those that had none."""

    known: tuple[tuple[SeenFrame, Array], ...]
    given: tuple[FramePose, ...]


class Frontend:
    """Frames since the newest submap, and the poses given out for them. `follow` needs a thread of its own, no lock.

    A camera that comes without intrinsics has those that the reconstructor guessed for the newest submap.
    """

    def __init__(self, config: MapperConfig) -> None:
        self._config = config
        self._klt = KltTracker(config.tracker.klt)
        self._tracker = PoseTracker(config.tracker)
        self._smooth = SmoothPose(config.correction_fade_s)
        self._frames_in = self._unposed = self._extrapolated = 0
        self.clear()

    def clear(self) -> None:
        """Forgets all frames; counters of frames go on."""
        self._klt.reset()
        self._tracker.reset()
        self._smooth.reset()
        self._seen: list[SeenFrame] = []
        self._guessed: Intrinsics | None = None
        self._last_given: Array | None = None
        self._mapped = False
        self._way_m = 0.0

    def __len__(self) -> int:
        return len(self._seen)

    def follow(self, frame: Frame) -> Features:
        """The features of the next frame."""
        return self._klt.track(frame.image)

    def see(self, frame: Frame, features: Features) -> tuple[SeenFrame, Tracked] | None:
        """Poses the next frame by the newest submap; None where there is none yet, or no camera to pose it with."""
        self._frames_in += 1
        camera = frame.intrinsics or self._guessed
        seen = SeenFrame(frame.index, frame.stamp_ns, features, camera)
        self._seen.append(seen)
        if len(self._seen) > MAX_PENDING:
            del self._seen[0]
            self._unposed += not self._mapped
        return None if not self._mapped or camera is None else (seen, self._tracker.pose(features, camera))

    def give(self, seen: SeenFrame, tracked: Tracked) -> FramePose:
        """The pose as it is given out: continuous, and as uncertain as the way was long."""
        T = self._smooth.give(tracked.T_ref_cam, seen.stamp_ns)
        if self._last_given is not None:
            self._way_m += float(np.linalg.norm(T[:3, 3] - self._last_given[:3, 3]))
        self._last_given = T
        covariance = tracked.covariance + np.diag([(self._config.drift * self._way_m) ** 2] * 3 + [0.0] * 3)
        self._extrapolated += tracked.source is PoseSource.EXTRAPOLATED
        return FramePose(seen.index, seen.stamp_ns, T, covariance, tracked.source)

    def take_over(self, submap: PlacedSubmap) -> TakenOver:
        """Poses the frames of a new submap, and those since it by its points; later ones are tracked against these."""
        frames, S_odom_submap = submap.chunk.frames, submap.S_odom_submap
        T_odom_cam = S_odom_submap.apply_pose(submap.geometry.T_chunk_cam)
        ids, points_submap = feature_points(submap.chunk, submap.geometry, self._config.min_confidence)
        points = S_odom_submap.apply(points_submap)
        self._guess_camera(submap)
        first, self._mapped = not self._mapped, True
        keyframes = {frame.index: T for frame, T in zip(frames, T_odom_cam, strict=True)}
        known: list[tuple[SeenFrame, Array]] = []
        given: list[FramePose] = []
        before = poses_between(self._seen, keyframes, ids, points, self._config.tracker.sigma)
        for seen in self._seen:
            if seen.index in before:
                known.append((seen, before[seen.index]))
                if first:
                    given.append(self.give(seen, Tracked(before[seen.index], _OF_CHUNK, PoseSource.CHUNK)))
        last = frames[-1].index
        self._tracker.start_from(ids, points, keyframes[last], before.get(last - 1))
        newest_T = keyframes[last]
        for seen in self._seen:
            if seen.index > last and seen.intrinsics is not None:
                tracked = self._tracker.pose(seen.features, seen.intrinsics)
                newest_T = tracked.T_ref_cam
                known.append((seen, newest_T))
                if first:
                    given.append(self.give(seen, tracked))
        if not first:
            self._smooth.correct(newest_T)
        oldest = frames[-min(self._config.window.overlap, len(frames))].index
        self._seen = [seen for seen in self._seen if seen.index >= oldest]
        return TakenOver(tuple(known), tuple(given))

    def counters(self) -> Mapping[str, int | float]:
        """Frames taken in, left without a pose and posed by motion alone, and the way in metres of `odom`."""
        return {
            "frames_in": self._frames_in,
            "frames_unposed": self._unposed,
            "frames_extrapolated": self._extrapolated,
            "distance_travelled": self._way_m,
        }

    def _guess_camera(self, submap: PlacedSubmap) -> None:
        """Takes the reconstructor's intrinsics for a camera that came without any, also for frames seen meanwhile."""
        frame = submap.chunk.frames[-1]
        if frame.intrinsics is not None:
            self._guessed = None
            return
        height, width = frame.image.shape[:2]
        guess = self._guessed = submap.geometry.intrinsics[-1].scaled(width, height)
        self._seen = [replace(seen, intrinsics=seen.intrinsics or guess) for seen in self._seen]
