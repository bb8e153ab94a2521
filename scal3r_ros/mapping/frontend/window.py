"""Selects keyframes, and hands them out as overlapping chunks."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from scal3r_ros.configuration import parameter
from scal3r_ros.errors import MappingError
from scal3r_ros.features.parallax import parallax
from scal3r_ros.features.sharpness import BLURRED
from scal3r_ros.reconstruction.protocol import Chunk, Features, Frame

THINNED_COMMON = 0.4
"""Share of common tracks of two keyframes from which the one between them may be thinned out."""
LONGEST = 3
"""Size of a window that has to wait at most, in chunks."""
MIN_SEEN = 20
"""Points below which an image shows too little for a keyframe, as one of a covered lens."""
BLURRED_COMMON = 0.25
"""Share of the last keyframe's tracks below which even a blurred frame becomes a keyframe."""
MIN_LINK = 15
"""Tracks that a frame has to share with a keyframe of the window to belong to it."""


@dataclass(frozen=True)
class WindowConfig:
    """Size of chunks and the motion gate in front of them."""

    size: int = parameter(14, "keyframes in a chunk", unit="frames", minimum=3, maximum=256)
    overlap: int = parameter(
        6, "keyframes a chunk shares with the one before; less than size", unit="frames", minimum=2, maximum=128
    )
    min_parallax: float = parameter(
        0.015,
        "median image motion since the last keyframe that makes a frame a keyframe, relative to the image's width",
        minimum=0.0,
        maximum=0.5,
    )
    max_turn: float = parameter(
        0.0,
        "median image motion from which a frame becomes a keyframe however it came about, relative to the image's "
        "width; below it, only motion that no turning of the camera explains counts as parallax; 0 counts all motion",
        minimum=0.0,
        maximum=0.5,
    )
    min_common: float = parameter(
        0.5, "share of the last keyframe's tracks below which a frame becomes a keyframe", minimum=0.0, maximum=1.0
    )
    max_interval_s: float = parameter(
        5.0, "time after which a frame becomes a keyframe even without motion", unit="s", minimum=0.05, maximum=3600.0
    )


