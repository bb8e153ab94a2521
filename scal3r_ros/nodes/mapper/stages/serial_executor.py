"""One thread that does what it is given, in order: each stage of the node has one."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

ResultT = TypeVar("ResultT")

POLL_S = 0.1
"""How often a wait asks whether it should end early, in seconds."""


class SerialExecutor:
    """A `ThreadPoolExecutor` of one thread named `name`. Unlike there, work given after `shutdown` is cancelled."""

    def __init__(self, name: str) -> None:
        self._pool = ThreadPoolExecutor(1, name)

    def submit(self, work: Callable[[], ResultT]) -> Future[ResultT]:
        """Queues `work`, whose exceptions go to whoever asks for the result."""
        try:
            return self._pool.submit(work)
        except RuntimeError:  # shut down
            cancelled: Future[ResultT] = Future()
            cancelled.cancel()
            return cancelled

    def wait_until_idle(self, deadline_s: float, give_up: Callable[[], bool] = lambda: False) -> bool:
        """Whether all work given so far was done before `deadline_s` on the monotonic clock and before `give_up`."""
        return wait_for(self.submit(lambda: None), deadline_s, give_up)

    def shutdown(self, deadline_s: float, give_up: Callable[[], bool]) -> bool:
        """Ends the thread after the work given so far; False where that goes on at `deadline_s` or `give_up`."""
        last = self.submit(lambda: None)
        self._pool.shutdown(wait=False)
        return last.cancelled() or wait_for(last, deadline_s, give_up)


def wait_for(future: Future[ResultT], deadline_s: float, give_up: Callable[[], bool] = lambda: False) -> bool:
    """Whether `future` was done before `deadline_s` on the monotonic clock and before `give_up` came true."""
    while not future.done():
        left = deadline_s - time.monotonic()
        if left <= 0 or give_up():
            return False
        wait([future], min(left, POLL_S))
    return True
