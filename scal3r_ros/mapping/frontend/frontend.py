"""What the mapper does at camera rate: judge stamps, follow features, pose every frame, fill chunks of keyframes."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.mapping.config import MapperConfig
from scal3r_ros.mapping.frontend.feature_tracker import FeatureTracker
from scal3r_ros.mapping.frontend.hand_over import FoundCamera, HandOver
from scal3r_ros.mapping.frontend.non_keyframe_poses import SeenFrame
from scal3r_ros.mapping.frontend.pose_covariance import pose_covariance
from scal3r_ros.mapping.frontend.sight import Sight
from scal3r_ros.mapping.frontend.smoothing import SmoothPose
from scal3r_ros.mapping.frontend.timestamp_filter import StampVerdict, TimestampFilter
from scal3r_ros.mapping.frontend.tracker import PoseTracker, Tracked
from scal3r_ros.mapping.frontend.window import ChunkWindow
from scal3r_ros.mapping.submaps.frame_log import FramePlace
from scal3r_ros.mapping.submaps.submap import PlacedSubmap
from scal3r_ros.mapping.values import DroppedFrame, FramePose, ImuSample, Observation, PoseSource, SensorSample
from scal3r_ros.reconstruction.protocol import Chunk, Features, Frame

Array = NDArray[np.float64]

MAX_PENDING = 1000
"""Frames that may wait for the first submap; the oldest beyond that stay without a pose."""
CATCH_UP_ROUNDS = 8
"""How often a new submap poses the frames that came meanwhile, before the camera has to wait for the rest."""


@dataclass(frozen=True)
class Posed:
    """Frames as they are given out in `odom`, and their `places` in the submap that posed them, for the log."""

    poses: tuple[FramePose, ...] = ()
    places: tuple[FramePlace, ...] = ()


class Frontend:
    """Frames since the newest submap, and the poses given out for them. Any thread may call any method.

    Two locks: one is taken for a frame from end to end, so that frames follow each other; the other guards what a new
    submap changes, and is taken for the pose of one frame at most.

    A camera that comes without intrinsics has those that the reconstructor guessed for the newest submap.
    """

    def __init__(self, config: MapperConfig) -> None:
        self._config = config
        self._one_frame = threading.Lock()
        self._lock = threading.Lock()  # taken after the other
        self._stamps = TimestampFilter(config.reset_on_time_jump_s)
        self._tracks = FeatureTracker(config.tracker.klt, config.tracker.revisits)
        self._window = ChunkWindow(config.window)
        self._smooth = SmoothPose(config.correction_fade_s)
        self._submap: PlacedSubmap | None = None  # the one that frames are posed by
        self._connected = True
        self._frames_in = self._unposed = self._keyframes = self._bad_cameras = 0
        self._sources = dict.fromkeys(PoseSource, 0)
        self._clear()

    def observe(self, frame: Frame, busy: bool) -> tuple[Observation, Posed] | None:
        """Poses the next frame, and hands out a chunk where one is full and nobody is `busy`.

        None where the clock of the images was set back: the frame has to be shown again after `starting_over`.
        """
        with self._one_frame:
            if fault := _fault_of_camera(frame):
                self._frames_in += 1
                self._bad_cameras += 1
                return Observation((), None, DroppedFrame("calibration unusable", fault)), Posed()
            before_ns = self._stamps.newest_ns
            verdict = self._stamps.judge(frame.stamp_ns)
            if verdict is StampVerdict.NEW_CLOCK:
                return None
            self._frames_in += 1
            if not verdict.accepted:
                return Observation((), None, _dropped(verdict, frame.stamp_ns, before_ns)), Posed()
            features = self._tracks.track(frame)
            with self._lock:
                posed = self._pose(frame, features)
                segments = self._window.segments
                self._keyframes += self._window.add(replace(frame, features=features))
                if self._window.segments != segments:
                    self._tracks.begin_segment()
                return Observation(posed.poses, self._window.take(busy)), posed

    def close_window(self) -> Chunk | None:
        """The keyframes that have not filled a chunk; None where there are no new ones."""
        with self._lock:
            return self._window.close()

    def add_sensor(self, sample: SensorSample) -> None:
        """Takes in a sample; by the rotation that an IMU measures, a lost frame is looked for. Never waits."""
        if isinstance(sample, ImuSample):
            self._tracks.gyro.add(sample)

    def connect(self, submap: PlacedSubmap | None, connected: bool) -> None:
        """Whether the newest submap is `connected` to the beginning of the map: with the covariance that it has now."""
        with self._lock:
            current = self._submap
            if not connected or self._connected or current is None or submap is None:
                return
            if current.index == submap.index:
                self._submap, self._connected = replace(current, covariance=submap.covariance), True

    def take_over(self, submap: PlacedSubmap, connected: bool = True) -> Posed:
        """Poses the frames of a new submap, and those since it by its points; later ones are tracked against these.

        `connected`: something measured leads from it to the beginning of the map.
        The camera goes on meanwhile by the submap before; it waits only while the last frame or so is posed anew.
        Nothing comes out for a submap of before `starting_over`.
        """
        hand_over = HandOver(submap, self._config)
        for _ in range(CATCH_UP_ROUNDS):
            with self._lock:
                late = self._seen_after(hand_over)
            hand_over.pose(late)
            if len(late) <= 1:
                break
        with self._lock:
            if submap.index < self._first_chunk:
                return Posed()
            hand_over.pose(self._seen_after(hand_over))
            self._connected = connected
            return self._hand_over(submap, hand_over)

    @contextmanager
    def starting_over(self, first_chunk: int = 0) -> Iterator[int]:
        """Forgets all frames, and lets none in before the end of the `with` block; counters go on.

        Gives the number of the next chunk, which is at least `first_chunk`.
        """
        with self._one_frame, self._lock:
            self._window.reset()
            self._window.count_from(first_chunk)
            self._tracks.reset()
            self._stamps.forget()
            self._smooth.reset()
            self._clear()
            yield self._first_chunk

    def counters(self) -> Mapping[str, int | float]:
        """Frames taken in, dropped by reason, without a pose, and posed by motion alone; keyframes; the way in `odom`.

        Never waits for more than the pose of one frame.
        """
        with self._lock:
            return {
                "frames_in": self._frames_in,
                **self._stamps.counters(),
                "frames_dropped_calibration_unusable": self._bad_cameras,
                "frames_unposed": self._unposed,
                "frames_extrapolated": self._sources[PoseSource.EXTRAPOLATED],
                "frames_lost": self._sources[PoseSource.LOST],
                "frames_unconnected": self._sources[PoseSource.UNCONNECTED],
                "frames_rematched": self._tracks.rematched,
                "distance_travelled": self._distance,
                "keyframes": self._keyframes,
                "keyframes_thinned": self._window.thinned,
            }

    def _clear(self) -> None:
        self._seen: list[SeenFrame] = []
        self._found: FoundCamera | None = None
        self._tracker, self._sight = PoseTracker(self._config.tracker), Sight()
        self._connected = True
        self._submap = None
        self._last_given: Array | None = None
        self._distance = 0.0
        self._first_chunk = self._window.handed_out

    def _pose(self, frame: Frame, features: Features) -> Posed:
        camera = frame.intrinsics if self._found is None else self._found.with_calibration(frame.intrinsics)
        seen = SeenFrame(frame.index, frame.stamp_ns, features, camera)
        self._seen.append(seen)
        if len(self._seen) > MAX_PENDING:
            del self._seen[0]
            self._unposed += self._submap is None
        if self._submap is None or camera is None:
            return Posed()
        tracked = self._tracker.pose(features, camera)
        pose = self._give(seen, tracked, self._submap)
        lost = pose.source is PoseSource.LOST
        return Posed((pose,), () if lost else (_place(seen, tracked.T_ref_cam, self._submap),))

    def _give(self, seen: SeenFrame, tracked: Tracked, submap: PlacedSubmap) -> FramePose:
        """The pose as it is given out: continuous, and the more uncertain the longer the way was."""
        tracked = self._sight.judged(tracked, seen.stamp_ns, self._connected)
        T = self._smooth.give(tracked.T_ref_cam, seen.stamp_ns)
        if self._last_given is not None:
            self._distance += float(np.linalg.norm(T[:3, 3] - self._last_given[:3, 3]))
        self._last_given = T
        self._sources[tracked.source] += 1
        covariance, scale_sigma = pose_covariance(submap, tracked, self._smooth.offset)
        return FramePose(seen.index, seen.stamp_ns, T, covariance, tracked.source, scale_sigma)

    def _seen_after(self, hand_over: HandOver) -> list[SeenFrame]:
        """Frames that the new submap has not posed yet."""
        newest = hand_over.frames[-1].index if hand_over.frames else None
        return [seen for seen in self._seen if newest is None or seen.index > newest]

    def _hand_over(self, submap: PlacedSubmap, done: HandOver) -> Posed:
        given: tuple[FramePose, ...] = ()
        if self._submap is None:
            given = tuple(self._give(posed.seen, posed.tracked, submap) for posed in done.poses)
        else:
            self._smooth.correct(done.newest_T)
        oldest = submap.chunk.frames[-min(self._config.window.overlap, len(submap.chunk.frames))].index
        waiting = {seen.index for seen in self._seen}
        self._seen = [seen for seen in done.frames if seen.index >= oldest and seen.index in waiting]
        self._submap, self._tracker, self._found = submap, done.tracker, done.camera
        shown = [posed for posed in done.poses if posed.tracked.source is not PoseSource.LOST]
        return Posed(given, tuple(_place(posed.seen, posed.tracked.T_ref_cam, submap) for posed in shown))


def _fault_of_camera(frame: Frame) -> str:
    height, width = frame.image.shape[:2]
    fault = "" if frame.intrinsics is None else frame.intrinsics.fault(width, height)
    return f"the calibration of the image at {_seconds(frame.stamp_ns)} s cannot be used: {fault}" if fault else ""


def _place(seen: SeenFrame, T_odom_cam: Array, submap: PlacedSubmap) -> FramePlace:
    T_submap_cam = submap.S_odom_submap.inverse().apply_pose(T_odom_cam)
    return FramePlace(seen.index, seen.stamp_ns, submap.index, T_submap_cam, seen.intrinsics)


def _dropped(verdict: StampVerdict, stamp_ns: int, before_ns: int | None) -> DroppedFrame:
    before = "" if before_ns is None else f" follows {_seconds(before_ns)} s"
    message = f"image stamp {_seconds(stamp_ns)} s{before}; the driver has to stamp every image later than the last"
    return DroppedFrame(verdict.value, message)


def _seconds(stamp_ns: int) -> str:
    """Every nanosecond of a stamp: a double holds one of today only to about 200."""
    seconds, rest = divmod(abs(stamp_ns), 10**9)
    return f"{'-' if stamp_ns < 0 else ''}{seconds}.{rest:09d}"