class ChunkWindow:
    """Collects keyframes and hands them out as chunks that overlap. State: the keyframes of the chunk being filled.

    Frames that share no tracks with those keyframes are put aside. A frame that does ends that: the frame was lost for
    a while. Once those aside fill a chunk of their own, the keyframes before them are handed out as they are, and a new
    segment begins: its first chunk shares no frame with the one before.
    """

    def __init__(self, config: WindowConfig) -> None:
        if config.overlap >= config.size:
            raise MappingError(f"a chunk of {config.size} frames cannot share {config.overlap} with the one before")
        self._config = config
        self._frames: list[Frame] = []
        self._aside: list[Frame] = []
        self._due: Chunk | None = None
        self._shared = 0
        self.handed_out = 0
        self.thinned = 0
        self.segments = 0

    def __len__(self) -> int:
        return len(self._frames)

    def add(self, frame: Frame) -> bool:
        """Whether `frame`, with its features, became a keyframe."""
        if frame.features is not None and len(frame.features.ids) < MIN_SEEN:
            return False
        if frame.features is not None and frame.features.blur >= BLURRED and self._frames and not self._needed(frame):
            return False
        if self._frames and not self._is_linked(frame):
            return self._put_aside(frame)
        self._aside = []
        if self._frames and not self._moved_enough(self._frames[-1], frame):
            return False
        self._frames.append(frame)
        return True

    def take(self, busy: bool = False) -> Chunk | None:
        """The chunk, where it is full and whoever maps is not `busy`; a busy one makes a full window thin out."""
        if self._due is not None and not busy:
            due, self._due = self._due, None
            return due
        if len(self._frames) < self._config.size:
            return None
        if busy:
            self._thin()
            return None
        return self._hand_out()

    def close(self) -> Chunk | None:
        """The rest as a shorter chunk, if any of its keyframes is new; None as soon as nothing is left."""
        if self._due is not None:
            due, self._due = self._due, None
            return due
        if self._has_rest():
            return self._hand_out()
        if self._aside:
            aside, self._aside = self._aside, []
            if 2 * len(aside) >= self._config.size:
                self._begin_segment(aside)
                return self._hand_out()
        return None

    def reset(self) -> None:
        """Start anew; chunks go on being counted."""
        self._frames, self._aside, self._due, self._shared = [], [], None, 0

    def count_from(self, index: int) -> None:
        """The next chunks' numbers are at least `index`."""
        self.handed_out = max(self.handed_out, index)

    def _has_rest(self) -> bool:
        return len(self._frames) > self._shared and len(self._frames) >= 2

    def _needed(self, frame: Frame) -> bool:
        """Whether a blurred frame has to be a keyframe: the next may have nothing in common with the last."""
        last = self._frames[-1]
        if last.features is None or frame.features is None:
            return True
        return image_motion(last.features, frame.features)[1] < BLURRED_COMMON

    def _is_linked(self, frame: Frame) -> bool:
        """Whether a frame shares tracks with any of the keyframes, the newest first."""
        return any(_links(other, frame) for other in reversed(self._frames))

    def _put_aside(self, frame: Frame) -> bool:
        """Keeps a frame that nothing connects to the keyframes, with others like it; whether it is a keyframe there."""
        if self._aside and not _links(self._aside[-1], frame):
            self._aside = []
        if self._aside and not self._moved_enough(self._aside[-1], frame):
            return False
        self._aside.append(frame)
        if len(self._aside) >= self._config.size:
            if self._due is None and self._has_rest() and (self._shared or 2 * len(self._frames) >= self._config.size):
                self._due = self._hand_out()
            aside, self._aside = self._aside, []
            self._begin_segment(aside)
        return True

    def _begin_segment(self, frames: list[Frame]) -> None:
        self._frames, self._shared = frames, 0
        self.segments += 1

    def _moved_enough(self, last: Frame, frame: Frame) -> bool:
        if (frame.stamp_ns - last.stamp_ns) * 1e-9 >= self._config.max_interval_s:
            return True
        if last.features is None or frame.features is None:
            return True
        config, width = self._config, frame.image.shape[1]
        motion, common = image_motion(last.features, frame.features)
        if common < config.min_common or motion < config.min_parallax * width:
            return common < config.min_common
        if motion >= config.max_turn * width or frame.intrinsics is None:
            return True
        return parallax(last.features, frame.features, frame.intrinsics) >= config.min_parallax * width

    def _hand_out(self) -> Chunk:
        chunk = Chunk(self.handed_out, tuple(self._frames), self._shared)
        self.handed_out += 1
        self._frames = self._frames[-self._config.overlap :]
        self._shared = len(self._frames)
        return chunk

    def _thin(self) -> None:
        """Every second of the fresh keyframes goes, unless its neighbours see too little in common without it.

        Shared ones and the newest stay. Where the camera turns so fast that none can go, the window grows, up to
        `LONGEST` chunks.
        """
        fresh = self._frames[self._shared :]
        forced = len(self._frames) >= LONGEST * self._config.size
        before = self._frames[self._shared - 1] if self._shared else None
        kept: list[Frame] = []
        droppable = len(fresh) % 2 == 0
        for frame, after in pairwise(fresh):
            drop = droppable and (forced or before is None or _see_the_same(before, after))
            if not drop:
                kept.append(frame)
                before = frame
            droppable = not drop
        kept += fresh[-1:]
        self.thinned += len(fresh) - len(kept)
        self._frames = self._frames[: self._shared] + kept


def _links(one: Frame, other: Frame) -> bool:
    if one.features is None or other.features is None:
        return True
    return len(np.intersect1d(one.features.ids, other.features.ids, assume_unique=True)) >= MIN_LINK


def _see_the_same(before: Frame, after: Frame) -> bool:
    if before.features is None or after.features is None:
        return True
    return image_motion(before.features, after.features)[1] >= THINNED_COMMON


def image_motion(before: Features, after: Features) -> tuple[float, float]:
    """Median motion in pixels of the tracks both frames hold, and their share of the earlier frame's tracks."""
    _, i, j = np.intersect1d(before.ids, after.ids, assume_unique=True, return_indices=True)
    if not len(i):
        return float("inf"), 0.0
    motion = np.linalg.norm(after.uv[j] - before.uv[i], axis=1)
    return float(np.median(motion)), len(i) / len(before.ids)
