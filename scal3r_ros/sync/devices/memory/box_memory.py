"""The memory of a box of several devices, shared with other boxes: files carry gradients between it and its workers.

    workers ── own gradient, after a step ──► file ──► MemoryPeers ══ other boxes
    workers ◄── sum of the peers, when new ── file ◄── MemoryPeers

Workers write and read on threads of their own. A step uses the newest sum that all of them have read, so none waits and
all answer with the same memory.
"""

from __future__ import annotations

import itertools
import logging
import queue
import threading
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from scal3r_ros.errors import Scal3rError
from scal3r_ros.model import FastWeights, MemoryRule
from scal3r_ros.model.memory.snapshot import Snapshot, read_snapshot, write_snapshot
from scal3r_ros.sync.peers.peers import MemoryPeers

_CHECK_S = 0.5
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
        self._lock = threading.Lock()  # of `_own` and `_wanted`
        self._wanted: Path | None = None
        self._own_chunks = self._wanted_chunks = 0
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
        path = self._folder / f"own{next(self._numbers)}.safetensors"
        with self._lock:
            self._wanted, self._wanted_chunks = path, chunks
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
            except (OSError, SafetensorError) as error:
                _log.warning("what this box has learned could not be read for its peers: %s", error)
                continue
            finally:
                path.unlink(missing_ok=True)
            with self._lock:
                if path == self._wanted:
                    self._own, self._own_chunks = gradients, self._wanted_chunks

    def _distribute(self) -> None:
        before: Path | None = None
        for version in itertools.count(1):
            self._peers.changed.wait()
            if self._closing.is_set():
                return
            self._peers.changed.clear()
            path = self._folder / f"peers{version}.safetensors"
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
    """Writes gradients by layer; raises `OSError`."""
    tensors = {f"{layer}.{name}": w.contiguous() for layer, G in gradients.items() for name, w in G._asdict().items()}
    try:
        save_file(tensors, path)
    except SafetensorError as error:
        raise OSError(str(error)) from error


def read_gradients(path: Path) -> Mapping[int, FastWeights]:
    """Gradients that `write_gradients` wrote, on the CPU; raises `OSError` or `SafetensorError`."""
    tensors = load_file(path)
    layers = sorted({int(name.partition(".")[0]) for name in tensors})
    return {
        layer: FastWeights(*(tensors[f"{layer}.{name}"].clone() for name in FastWeights._fields)) for layer in layers
    }
