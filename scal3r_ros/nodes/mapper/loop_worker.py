"""The thread that looks for places seen before, behind everything else that the node has to do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

REST_S = 1.0
"""How often it looks whether something waits if nobody nudges it, in seconds."""


class LoopWorker:
    """Calls `work` as long as `waiting` is not zero, in a thread of its own. `work` may not raise.

    The thread has the priority of the others: one of low priority would be put off while it holds the interpreter's
    lock, and on a machine that is full the camera would wait for that.
    """

    def __init__(self, work: Callable[[], None], waiting: Callable[[], int]) -> None:
        self._work = work
        self._waiting = waiting
        self._working = self._stopping = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Starts the thread."""
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="loops", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float) -> bool:
        """Ends the thread after the submap at hand; False where it still works on it."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(timeout_s)
            return not self._thread.is_alive()
        return True

    def nudge(self) -> None:
        """Something waits now."""
        with self._changed:
            self._changed.notify_all()

    def wait_until_idle(self, deadline_s: float) -> bool:
        """Whether nothing waited or was worked on before `deadline_s` on the monotonic clock."""
        with self._changed:
            left = max(0.0, deadline_s - time.monotonic())
            return self._changed.wait_for(lambda: not self._working and not self._waiting(), left)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopping or self._waiting() > 0, REST_S)
                if self._stopping:
                    return
                self._working = self._waiting() > 0
            if self._working:
                self._work()
                with self._changed:
                    self._working = False
                    self._changed.notify_all()
