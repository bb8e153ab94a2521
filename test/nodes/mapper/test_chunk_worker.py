import threading
import time
from collections.abc import Sequence

from scal3r_ros.nodes.mapper.chunk_worker import ChunkWorker
from scal3r_ros.reconstruction.protocol import Chunk


def soon() -> float:
    return time.monotonic() + 5.0


def test_chunks_are_worked_on_in_order():
    seen: list[int] = []
    worker = ChunkWorker(lambda chunk, following: seen.append(chunk.index), lambda: None, limit=1)
    worker.start()
    for index in range(5):
        worker.offer(Chunk(index, (), 0))
    assert worker.wait_until_idle(soon())
    assert worker.stop(5.0)
    assert seen == [0, 1, 2, 3, 4]


def test_worker_is_busy_while_as_many_chunks_wait_as_may():
    gate, begun = threading.Event(), threading.Event()

    def work(chunk: Chunk, following: Sequence[Chunk]) -> None:
        begun.set()
        gate.wait(5.0)

    worker = ChunkWorker(work, lambda: None, limit=1)
    worker.start()
    worker.offer(Chunk(0, (), 0))
    assert begun.wait(5.0)
    assert not worker.busy
    worker.offer(Chunk(1, (), 0))
    assert worker.busy
    assert len(worker) == 2
    assert not worker.wait_until_idle(time.monotonic() + 0.05)
    gate.set()
    assert worker.wait_until_idle(soon())
    assert worker.stop(5.0)


def test_stop_tells_when_a_chunk_does_not_end():
    gate = threading.Event()
    worker = ChunkWorker(lambda chunk, following: gate.wait(5.0), lambda: None, limit=1)  # type: ignore[arg-type, return-value]
    worker.start()
    worker.offer(Chunk(0, (), 0))
    time.sleep(0.1)
    assert not worker.stop(0.1)
    gate.set()
    assert worker.stop(5.0)


def test_what_is_due_is_looked_after_without_chunks():
    rested = threading.Event()
    worker = ChunkWorker(lambda chunk, following: None, rested.set, limit=1)
    worker.start()
    assert rested.wait(5.0)
    assert worker.stop(5.0)


def test_worker_can_be_started_again():
    seen: list[int] = []
    worker = ChunkWorker(lambda chunk, following: seen.append(chunk.index), lambda: None, limit=1)
    for index in range(2):
        worker.start()
        worker.offer(Chunk(index, (), 0))
        assert worker.wait_until_idle(soon())
        assert worker.stop(5.0)
    assert seen == [0, 1]


def test_chunks_that_wait_are_shown_to_the_one_before():
    gate, begun = threading.Event(), threading.Event()
    seen: list[tuple[int, list[int]]] = []

    def work(chunk: Chunk, following: Sequence[Chunk]) -> None:
        seen.append((chunk.index, [later.index for later in following]))
        begun.set()
        gate.wait(5.0)

    worker = ChunkWorker(work, lambda: None, limit=3)
    worker.start()
    worker.offer(Chunk(0, (), 0))
    assert begun.wait(5.0)
    for index in range(1, 4):
        worker.offer(Chunk(index, (), 0))
    assert worker.busy
    gate.set()
    assert worker.wait_until_idle(soon())
    assert worker.stop(5.0)
    assert seen == [(0, []), (1, [2, 3]), (2, [3]), (3, [])]
