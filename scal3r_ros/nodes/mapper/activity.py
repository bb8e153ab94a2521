"""What the node did since it started and since it was last asked, for its diagnostics."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass

from scal3r_ros.mapping.values import MapUpdate, SubmapSummary

REMEMBERED_SUBMAPS = 3


@dataclass(frozen=True)
class ActivityReport:
    """Activity of one period.

    Rates in Hz; `lag_s` the longest time from an image's arrival to its pose, None without one; `chunk_s` seconds of
    the newest chunk, None before it, and `note` why it gave no submap, if so; `loop_s` seconds that the newest loop
    took, and `loop_ago_s` since then, None before it; `submaps` the newest few; counts are since the start,
    of `samples` by topic.
    """

    rate_in_hz: float
    rate_out_hz: float
    lag_s: float | None
    chunk_s: float | None
    loop_s: float | None
    loop_ago_s: float | None
    note: str
    submaps: tuple[SubmapSummary, ...]
    images: int
    images_paused: int
    poses: int
    samples: Mapping[str, int]


class Activity:
    """Gathers from every thread; `report` closes a period."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._images = self._paused = self._poses = self._images_before_reset = 0
        self._samples: Counter[str] = Counter()
        self._lag_s: float | None = None
        self._chunk_s: float | None = None
        self._loop_s: float | None = None
        self._loop_at_s = 0.0
        self._note = ""
        self._submaps: deque[SubmapSummary] = deque(maxlen=REMEMBERED_SUBMAPS)
        self._begin_period(time.monotonic())

    @property
    def images(self) -> int:
        """Images received since the start."""
        with self._lock:
            return self._images

    @property
    def images_since_reset(self) -> int:
        """Images received since the map was last replaced."""
        with self._lock:
            return self._images - self._images_before_reset

    def map_replaced(self, waiting: int) -> None:
        """The map begins anew with the `waiting` images that were received and are not tracked yet."""
        with self._lock:
            self._images_before_reset = self._images - waiting

    def image_received(self) -> None:
        """An image came and was queued."""
        with self._lock:
            self._images += 1

    def image_while_paused(self) -> None:
        """An image came while the node was paused."""
        with self._lock:
            self._paused += 1

    def sample_received(self, topic: str) -> None:
        """A sample of another sensor came and was used."""
        with self._lock:
            self._samples[topic] += 1

    def image_done(self, lag_s: float) -> None:
        """An image was dealt with, `lag_s` seconds after it came."""
        with self._lock:
            self._lag_s = max(lag_s, self._lag_s or 0.0)

    def poses_given(self, number: int) -> None:
        """Poses were published."""
        with self._lock:
            self._poses += number

    def chunk_mapped(self, update: MapUpdate, seconds: float) -> None:
        """A chunk was mapped in `seconds`."""
        with self._lock:
            self._chunk_s = seconds
            self._note = update.note
            if update.submap is not None:
                self._submaps.append(update.submap)

    def loop_closed(self, seconds: float) -> None:
        """The map was corrected by a place seen again, which took `seconds`."""
        with self._lock:
            self._loop_s, self._loop_at_s = seconds, time.monotonic()

    def report(self) -> ActivityReport:
        """The period since the last report, which ends now."""
        now = time.monotonic()
        with self._lock:
            seconds = max(now - self._period_start, 1e-9)
            result = ActivityReport(
                rate_in_hz=(self._images + self._paused - self._period_images) / seconds,
                rate_out_hz=(self._poses - self._period_poses) / seconds,
                lag_s=self._lag_s,
                chunk_s=self._chunk_s,
                loop_s=self._loop_s,
                loop_ago_s=None if self._loop_s is None else now - self._loop_at_s,
                note=self._note,
                submaps=tuple(self._submaps),
                images=self._images,
                images_paused=self._paused,
                poses=self._poses,
                samples=dict(self._samples),
            )
            self._begin_period(now)
            return result

    def _begin_period(self, now: float) -> None:
        self._period_start = now
        self._period_images = self._images + self._paused
        self._period_poses = self._poses
        self._lag_s = None
