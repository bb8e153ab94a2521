"""The process of a `SeparateReconstructor`: it makes the reconstructor, and carries out one message after another."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import shutil
import threading
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import psutil

from scal3r_ros.errors import ReconstructionError, Scal3rError
from scal3r_ros.reconstruction.process.arrays import ArrayFile
from scal3r_ros.reconstruction.process.messages import (
    Answer,
    Failed,
    Logged,
    Measured,
    Message,
    Ready,
    Recall,
    Reconstruct,
    Reply,
    Reset,
    Restore,
    Snapshot,
    Start,
    Stop,
)
from scal3r_ros.reconstruction.protocol import Previous, Reconstructor

NICE = 5
"""Added to the niceness: against it, a tracker that wakes up has three times the weight."""
MEMORY_SHARE = 0.02
"""Of the time, at most, goes into writing what was learned."""

MEASURED_EVERY_S = 1.0

_log = logging.getLogger(__name__)


class Worker:
    """A reconstructor, its last chunk, and the file to which its memory is written now and then."""

    def __init__(self, reconstructor: Reconstructor, memory: Path) -> None:
        self._reconstructor = reconstructor
        self._memory = memory
        self._last: Previous | None = None
        self._next_write_s = -float("inf")
        self.restored = self._restore()

    def ready(self) -> Ready:
        """What the other side has to know of the reconstructor."""
        made = self._reconstructor
        return Ready(
            made.name, made.memory is not None, made.recall is not None, made.max_parallel_chunks, self.restored
        )

    def handle(self, message: Message) -> Reply:
        """Carries out a message."""
        try:
            return self._answer(message)
        except Scal3rError as error:
            return Failed(error)
        except Exception as error:  # a defect must cost a chunk, not the process and what it has learned
            _log.exception("the reconstructor failed by a defect")
            return Failed(ReconstructionError(f"the reconstructor failed: {type(error).__name__}: {error}"))

    def write_memory(self) -> None:
        """Writes what was learned, where the last time is long enough ago: a new process goes on with that."""
        memory, started = self._reconstructor.memory, time.monotonic()
        if memory is None or started < self._next_write_s:
            return
        try:
            memory.snapshot(self._memory)
        except Scal3rError as error:
            _log.warning("what is learned would be lost with this process: %s", error)
        ended = time.monotonic()
        self._next_write_s = ended + (ended - started) / MEMORY_SHARE

    def close(self) -> None:
        """Closes the reconstructor."""
        self._reconstructor.close()

    def _answer(self, message: Message) -> Reply:
        geometry, made = None, self._reconstructor
        match message:
            case Reconstruct(chunk, previous, after_last, following):
                previous = self._last if after_last else previous
                geometry = made.reconstruct(chunk, previous, following)
                self._last = Previous(chunk, geometry)
            case Recall(chunk) if made.recall is not None:
                geometry = made.recall(chunk)
            case Snapshot(path) if made.memory is not None:
                made.memory.snapshot(path)
            case Restore(path) if made.memory is not None:
                made.memory.restore(path)
                self._next_write_s = -float("inf")
            case Reset():
                made.reset()
                self._memory.unlink(missing_ok=True)
                self._next_write_s = -float("inf")
        return Answer(geometry, self.measured(), made.max_parallel_chunks)

    def measured(self) -> Measured:
        """The reconstructor's metrics now; never waits."""
        return Measured(dict(self._reconstructor.metrics()), round(psutil.Process().memory_info().rss / 1e6, 1))

    def _restore(self) -> bool:
        if self._reconstructor.memory is None or not self._memory.exists():
            return False
        try:
            self._reconstructor.memory.restore(self._memory)
        except Scal3rError as error:
            _log.warning("what was learned is lost: %s", error)
            return False
        return True


class Pipe:
    """The worker's end of the way to the other process; a worker whose other process is gone ends at once."""

    def __init__(self, connection: Connection, requests: ArrayFile, replies: ArrayFile) -> None:
        self._connection = connection
        self._requests, self._replies = requests, replies
        self._sending = threading.Lock()
        self._messages: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self.folder: Path | None = None
        """To be removed where the other process ends without doing so."""
        threading.Thread(target=self._listen, name="messages", daemon=True).start()

    def next_message(self) -> Message:
        """Waits for a message."""
        return self._messages.get()

    def send(self, reply: Reply | Logged) -> None:
        """Sends a reply, one at a time, or a line of the log from any thread."""
        with self._sending:
            self._send(reply)

    def send_changed(self, measure: Callable[[], Measured], before: Measured) -> Measured:
        """Sends what `measure` gives, where its metrics are others than `before`; never older ones after newer."""
        with self._sending:
            measured = measure()
            if measured.metrics != before.metrics:
                self._send(measured)
            return measured

    def _send(self, reply: Reply | Logged | Measured) -> None:
        try:
            self._connection.send_bytes(self._replies.pack(reply))
        except OSError:
            os._exit(0)

    def _listen(self) -> None:
        try:
            while True:
                message = self._requests.unpack(self._connection.recv_bytes())
                self._messages.put(message)  # type: ignore[arg-type]
        except (EOFError, OSError):
            if self.folder is not None:
                shutil.rmtree(self.folder, ignore_errors=True)
            os._exit(0)
        except Exception:
            traceback.print_exc()
            os._exit(1)  # nobody would ever answer


class _ToPipe(logging.Handler):
    """Has the other process log what this one has to say."""

    def __init__(self, pipe: Pipe) -> None:
        super().__init__(logging.INFO)
        self._pipe = pipe

    def emit(self, record: logging.LogRecord) -> None:
        self._pipe.send(Logged(record.name, record.levelno, self.format(record)))


def main(connection: int, requests: int, replies: int) -> None:
    """Runs a worker that talks through the open socket and files given, until the message `Stop`."""
    for handle in (connection, requests, replies):
        os.set_inheritable(handle, False)
    pipe = Pipe(Connection(connection), ArrayFile(requests), ArrayFile(replies))
    core = logging.getLogger("scal3r_ros")
    core.setLevel(logging.INFO)
    core.addHandler(_ToPipe(pipe))
    start = pipe.next_message()
    assert isinstance(start, Start), "the first message says what to build"
    pipe.folder = start.memory.parent
    try:
        worker = Worker(start.build(), start.memory)
    except Scal3rError as error:
        pipe.send(Failed(error))
        os._exit(0)
    lower_priority()  # not before: the camera waits for the reconstructor to be made
    pipe.send(worker.ready())
    threading.Thread(target=_measure, args=(worker, pipe), name="metrics", daemon=True).start()
    while not isinstance(message := pipe.next_message(), Stop):
        pipe.send(worker.handle(message))
        if isinstance(message, Reconstruct | Restore):
            worker.write_memory()
    worker.close()
    os._exit(0)  # the interpreter would take its time, and the listening thread never ends by itself


def _measure(worker: Worker, pipe: Pipe) -> None:
    """Sends the metrics, where they have changed, as long as the process lives."""
    before = Measured()
    while True:
        before = pipe.send_changed(worker.measured, before)
        time.sleep(MEASURED_EVERY_S)


def lower_priority() -> None:
    """All threads of this process, and those that they start, come after whoever waits for a camera."""
    tasks = Path("/proc/self/task")
    for thread in [int(task.name) for task in tasks.iterdir()] if tasks.exists() else [0]:
        with contextlib.suppress(ProcessLookupError):  # it has ended
            os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + NICE)
            if hasattr(os, "SCHED_BATCH"):
                os.sched_setscheduler(thread, os.SCHED_BATCH, os.sched_param(0))
