"""One thread, in order, and no surprise at its end."""

import threading
import time

from scal3r_ros.nodes.mapper.stages.serial_executor import SerialExecutor


def soon() -> float:
    return time.monotonic() + 5.0


def never() -> bool:
    return False


def test_work_is_done_in_order_on_one_thread_of_its_name():
    executor, seen = SerialExecutor("stage"), []
    for number in range(5):
        executor.submit(lambda number=number: seen.append((number, threading.current_thread().name)))
    assert executor.wait_until_idle(soon(), never)
    assert seen == [(number, "stage_0") for number in range(5)]
    assert executor.shutdown(soon(), never)


def test_waiting_ends_at_the_deadline_or_when_given_up():
    executor, gate = SerialExecutor("stage"), threading.Event()
    executor.submit(lambda: gate.wait(10.0))
    assert not executor.wait_until_idle(time.monotonic() + 0.05, never)
    started = time.monotonic()
    assert not executor.wait_until_idle(started + 30.0, lambda: True)
    assert time.monotonic() - started < 10.0
    assert not executor.shutdown(time.monotonic() + 0.05, never)
    gate.set()


def test_work_that_comes_after_the_end_is_cancelled():
    executor = SerialExecutor("stage")
    assert executor.shutdown(soon(), never)
    assert executor.submit(lambda: 1).cancelled()
    assert executor.shutdown(soon(), never)
