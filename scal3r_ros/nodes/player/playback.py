"""The clock of a replay: when each recorded moment is due, with a rate and pauses."""

from __future__ import annotations

import threading
import time


class PlaybackClock:
    """Maps the time of recording to the monotonic clock. Safe to use from any thread.

    Nothing is due before `start`; while paused the recorded time stands still.
    """

    def __init__(self, rate: float, paused: bool) -> None:
        self._rate = rate
        self._changed = threading.Condition()
        self._paused = paused
        self._stopped = False
        self._anchor_ns: int | None = None
        self._anchor_s = 0.0

    @property
    def paused(self) -> bool:
        """Whether the recorded time stands still."""
        with self._changed:
            return self._paused

    def start(self, recorded_ns: int) -> None:
        """The recorded time is `recorded_ns` now."""
        with self._changed:
            self._anchor_ns, self._anchor_s = recorded_ns, time.monotonic()
            self._changed.notify_all()

    def now_ns(self) -> int | None:
        """The recorded time now; None before `start`."""
        with self._changed:
            return self._now_ns()

    def pause(self, paused: bool) -> None:
        """Stops or continues the recorded time."""
        with self._changed:
            now_ns = self._now_ns()
            if now_ns is not None:
                self._anchor_ns, self._anchor_s = now_ns, time.monotonic()
            self._paused = paused
            self._changed.notify_all()

    def stop(self) -> None:
        """Ends every wait."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def wait_until(self, recorded_ns: int) -> bool:
        """Waits until `recorded_ns` is due and time is not paused; False where the clock was stopped instead."""
        with self._changed:
            while not self._stopped:
                now_ns = self._now_ns()
                if now_ns is None or self._paused:
                    self._changed.wait()
                elif now_ns < recorded_ns:
                    self._changed.wait((recorded_ns - now_ns) * 1e-9 / self._rate)
                else:
                    return True
            return False

    def _now_ns(self) -> int | None:
        if self._anchor_ns is None or self._paused:
            return self._anchor_ns
        return self._anchor_ns + round((time.monotonic() - self._anchor_s) * 1e9 * self._rate)
