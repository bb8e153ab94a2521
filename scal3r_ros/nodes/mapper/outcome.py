"""Awaits in a service callback what another thread does, while the node's executor goes on."""

from __future__ import annotations

from collections.abc import Generator
from concurrent.futures import Future, wait

from scal3r_ros.nodes.mapper.statistics import describe

NAP_S = 0.005
"""rclpy asks again and again whether a coroutine is done; so long it may sleep each time, which images can wait for."""


class Outcome:
    """Awaiting it gives success and a sentence: the result of `work`, or why it failed."""

    def __init__(self, work: Future[str]) -> None:
        self._work = work

    def __await__(self) -> Generator[None, None, tuple[bool, str]]:
        while not wait([self._work], NAP_S).done:
            yield
        error = self._work.exception()
        return (True, self._work.result()) if error is None else (False, describe(error))
