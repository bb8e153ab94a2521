"""The thread that reconstructs chunks, so that the camera never waits for it."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from scal3r_ros.reconstruction.protocol import Chunk

REST_S = 0.2
"""How often the worker looks after what is due while it has no chunk, in seconds."""


class ChunkWorker:
    """Calls `work` for every chunk offered, in order, with those that wait behind it; `rest` between chunks.

    Neither may raise.

    It is `busy` where `limit` chunks wait already: the window then has to keep its keyframes.
    """

    def __init__(self, work: Callable[[Chunk, Sequence[Chunk]], None], rest: Callable[[], None], limit: int) -> None:
        self._work = work
        self._rest = rest
        self._limit = limit
        self._waiting: deque[Chunk] = deque()
        self._working = False
        self._stopping = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def __len__(self) -> int:
        with self._changed:
            return len(self._waiting) + self._working

    @property
    def busy(self) -> bool:
        """Whether a further chunk would have to wait for more than `limit` others."""
        with self._changed:
            return len(self._waiting) >= self._limit

    def start(self) -> None:
        """Starts the thread."""
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="mapping", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float) -> bool:
        """Ends the thread after the chunk at hand, dropping those that wait; False where it still works on it."""
        with self._changed:
            self._stopping = True
            self._waiting.clear()
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(timeout_s)
            return not self._thread.is_alive()
        return True

    def offer(self, chunk: Chunk) -> None:
        """Queues a chunk."""
        with self._changed:
            self._waiting.append(chunk)
            self._changed.notify_all()

    def discard(self) -> None:
        """Drops the chunks that wait."""
        with self._changed:
            self._waiting.clear()
            self._changed.notify_all()

    def wait_until_idle(self, deadline_s: float) -> bool:
        """Whether no chunk waited or was worked on before `deadline_s` on the monotonic clock."""
        with self._changed:
            left = max(0.0, deadline_s - time.monotonic())
            return self._changed.wait_for(lambda: not self._waiting and not self._working, left)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopping or bool(self._waiting), REST_S)
                if self._stopping:
                    return
                chunk = self._waiting.popleft() if self._waiting else None
                self._working = chunk is not None
                following = tuple(self._waiting)
            if chunk is not None:
                self._work(chunk, following)
                with self._changed:
                    self._working = False
                    self._changed.notify_all()
            self._rest()
