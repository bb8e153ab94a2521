"""What every source of images gives, and which part of it is wanted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.reconstruction.protocol import Frame


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
        """The wanted part of the frames, counted anew from 0."""
        first_ns: int | None = None
        start_ns = round(self.start_s * 1e9)
        end_ns = None if self.duration_s is None else start_ns + round(self.duration_s * 1e9)
        wanted, taken = 0, 0
        for frame in frames:
            first_ns = frame.stamp_ns if first_ns is None else first_ns
            after_ns = frame.stamp_ns - first_ns
            if after_ns < start_ns:
                continue
            if end_ns is not None and after_ns > end_ns:
                return
            wanted += 1
            if (wanted - 1) % self.every:
                continue
            yield replace(frame, index=taken)
            taken += 1
            if taken == self.max_frames:
                return
