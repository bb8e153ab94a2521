"""The stage that closes loops, behind everything else that the node has to do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from scal3r_ros.mapping import OnlineMapper
from scal3r_ros.nodes.mapper.output.update_sink import UpdateSink
from scal3r_ros.nodes.mapper.stages.serial_executor import SerialExecutor
from scal3r_ros.nodes.mapper.statistics import Statistics, describe


class LoopStage:
    """Looks for loops on a thread as long as submaps wait for it.

    The thread has the priority of the others: one of low priority would be put off while it holds the interpreter's
    lock, and on a machine that is full the camera would wait for that.
    """

    def __init__(self, mapper: OnlineMapper, sink: UpdateSink, statistics: Statistics) -> None:
        self._mapper = mapper
        self._sink = sink
        self._statistics = statistics
        self._executor = SerialExecutor("loops")
        self._paused = threading.Event()

    def resume(self) -> None:
        """Works off what waits, from now on."""
        self._paused.clear()
        self.submap_added()

    def pause(self) -> None:
        """Leaves what waits, after the submap at hand."""
        self._paused.set()

    def submap_added(self) -> None:
        """A submap may wait now."""
        self._executor.submit(self._close_waiting)

    def wait_until_idle(self, deadline_s: float, give_up: Callable[[], bool]) -> bool:
        """Whether no submap waited or was looked at before `deadline_s` and before `give_up`."""
        return self._executor.wait_until_idle(deadline_s, give_up)

    def shutdown(self, deadline_s: float, give_up: Callable[[], bool]) -> bool:
        """Ends the thread after the submap at hand; False where that goes on too long."""
        self.pause()
        return self._executor.shutdown(deadline_s, give_up)

    def _close_waiting(self) -> None:
        while self._mapper.loops_waiting and not self._paused.is_set():
            generation, start = self._sink.generation, time.monotonic()
            try:
                update = self._mapper.close_loops()
                taken = update is not None and self._sink.take(update, generation)
                if taken and update is not None and update.loops:
                    self._statistics.activity.loop_closed(time.monotonic() - start)
            except Exception as error:  # a defect must cost a loop, not the node
                self._statistics.faults.report("loop failed", f"a loop could not be closed: {describe(error)}")
