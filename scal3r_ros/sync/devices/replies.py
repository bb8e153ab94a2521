"""Waiting for the replies of several workers, with a deadline for the one that keeps the others waiting."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Sequence

from scal3r_ros.errors import ReconstructionError
from scal3r_ros.sync.devices.messages import Failed, Gone, OutOfMemory, Passed, Reply
from scal3r_ros.sync.devices.worker_process import Inbox, WorkerHandle

_POLL_S = 0.2


class Replies:
    """The replies that come into one inbox.

    Args:
        inbox: where they come in.
        timeout_s: how long workers may give no sign of life before those that the others wait for are ended.
        closing: whether nobody is waiting any more.
        on_gone: hears of a worker that is gone.
        on_other: gets the replies of workers that were asked nothing.
    """

    def __init__(
        self,
        inbox: Inbox,
        timeout_s: Callable[[], float],
        closing: Callable[[], bool],
        on_gone: Callable[[WorkerHandle], None],
        on_other: Callable[[WorkerHandle, Reply], None],
    ) -> None:
        self._inbox = inbox
        self._timeout_s = timeout_s
        self._closing = closing
        self._on_gone = on_gone
        self._on_other = on_other

    def look(self) -> None:
        """Takes what came in between messages."""
        while not self._inbox.empty():
            self._unasked(*self._inbox.get())

    def gather(self, asked: Sequence[WorkerHandle], together: bool = False) -> dict[WorkerHandle, Reply]:
        """A reply of each, `Gone` for those that die or had to be ended; `ReconstructionError` when closing.

        `together`: none can go on without the others, so that a failure of one counts as its loss.
        """
        replies: dict[WorkerHandle, Reply] = {}
        waiting = set(asked)
        silent_s = 0.0
        for worker in waiting:
            worker.sums = 0
        while waiting:
            if self._closing():
                raise ReconstructionError("the network was closed during a chunk")
            since = time.monotonic()
            try:
                worker, reply = self._inbox.get(timeout=min(_POLL_S, self._timeout_s()))
            except queue.Empty:
                # Time in which this process itself is stopped does not count.
                silent_s += min(time.monotonic() - since, 2 * _POLL_S)
                if silent_s >= self._timeout_s():
                    _end_the_slowest(waiting)
                    silent_s = 0.0
                continue
            if worker not in waiting:
                self._unasked(worker, reply)
                if isinstance(reply, Gone):
                    _report_loss(waiting)
                continue
            silent_s = 0.0
            if isinstance(reply, Passed):
                worker.sums += 1
                continue
            waiting.remove(worker)
            replies[worker] = reply
            if isinstance(reply, Gone):
                self._on_gone(worker)
            if isinstance(reply, Gone) or (together and isinstance(reply, Failed | OutOfMemory)):
                _report_loss(waiting)
        return replies

    def _unasked(self, worker: WorkerHandle, reply: Reply) -> None:
        if isinstance(reply, Gone):
            self._on_gone(worker)
        self._on_other(worker, reply)


def _report_loss(waiting: set[WorkerHandle]) -> None:
    for worker in waiting:
        worker.report_loss()


def _end_the_slowest(waiting: set[WorkerHandle]) -> None:
    """Ends those that the others wait for: stopped ones, else those that have reached the fewest sums."""
    stopped = [worker for worker in waiting if worker.stopped]
    fewest = min(worker.sums for worker in waiting)
    for worker in stopped or [worker for worker in waiting if worker.sums == fewest]:
        worker.timed_out = True
        worker.kill()
