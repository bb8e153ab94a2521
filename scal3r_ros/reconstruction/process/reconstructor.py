"""Any reconstructor, in a process of its own: whoever follows a camera here never waits for what it computes."""

from __future__ import annotations

import contextlib
import logging
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from scal3r_ros.errors import ReconstructionError
from scal3r_ros.reconstruction.process.handle import ReconstructorProcess
from scal3r_ros.reconstruction.process.lost import lost_chunk
from scal3r_ros.reconstruction.process.messages import (
    Answer,
    Failed,
    Measured,
    Message,
    Ready,
    Recall,
    Reconstruct,
    Reset,
    Restore,
    Snapshot,
    Start,
    Stop,
)
from scal3r_ros.reconstruction.protocol import Chunk, ChunkGeometry, LearnedMemory, Previous, Reconstructor
from scal3r_ros.reconstruction.protocol import Recall as RecallOfChunk

STOP_S = 5.0
"""How long a process that has nothing to do may take to end: it may have to take leave of memory peers."""

_log = logging.getLogger(__name__)


class ProcessLostError(ReconstructionError):
    """The process ended while it was at work; a new one was started."""


class SeparateReconstructor:
    """A reconstructor in a new process of lower priority, which ends with this one, however that ends.

    What it answers is what it would answer here. A process that ends by itself or is killed costs the chunk in work:
    its motion is predicted, its health is LOST, and its note says so. A new process begins with the memory that was
    written last, shortly before.

    All public methods may be called from any thread; they wait for the chunk in work, except `metrics` and `close`.

    Args:
        build: makes the reconstructor, there; it is pickled.

    Raises:
        Scal3rError: as `build`.
    """

    def __init__(self, build: Callable[[], Reconstructor]) -> None:
        self._build = build
        self._lock = threading.Lock()  # one message at a time
        self._closing = False
        self._folder = tempfile.TemporaryDirectory(prefix="scal3r_")
        self._restarts = 0
        self._measured = Measured()
        self._last: Previous | None = None
        self._process = self._start()
        self._ready = False
        try:
            made = self._made()
        except BaseException:
            self.close()
            raise
        self._name, self._has_memory, self._can_recall = made.name, made.has_memory, made.can_recall

    @property
    def name(self) -> str:
        """Name as in the parameter `reconstructor`."""
        return self._name

    @property
    def max_parallel_chunks(self) -> int:
        """As many as the reconstructor has last said."""
        return self._max_parallel_chunks

    @property
    def memory(self) -> LearnedMemory | None:
        """None for a reconstructor that learns nothing to keep."""
        return self if self._has_memory else None

    @property
    def recall(self) -> RecallOfChunk | None:
        """None for a reconstructor that cannot; it gives None as well where the process ends meanwhile."""
        return self._recall if self._can_recall else None

    @property
    def pid(self) -> int:
        """Id of the process at work."""
        return self._process.pid

    def reconstruct(self, chunk: Chunk, previous: Previous | None, following: Sequence[Chunk] = ()) -> ChunkGeometry:
        """See `Reconstructor`; `ReconstructionError` also where a camera without calibration loses its first chunk."""
        others = tuple(following[: self._max_parallel_chunks - 1])
        try:
            with self._lock:
                after_last = self._is_last(previous)
                answer = self._ask(Reconstruct(chunk, None if after_last else previous, after_last, others))
                assert answer.geometry is not None, "a reconstructor gives a geometry or an error"
                self._last = Previous(chunk, answer.geometry)
        except ProcessLostError as error:
            return lost_chunk(chunk, previous, str(error))
        return answer.geometry

    def snapshot(self, path: Path) -> None:
        """See `LearnedMemory`; `ProcessLostError` where the process ends meanwhile."""
        with self._lock:
            self._ask(Snapshot(path))

    def restore(self, path: Path) -> None:
        """See `LearnedMemory`; `ProcessLostError` where the process ends meanwhile."""
        with self._lock:
            self._ask(Restore(path))

    def reset(self) -> None:
        """Forgets everything learned from earlier chunks."""
        with self._lock, contextlib.suppress(ProcessLostError):  # a new process has nothing to forget
            self._kept.unlink(missing_ok=True)
            self._measured = Measured()
            self._ask(Reset())

    def metrics(self) -> Mapping[str, int | float]:
        """Those of the reconstructor, at most about a second old; its process's RAM, and how often it was started anew.

        While a new process has measured nothing, those of the one before.
        """
        self._measured = measured = self._process.measured or self._measured
        return {
            **measured.metrics,
            "reconstructor_restarts": self._restarts,
            "reconstructor_resident_mb": measured.resident_mb,
        }

    def close(self) -> None:
        """Ends the process: in its own time where it has nothing to do, else at once."""
        self._closing = True
        idle = self._lock.acquire(blocking=False)
        if not idle:
            self._process.end(None, 0.0)
            self._lock.acquire()
        try:
            self._process.end(Stop() if self._ready else None, STOP_S if self._ready else 0.0)
        finally:
            self._lock.release()
        self._folder.cleanup()

    @property
    def _kept(self) -> Path:
        return Path(self._folder.name) / "memory.safetensors"

    def _is_last(self, previous: Previous | None) -> bool:
        """Whether the process has `previous` already."""
        last = self._last
        if last is None or previous is None:
            return False
        return last.chunk is previous.chunk and last.geometry is previous.geometry

    def _recall(self, chunk: Chunk) -> ChunkGeometry | None:
        with self._lock, contextlib.suppress(ProcessLostError):
            return self._ask(Recall(chunk)).geometry
        return None

    def _ask(self, message: Message) -> Answer:
        """The answer to a message; `ProcessLostError` where the process has ended: then a new one is started."""
        if not self._ready:
            try:
                self._made()
            except ReconstructionError as error:
                raise self._lost(str(error)) from error
        self._process.send(message)
        reply = self._process.receive()
        if isinstance(reply, Failed):
            raise reply.error
        if not isinstance(reply, Answer):
            raise self._lost(f"the process of the reconstructor {self._process.fate}")
        self._max_parallel_chunks = reply.max_parallel_chunks
        return reply

    def _lost(self, reason: str) -> ReconstructionError:
        if self._closing:
            return ReconstructionError("the reconstructor was closed")
        note = f"{reason}, and a new one was started"
        _log.warning("%s", note)
        self._restarts += 1
        self._last, self._ready = None, False
        self._process = self._start()
        return ProcessLostError(note)

    def _start(self) -> ReconstructorProcess:
        process = ReconstructorProcess()
        process.send(Start(self._build, self._kept))
        return process

    def _made(self) -> Ready:
        """Waits for the reconstructor to be made."""
        reply = self._process.receive()
        if isinstance(reply, Failed):
            raise reply.error
        if not isinstance(reply, Ready):
            raise ReconstructionError(
                f"the process of the reconstructor {self._process.fate} before it had made the reconstructor"
            )
        self._max_parallel_chunks, self._ready = reply.max_parallel_chunks, True
        return reply
