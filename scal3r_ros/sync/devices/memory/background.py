"""What a worker does beside its chunks: it reads what peers have taught, and writes what was learned here."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from scal3r_ros.model import FastWeights
from scal3r_ros.sync.devices.memory.box_memory import read_gradients, write_gradients
from scal3r_ros.sync.devices.messages import Loaded, PeerSum, Reply, Written

_CURRENT = 2
"""Sums that are in use: none, which is version 0, and the newest."""


class PeerSums:
    """The sums of the peers' accumulated gradients, by version, on a worker's device (`Peers` for its memory).

    A sum is read from its file on a separate thread and a stream of its own; `use` chooses one that is there.
    """

    def __init__(self, device: torch.device, send: Callable[[Reply], None]) -> None:
        self._device = device
        self._send = send
        self._sums: dict[int, Mapping[int, FastWeights]] = {0: {}}
        self._current: Mapping[int, FastWeights] = {}
        self.waited_s = 0.0
        """How long the chunks so far have waited for a sum of the peers."""
        self._tasks: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="gradients", daemon=True).start()

    def accumulated_gradient(self, layer: int) -> FastWeights | None:
        """See `Peers`."""
        begin = time.perf_counter()
        current = self._current.get(layer)
        self.waited_s += time.perf_counter() - begin
        return current

    def use(self, version: int) -> None:
        """Takes the sum of that version from now on, and forgets older ones."""
        begin = time.perf_counter()
        self._current = self._sums[version]
        if len(self._sums) > _CURRENT:
            self._tasks.put(lambda: self._forget(version))  # to give back that much memory takes time
        self.waited_s += time.perf_counter() - begin

    def load(self, message: PeerSum) -> None:
        """Reads a sum; returns at once, and sends `Loaded` when it is there."""
        self._tasks.put(lambda: self._load(message))

    def write(self, path: Path, gradients: Mapping[int, FastWeights]) -> None:
        """Writes gradients, which must not change; returns at once, and sends `Written` when it is done."""
        self._tasks.put(lambda: self._write(path, gradients))

    def _run(self) -> None:
        while True:
            task = self._tasks.get()
            # A file that is gone was replaced by a newer one; a full disk costs freshness only.
            with contextlib.suppress(OSError), self._stream():
                task()

    def _load(self, message: PeerSum) -> None:
        read = read_gradients(message.path)
        self._sums[message.version] = {
            layer: FastWeights(*(w.to(self._device) for w in G)) for layer, G in read.items()
        }
        if self._device.type == "cuda":
            torch.cuda.current_stream(self._device).synchronize()
        self._send(Loaded(message.version))

    def _forget(self, version: int) -> None:
        for old in [number for number in self._sums if 0 < number < version]:
            del self._sums[old]

    def _write(self, path: Path, gradients: Mapping[int, FastWeights]) -> None:
        write_gradients(path, gradients)
        self._send(Written(path))

    def _stream(self) -> contextlib.AbstractContextManager[object]:
        if self._device.type != "cuda":
            return contextlib.nullcontext()
        untyped: Callable[..., torch.cuda.Stream] = torch.cuda.Stream
        return torch.cuda.stream(untyped(self._device))
