import threading
import time

from scal3r_ros.nodes.mapper.input.frame_queue import DropOldestQueue


def test_newest_items_win_and_the_dropped_are_told():
    queue: DropOldestQueue[int] = DropOldestQueue(3)
    dropped = [queue.put(item) for item in range(5)]
    assert dropped == [0, 0, 0, 1, 1]
    assert [queue.take(0.0) for _ in range(4)] == [2, 3, 4, None]


def test_item_in_hand_keeps_the_queue_from_being_done():
    queue: DropOldestQueue[int] = DropOldestQueue(3)
    queue.put(1)
    assert queue.take(0.0) == 1
    assert not queue.wait_until_done(time.monotonic())
    queue.done()
    assert queue.wait_until_done(time.monotonic())


def test_take_wakes_for_an_item_put_by_another_thread():
    queue: DropOldestQueue[int] = DropOldestQueue(1)
    threading.Timer(0.05, queue.put, [7]).start()
    assert queue.take(5.0) == 7


def test_clear_tells_how_many_it_dropped():
    queue: DropOldestQueue[int] = DropOldestQueue(5)
    for item in range(4):
        queue.put(item)
    assert queue.clear() == 4
    assert len(queue) == 0
