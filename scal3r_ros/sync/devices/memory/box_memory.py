"""The memory of a box of several devices, shared with other boxes: files carry gradients between it and its workers.

    workers ── own gradient, after a step ──► file ──► MemoryPeers ══ other boxes
    workers ◄── sum of the peers, when new ── file ◄── MemoryPeers

Workers write and read on threads of their own. A step uses the newest sum that all of them have read, so none waits and
all answer with the same memory.
"""

from __future__ import annotations

import itertools
import json
import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import torch

from scal3r_ros.errors import Scal3rError
from scal3r_ros.model import FastWeights, MemoryRule
from scal3r_ros.model.memory.snapshot import Snapshot, read_snapshot, write_snapshot
from scal3r_ros.sync.peers.peers import MemoryPeers

_CHECK_S = 0.5
_HEAD, _NUMBER = 16384, 4
"""Bytes of a file of gradients before the first number, and of a number."""
_log = logging.getLogger(__name__)


class BoxMemory:
    """Between the workers of one box and its peers.

    Args:
        peers: the other boxes, not started yet.
        folder: for files of gradients; as many as two at a time.
        offer: gives all workers the file of a sum of peers, and its version; returns at once.
        ask: has a worker write its accumulated gradient into a file, in its own time; returns at once.
    """

    def __init__(
        self, peers: MemoryPeers, folder: Path, offer: Callable[[Path, int], None], ask: Callable[[Path], object]
    ) -> None:
        self._peers = peers
        self._folder = folder
        self._offer = offer
        self._ask = ask
        self._own: Mapping[int, FastWeights] = {}
        self._lock = threading.Lock()  # of `_own`
        self._wanted: tuple[Path, int] | None = None
        self._own_chunks = 0
        self._waited_s = 0.0
        self._numbers = itertools.count(1)
        self._closing = threading.Event()
        self._written: queue.SimpleQueue[Path | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._distribute, name="peers of the box", daemon=True),
            threading.Thread(target=self._collect, name="gradients of the box", daemon=True),
        ]
        peers.start(self._own_gradient)
        for thread in self._threads:
            thread.start()

    def keep(self, path: Path) -> bool:
        """Writes what the peers get of the box now, as a memory can restore it; whether there is any."""
        with self._lock:
            own, chunks = self._own, self._own_chunks
        if not own:
            return False
        try:
            write_snapshot(
                path,
                Snapshot(
                    self._peers.network.preset, MemoryRule.RUNNING.value, chunks, own, tuple(self._peers.sessions())
                ),
            )
        except Scal3rError as error:
            _log.warning("%s", error)
            return False
        return True

    def learned(self, chunks: int, waited_s: float = 0.0) -> None:
        """The workers have learned from that many chunks, and agree on it: peers get it soon.

        `waited_s`: how long these chunks have waited for peers.
        """
        begin = time.perf_counter()
        path = self._folder / f"own{next(self._numbers)}"
        self._wanted = path, chunks  # without the lock, for which a thread may wait that waits for a CPU itself
        self._ask(path)
        self._waited_s += waited_s + time.perf_counter() - begin

    def written(self, path: Path) -> None:
        """A worker has written the gradient that `learned` asked for; returns at once.

        It is read on another thread: a worker's next reply is waiting behind this call.
        """
        self._written.put(path)

    def replace(self, gradients: Mapping[int, FastWeights]) -> None:
        """What the box has learned is this, whatever a worker is still writing."""
        with self._lock:
            self._own, self._wanted = gradients, None

    def sessions(self) -> Collection[str]:
        """See `MemoryExchange`."""
        return self._peers.sessions()

    def restored(self, path: Path) -> None:
        """The workers continue with the memory in `path`, which they have read."""
        self._peers.contain(read_snapshot(path).sessions)
        self.learned(0)

    def reset(self) -> None:
        """The box has forgotten everything."""
        self.replace({})
        self._peers.reset()

    def metrics(self) -> Mapping[str, int | float]:
        """Numbers about the peers; never waits."""
        return {**self._peers.metrics(), "peer_wait_s": round(self._waited_s, 6)}

    def close(self) -> None:
        """Sends the peers the last that was learned, within a deadline, and leaves them."""
        self._peers.close()
        self._closing.set()
        self._peers.changed.set()
        self._written.put(None)
        for thread in self._threads:
            thread.join(_CHECK_S)

    def _own_gradient(self) -> Mapping[int, FastWeights]:
        return self._own

    def _collect(self) -> None:
        """Reads what workers have written; outdated ones are left out."""
        while (path := self._written.get()) is not None:
            try:
                gradients = read_gradients(path)
            except OSError as error:
                _log.warning("what this box has learned could not be read for its peers: %s", error)
                continue
            finally:
                path.unlink(missing_ok=True)
            with self._lock:
                wanted = self._wanted
                if wanted is not None and path == wanted[0]:
                    self._own, self._own_chunks = gradients, wanted[1]

    def _distribute(self) -> None:
        before: Path | None = None
        for version in itertools.count(1):
            self._peers.changed.wait()
            if self._closing.is_set():
                return
            self._peers.changed.clear()
            path = self._folder / f"peers{version}"
            try:
                write_gradients(path, self._peers.totals())
            except OSError as error:
                _log.warning("what peers have taught does not reach the devices of this box: %s", error)
                continue
            self._offer(path, version)
            if before is not None:
                before.unlink(missing_ok=True)  # who has not read it yet reads the newer one
            before = path


def write_gradients(path: Path, gradients: Mapping[int, FastWeights]) -> None:
    """Writes gradients by layer, from any device; raises `OSError`.

    Only the copies take time, and those let other threads of the process run: a library that makes bytes of tensors
    would stop the chunk's thread meanwhile.
    """
    shapes = {layer: [list(w.shape) for w in G] for layer, G in gradients.items()}
    head = json.dumps(shapes).encode().ljust(_HEAD)
    if len(head) > _HEAD:
        raise OSError(f"gradients of {len(gradients)} layers are more than a file is made for")
    numbers = _HEAD // _NUMBER + sum(w.numel() for G in gradients.values() for w in G)
    with path.open("wb") as file:
        file.write(head)
        file.flush()
        os.posix_fallocate(file.fileno(), 0, numbers * _NUMBER)  # a full disk is an error here, and a signal later
    place = torch.from_file(str(path), shared=True, size=numbers)[_HEAD // _NUMBER :]
    for G in gradients.values():
        for w in G:
            place[: w.numel()].copy_(w.detach().reshape(-1))
            place = place[w.numel() :]


def read_gradients(path: Path) -> Mapping[int, FastWeights]:
    """Gradients that `write_gradients` wrote, on the CPU; raises `OSError` where the file is gone or none of those."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
        numbers = os.fstat(file.fileno()).st_size // _NUMBER
    try:
        shapes = {int(layer): [torch.Size(shape) for shape in of_layer] for layer, of_layer in json.loads(head).items()}
        place = torch.from_file(str(path), size=numbers)[_HEAD // _NUMBER :]
    except (ValueError, RuntimeError) as error:
        raise OSError(f"{path.name} has no gradients: {error}") from error
    parts = iter(torch.split(place, [shape.numel() for of_layer in shapes.values() for shape in of_layer]))
    return {
        layer: FastWeights(*(next(parts).view(shape).clone() for shape in of_layer))
        for layer, of_layer in shapes.items()
    }
