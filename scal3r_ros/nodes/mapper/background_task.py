"""Work of seconds on behalf of a service call, on a thread of its own: the node's executor goes on meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator

from scal3r_ros.errors import Scal3rError

NAP_S = 0.005
"""rclpy asks again and again whether a coroutine is done; so long it may sleep each time, which images can wait for."""


class BackgroundTask:
    """Runs `work`, whose result is the sentence to answer with. Awaiting gives success and that sentence."""

    def __init__(self, name: str, work: Callable[[], str]) -> None:
        self._work = work
        self._done = threading.Event()
        self._answer = (False, "")
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def wait(self, timeout_s: float) -> bool:
        """Whether it is done within `timeout_s`."""
        return self._done.wait(timeout_s)

    def __await__(self) -> Generator[None, None, tuple[bool, str]]:
        while not self._done.wait(NAP_S):
            yield
        return self._answer

    def _run(self) -> None:
        try:
            self._answer = (True, self._work())
        except Scal3rError as error:
            self._answer = (False, str(error))
        except Exception as error:  # a defect must not leave the caller without an answer
            self._answer = (False, f"by a defect: {type(error).__name__}: {error}")
        finally:
            self._done.set()
