"""Values between two processes: their arrays lie in a file in RAM that both have open, the rest is a short pickle."""

from __future__ import annotations

import mmap
import os
import pickle
import tempfile
import weakref
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_ALIGNMENT = 64
"""Bytes at whose multiples arrays begin: what vector instructions like best."""

Span = tuple[int, int]
"""Where the bytes of an array begin in the file, and how many they are."""


def anonymous_file() -> int:
    """A new file without a name, in RAM: it is gone with the last process that has it open, however that ends."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("scal3r")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


class ArrayFile:
    """One direction of the way between two processes: one `pack`s, the other `unpack`s, in turn.

    What was packed lasts until the next `pack`, so the other side has to `unpack` it before. The file grows to the
    largest value, and is closed when nobody refers to this object any more.
    """

    def __init__(self, handle: int) -> None:
        self.handle = handle
        self._map: mmap.mmap | None = None
        # Not before: a number that was closed may be that of another file, which a late `pack` would write to.
        weakref.finalize(self, os.close, handle)

    def pack(self, value: object) -> bytes:
        """Puts the arrays of `value` into the file; gives what `unpack` makes `value` of."""
        buffers: list[pickle.PickleBuffer] = []
        data = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
        arrays = [np.frombuffer(buffer.raw(), np.uint8) for buffer in buffers]
        ends = np.cumsum([-(-len(array) // _ALIGNMENT) * _ALIGNMENT for array in arrays]).tolist()
        spans = [(begin, len(array)) for begin, array in zip([0, *ends], arrays, strict=False)]
        if arrays:
            content = self._content(ends[-1])
            for (begin, size), array in zip(spans, arrays, strict=True):
                content[begin : begin + size] = array  # numpy copies without the interpreter's lock
        return pickle.dumps((data, spans), protocol=5)

    def unpack(self, packed: bytes) -> object:
        """The value that the other side has packed; its arrays are copies, and may be written to."""
        data, spans = pickle.loads(packed)
        return pickle.loads(data, buffers=self._copies(spans))

    def _copies(self, spans: Sequence[Span]) -> list[NDArray[np.uint8]]:
        content = self._content(max((begin + size for begin, size in spans), default=0)) if spans else _NOTHING
        return [content[begin : begin + size].copy() for begin, size in spans]

    def _content(self, size: int) -> NDArray[np.uint8]:
        """The bytes of the file, which is made as long as `size` where it is shorter."""
        if size == 0:
            return _NOTHING
        if os.fstat(self.handle).st_size < size:
            os.ftruncate(self.handle, size)
        if self._map is None or len(self._map) < size:
            self._map = mmap.mmap(self.handle, os.fstat(self.handle).st_size)
        return np.frombuffer(self._map, np.uint8)


_NOTHING: NDArray[np.uint8] = np.empty(0, np.uint8)
