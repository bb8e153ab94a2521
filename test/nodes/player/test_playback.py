import threading
import time

import pytest

from scal3r_ros.nodes.player.playback import PlaybackClock

START_NS = 5_000_000_000


def test_nothing_is_due_before_the_start():
    clock = PlaybackClock(1.0, paused=False)
    assert clock.now_ns() is None
    clock.start(START_NS)
    assert clock.wait_until(START_NS)


@pytest.mark.parametrize("rate", [0.5, 4.0])
def test_recorded_time_passes_at_the_rate(rate):
    clock = PlaybackClock(rate, paused=False)
    clock.start(START_NS)
    start = time.monotonic()
    assert clock.wait_until(START_NS + 400_000_000)
    assert 0.4 / rate <= time.monotonic() - start + 0.005
    assert clock.now_ns() >= START_NS + 400_000_000


def test_time_stands_still_while_paused_and_goes_on_where_it_stood():
    clock = PlaybackClock(1.0, paused=True)
    clock.start(START_NS)
    time.sleep(0.1)
    assert clock.now_ns() == START_NS
    threading.Timer(0.1, clock.pause, [False]).start()
    assert clock.wait_until(START_NS + 1_000_000)
    clock.pause(True)
    stood = clock.now_ns()
    time.sleep(0.05)
    assert clock.now_ns() == stood


def test_stop_ends_a_wait():
    clock = PlaybackClock(1.0, paused=True)
    clock.start(START_NS)
    threading.Timer(0.05, clock.stop).start()
    assert not clock.wait_until(START_NS + 10**9)
