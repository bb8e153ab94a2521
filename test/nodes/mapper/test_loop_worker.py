"""The loop thread works off what waits, and only that."""

from __future__ import annotations

import threading
import time

from scal3r_ros.nodes.mapper.loop_worker import LoopWorker


def soon() -> float:
    return time.monotonic() + 5.0


def test_what_waits_is_worked_off_in_a_thread_of_its_own() -> None:
    waiting, threads = [1, 2, 3], []

    def work() -> None:
        threads.append(threading.current_thread().name)
        waiting.pop()

    worker = LoopWorker(work, lambda: len(waiting))
    worker.start()
    worker.nudge()
    assert worker.wait_until_idle(soon())
    assert worker.stop(5.0)
    assert threads == ["loops"] * 3


def test_a_worker_that_does_not_end_is_reported() -> None:
    gate, begun, waiting = threading.Event(), threading.Event(), [1]

    def work() -> None:
        begun.set()
        gate.wait(5.0)
        waiting.clear()

    worker = LoopWorker(work, lambda: len(waiting))
    worker.start()
    assert begun.wait(5.0)
    assert not worker.wait_until_idle(time.monotonic() + 0.05)
    assert not worker.stop(0.05)
    gate.set()
    assert worker.stop(5.0)
    assert not waiting


def test_nothing_waits_and_nothing_is_done() -> None:
    worker = LoopWorker(lambda: None, lambda: 0)
    worker.start()
    worker.nudge()
    assert worker.wait_until_idle(soon())
    assert worker.stop(5.0)
