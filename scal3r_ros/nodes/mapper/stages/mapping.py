"""The stage that reconstructs chunks, so that the camera never waits for it."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from scal3r_ros.mapping import OnlineMapper
from scal3r_ros.nodes.mapper.output.update_sink import UpdateSink
from scal3r_ros.nodes.mapper.stages.loops import LoopStage
from scal3r_ros.nodes.mapper.stages.serial_executor import SerialExecutor
from scal3r_ros.nodes.mapper.statistics import Statistics, describe
from scal3r_ros.reconstruction.protocol import Chunk


class MappingStage:
    """Maps the chunks offered on one thread, in order. It is `busy` where as many as `limit` wait."""

    def __init__(
        self, mapper: OnlineMapper, loops: LoopStage, sink: UpdateSink, statistics: Statistics, limit: int
    ) -> None:
        self._mapper = mapper
        self._loops = loops
        self._sink = sink
        self._statistics = statistics
        self._limit = max(limit, mapper.max_parallel_chunks)
        self._executor = SerialExecutor("mapping")
        self._lock = threading.Lock()
        self._waiting: deque[Chunk] = deque()
        self._working = False
        self._ending = False

    def __len__(self) -> int:
        """Chunks that wait or are in work."""
        with self._lock:
            return len(self._waiting) + self._working

    @property
    def busy(self) -> bool:
        """Whether a further chunk would wait behind `limit` others: the window then keeps its keyframes."""
        with self._lock:
            return len(self._waiting) >= self._limit

    def offer(self, chunk: Chunk) -> None:
        """Queues a chunk."""
        with self._lock:
            self._waiting.append(chunk)
        self._executor.submit(self._map_next)

    def discard(self) -> None:
        """Drops the chunks that wait."""
        with self._lock:
            self._waiting.clear()

    def publish_due(self) -> None:
        """Publishes the global cloud, if it is due, unless a chunk is in work: it follows that."""
        if not len(self):
            self._executor.submit(self._sink.publish_due)

    def wait_until_idle(self, deadline_s: float, give_up: Callable[[], bool] = lambda: False) -> bool:
        """Whether no chunk waited or was in work before `deadline_s` and before `give_up`."""
        return self._executor.wait_until_idle(deadline_s, give_up)

    def shutdown(self, deadline_s: float, give_up: Callable[[], bool]) -> bool:
        """Ends the thread after the chunk at hand, dropping those that wait; False where that goes on too long."""
        self._ending = True
        self.discard()
        return self._executor.shutdown(deadline_s, give_up)

    def _map_next(self) -> None:
        with self._lock:
            if not self._waiting:
                return  # discarded
            chunk = self._waiting.popleft()
            following = tuple(self._waiting)
            self._working = True
        generation, start = self._sink.generation, time.monotonic()
        try:
            update = self._mapper.map_chunk(chunk, following)
            if self._sink.take(update, generation):
                self._statistics.activity.chunk_mapped(update, time.monotonic() - start)
                self._loops.submap_added()
        except Exception as error:  # a defect must cost a chunk, not the node
            if not self._ending:  # the chunk at hand may be taken away from a node that ends
                self._statistics.faults.report(
                    "mapping failed", f"chunk {chunk.index} could not be mapped: {describe(error)}"
                )
        finally:
            with self._lock:
                self._working = False
        self._sink.publish_due()
