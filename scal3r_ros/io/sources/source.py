"""What every source of images gives, and which part of it is wanted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.mapping.values import SensorSample
from scal3r_ros.reconstruction.protocol import Frame

LONGEST_STEP_NS = 3600 * 10**9
"""A longer step between two images is one of the clock."""


class Source(Protocol):
    """Images of one camera; usable as a context.

    `image_count` is how many there are, None where that is unknown before the end. `dropped` counts those that
    could not be used, by kind of fault. `damage` describes in one sentence where the source is cut off.
    """

    dropped: Counter[str]

    @property
    def image_count(self) -> int | None:
        """Images, readable or not."""

    @property
    def damage(self) -> str | None:
        """What is wrong with the source; None where nothing was seen so far."""

    def frames(self) -> Iterator[Frame]:
        """The rectified frames, in order."""

    def ground_truth(self) -> Trajectory | None:
        """True camera poses by the same clock; None where there are none."""

    def samples(self) -> Sequence[SensorSample]:
        """What other sensors of a data set recorded, by time; empty where there are none, and for bags, which
        `SensorReader` reads.
        """

    def close(self) -> None:
        """Closes files; may be called twice."""


@dataclass(frozen=True)
class SourceOptions:
    """How a source is read; None leaves the choice to the source.

    `rate_hz` is for images without times. `assumed_fov_deg` is the horizontal field of view of a camera that nothing is
    known of; None leaves it uncalibrated. `every` takes each n-th image, from `start_s` after the first on, for
    `duration_s`, at most `max_frames`.
    """

    image_topic: str | None = None
    camera_info_topic: str | None = None
    calib: Path | None = None
    rectified: bool | None = None
    times: Path | None = None
    rate_hz: float | None = None
    assumed_fov_deg: float | None = None
    every: int = 1
    start_s: float = 0.0
    duration_s: float | None = None
    max_frames: int | None = None

    def expected(self, count: int | None) -> int | None:
        """How many of `count` images are taken at most."""
        thinned = None if count is None else -(-count // self.every)
        known = [number for number in (thinned, self.max_frames) if number is not None]
        return min(known) if known else None

    def select(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        """The wanted part of the frames, counted anew from 0.

        Stamps that go back or far ahead end nothing and drop nothing: the mapper judges and counts them.
        """
        start_ns = round(self.start_s * 1e9)
        end_ns = None if self.duration_s is None else start_ns + round(self.duration_s * 1e9)
        wanted, taken, time = 0, 0, _PassedTime()
        for frame in frames:
            passed_ns = time.at(frame.stamp_ns)
            if passed_ns < start_ns:
                continue
            if end_ns is not None and passed_ns > end_ns:
                return
            wanted += 1
            if (wanted - 1) % self.every:
                continue
            yield replace(frame, index=taken)
            taken += 1
            if taken == self.max_frames:
                return


class _PassedTime:
    """How much time passed since the first image, whatever single stamps say.

    A stamp that goes back or far ahead counts for nothing, unless the next one follows on from it: then the clock was
    set, and time passes by it from there.
    """

    def __init__(self) -> None:
        self._newest_ns: int | None = None
        self._odd_ns: int | None = None
        self._passed_ns = 0

    def at(self, stamp_ns: int) -> int:
        """Nanoseconds passed at the next image."""
        if self._newest_ns is None:
            self._newest_ns = stamp_ns
        for before_ns in (self._newest_ns, self._odd_ns):
            if before_ns is not None and 0 < stamp_ns - before_ns <= LONGEST_STEP_NS:
                self._passed_ns += stamp_ns - before_ns
                self._newest_ns, self._odd_ns = stamp_ns, None
                return self._passed_ns
        self._odd_ns = stamp_ns
        return self._passed_ns


class SampleList:
    """Samples of a data set's sensors, given out in order of time."""

    def __init__(self, samples: Sequence[SensorSample]) -> None:
        self._samples = samples
        self._given = 0

    def until(self, stamp_ns: int) -> Iterator[SensorSample]:
        """The samples that were not given yet, up to the first that is stamped later than `stamp_ns`."""
        while self._given < len(self._samples) and self._samples[self._given].stamp_ns <= stamp_ns:
            self._given += 1
            yield self._samples[self._given - 1]
