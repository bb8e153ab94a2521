"""The reconstructor as threads share it: one chunk at a time, and a reset never in the middle of one."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from scal3r_ros.mapping.submaps.submap import PlacedSubmap
from scal3r_ros.reconstruction.protocol import Chunk, ChunkGeometry, Previous, Recall, Reconstructor


class ChunkStage:
    """Gives a reconstructor its chunks in turn. Any thread may call any method.

    `reconstruct`, `snapshot` and `restore` need `turn`, which one thread holds at a time.
    """

    def __init__(self, reconstructor: Reconstructor) -> None:
        self._reconstructor = reconstructor
        self._turn = threading.Lock()
        self._reset_due = threading.Event()

    @property
    def name(self) -> str:
        """Name of the reconstructor."""
        return self._reconstructor.name

    @property
    def max_parallel_chunks(self) -> int:
        """How many consecutive chunks the reconstructor works on at the same time."""
        return self._reconstructor.max_parallel_chunks

    @property
    def recall(self) -> Recall | None:
        """Answers a chunk without learning from it; None where the reconstructor cannot."""
        return self._reconstructor.recall

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Waits until no other thread has the reconstructor."""
        with self._turn:
            self._reset_if_due()
            try:
                yield
            finally:
                self._reset_if_due()

    def reset(self) -> None:
        """Has the reconstructor forget everything: now, or as soon as the chunk in work is done."""
        self._reset_due.set()
        if self._turn.acquire(blocking=False):
            try:
                self._reset_if_due()
            finally:
                self._turn.release()

    def reconstruct(self, chunk: Chunk, before: PlacedSubmap | None, following: Sequence[Chunk]) -> ChunkGeometry:
        """Geometry of a chunk; raises `ReconstructionError` for one that the reconstructor cannot handle."""
        previous = None if before is None or not chunk.shared else Previous(before.chunk, before.geometry)
        return self._reconstructor.reconstruct(chunk, previous, following)

    def snapshot(self, path: Path) -> Path | None:
        """Writes what was learned to `path`, and gives that; None where nothing is learned.

        Raises:
            ModelError: the disk refuses it.
        """
        memory = self._reconstructor.memory
        if memory is None:
            return None
        memory.snapshot(path)
        return path

    def restore(self, path: Path | None) -> None:
        """Continues with what was written, where there is such a file and the reconstructor learns; else forgets all.

        Raises:
            ModelError: it was written by another preset or rule; nothing changes.
        """
        memory = self._reconstructor.memory
        if memory is not None and path is not None:
            memory.restore(path)
        else:
            self._reconstructor.reset()

    def metrics(self) -> Mapping[str, int | float]:
        """What was learned so far."""
        return self._reconstructor.metrics()

    def close(self) -> None:
        """Ends the threads and processes of the reconstructor."""
        self._reconstructor.close()

    def _reset_if_due(self) -> None:
        if self._reset_due.is_set():
            self._reset_due.clear()
            self._reconstructor.reset()


class ChunkBatch:
    """Full chunks that wait until as many are there as go at the same time. Any thread may call any method."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._chunks: list[Chunk] = []

    def add(self, chunk: Chunk | None, full: int) -> int:
        """Adds a chunk where there is one; gives how many are to be mapped now: all, or none if fewer than `full`."""
        with self._lock:
            self._chunks += [] if chunk is None else [chunk]
            return len(self._chunks) if len(self._chunks) >= full else 0

    def pop(self) -> tuple[Chunk, Sequence[Chunk]] | None:
        """The next chunk, and those after it; None where another thread took or cleared them."""
        with self._lock:
            if not self._chunks:
                return None
            first, *rest = self._chunks
            self._chunks = rest
            return first, tuple(rest)

    def clear(self) -> None:
        """Forgets all chunks."""
        with self._lock:
            self._chunks = []
