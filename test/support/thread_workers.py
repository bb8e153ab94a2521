"""Workers that are threads with a network of no weight: hundreds of drives with faults in seconds.

The messages, the pool and the worker's handling of them are the real ones; only the network, the sums and the process
are stood in for. A chunk's gradient is made of whole numbers, so sums are exact in any order.
"""

from __future__ import annotations

import pickle
import queue
import random
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from scal3r_ros.model import FastWeights
from scal3r_ros.reconstruction.network.dividing.frame_split import FrameShare
from scal3r_ros.reconstruction.protocol import Chunk, ChunkGeometry
from scal3r_ros.sync.devices.group import GroupBrokenError
from scal3r_ros.sync.devices.memory.background import PeerSums
from scal3r_ros.sync.devices.messages import Gone, Message, Passed, Ready, Start, Stop, Write
from scal3r_ros.sync.devices.worker import Worker
from scal3r_ros.sync.exchange.layout import GradientLayout, SharedNetwork

LAYERS = (1, 3)
SHAPE = (2, 3)
NETWORK = SharedNetwork(
    "plain", "none", GradientLayout(dict.fromkeys(LAYERS, (torch.Size(SHAPE),) * 3)), torch.device("cpu")
)


def gradient_of(chunk: Chunk) -> dict[int, FastWeights]:
    """What a chunk teaches: whole numbers that depend on its index and the layer."""
    rng = np.random.default_rng(chunk.index)
    whole = (torch.from_numpy(rng.integers(-99, 99, (3, *SHAPE))).float() for _ in LAYERS)
    return {layer: FastWeights(*numbers) for layer, numbers in zip(LAYERS, whole, strict=True)}


@dataclass
class Faults:
    """What shall happen to the workers: by worker number, the sum at which it dies or hangs."""

    dies_at: dict[int, int] = field(default_factory=dict)
    hangs_at: dict[int, int] = field(default_factory=dict)
    devices_gone: set[str] = field(default_factory=set)
    sums: PeerSums | None = None
    """What all workers have of the peers, where the box shares its memory."""


class SilenceClock:
    """A clock that stands still but for the time in which a worker hangs: a busy machine makes no worker late."""

    def __init__(self) -> None:
        self.workers: list[ThreadWorker] = []
        self._shown = self._seen = time.monotonic()

    def monotonic(self) -> float:
        now = time.monotonic()
        if any(worker.hanging and not worker.dead for worker in self.workers):
            self._shown += now - self._seen
        self._seen = now
        return self._shown


class Killed(BaseException):
    """Ends the thread of a worker, wherever it is."""


class Meetings:
    """All groups of one box: a sum waits for its members, and breaks when one of them is gone."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.sums: dict[tuple[Path, int], list[torch.Tensor]] = {}
        self.joined: dict[Path, int] = {}
        self.broken: set[Path] = set()


class ThreadGroup:
    """A `Group` within one process."""

    def __init__(self, meetings: Meetings, check: Callable[[], None], about_to_sum: Callable[[], None]) -> None:
        self._meetings, self._check, self._about_to_sum = meetings, check, about_to_sum
        self._meeting: Path | None = None
        self._size, self._members, self._done = 1, (1,), 0
        self._in_step = 0
        self.passes = 0

    def form(self, meeting: Path, rank: int, size: int, backend: str, timeout_s: float) -> None:
        self.leave()
        self._size, self._done = size, 0
        if size == 1:
            return
        self._meeting = meeting
        m = self._meetings
        with m.changed:
            m.joined[meeting] = m.joined.get(meeting, 0) + 1
            m.changed.notify_all()
            self._wait(lambda: m.joined[meeting] == size or meeting in m.broken)
            if meeting in m.broken:
                raise GroupBrokenError("a member is gone")

    def leave(self) -> None:
        m = self._meetings
        with m.changed:
            if self._meeting is not None:
                m.broken.add(self._meeting)
                m.changed.notify_all()
        self._meeting, self._size = None, 1

    def abandon(self) -> None:
        with self._meetings.changed:
            if self._meeting is not None:
                self._meetings.broken.add(self._meeting)
                self._meetings.changed.notify_all()

    quit = leave

    def begin_step(self, members: Sequence[int]) -> None:
        self._members, self.passes, self._in_step = members, 0, 0

    def begin(self) -> int:
        self.passes += 1
        return self._members[self.passes - 1]

    def reduce(self, g: FastWeights) -> FastWeights:
        return FastWeights(*map(self._sum, g))

    def complete(self, sizes: Sequence[int], device: torch.device) -> None:
        for _ in range(self._in_step, len(sizes) * len(self._members)):
            self._sum(torch.zeros(SHAPE))

    def _sum(self, own: torch.Tensor) -> torch.Tensor:
        self._about_to_sum()
        self._check()
        self._in_step += 1
        if self._size == 1:
            return own
        m, meeting = self._meetings, self._meeting
        with m.changed:
            if meeting is None or meeting in m.broken:
                raise GroupBrokenError("a member is gone")
            parts = m.sums.setdefault((meeting, self._done), [])
            self._done += 1
            parts.append(own)
            m.changed.notify_all()
            self._wait(lambda: len(parts) == self._size or meeting in m.broken)
            if len(parts) < self._size:
                raise GroupBrokenError("a member is gone")
            return torch.stack(parts).sum(0)

    def _wait(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._meetings.changed.wait(0.02)
            self._check(counts=False)


class PlainNetwork:
    """A `NetworkInStep` that learns `gradient_of` its chunks and answers with their index."""

    def __init__(self, group: ThreadGroup) -> None:
        self._group, self.device = group, torch.device("cpu")
        self._G: dict[int, FastWeights] = {}
        self._chunks = 0

    def _learn(self, g: dict[int, FastWeights]) -> None:
        self._chunks += self._group.begin()
        for layer in LAYERS:
            total = self._group.reduce(g[layer])
            self._G = {**self._G, layer: self._G[layer].plus(total) if layer in self._G else total}

    def attempt(self, chunk: Chunk, frames_at_once: int | None, share: FrameShare | None = None) -> ChunkGeometry:
        """With a share, the worker of the first frames learns all that there is to learn, and the others nothing."""
        frames = 1 if share is None else len(share.own)
        taught = gradient_of(chunk)
        if share is not None and share.rank:
            taught = {layer: FastWeights(*map(torch.zeros_like, G)) for layer, G in taught.items()}
        self._learn(taught)
        depth = np.full((frames, 1, 1), chunk.index, np.float32)
        return ChunkGeometry(np.zeros((frames, 4, 4)), (), depth, np.zeros_like(depth))

    def learn_from_others(self, passes: int) -> None:
        zeros = FastWeights(*(torch.zeros(SHAPE) for _ in "012"))
        for _ in range(passes):
            self._learn(dict.fromkeys(LAYERS, zeros))

    def sizes_summed(self) -> tuple[int, ...]:
        return (1,) * (3 * len(LAYERS))

    def mark(self):
        return self._G, self._chunks

    def rewind(self, mark) -> None:
        self._G, self._chunks = mark

    def snapshot(self, path: Path, sessions: Iterable[str] = ()) -> None:
        path.write_bytes(pickle.dumps(self.mark()))

    def restore(self, path: Path) -> None:
        self.rewind(pickle.loads(path.read_bytes()))

    def accumulated_gradient(self) -> dict[int, FastWeights]:
        return self._G

    def metrics(self) -> dict[str, int]:
        return {"memory_chunks": self._chunks}


class ThreadWorker:
    """A `WorkerHandle` whose worker is a thread of this process; made by `launcher`."""

    def __init__(self, number, device, inbox, on_written, faults: Faults, meetings: Meetings) -> None:
        self.number, self.device = number, device
        self.sums = self.loaded = 0
        self.timed_out = self.dead = self.hanging = False
        self._all_sums = 0
        self._inbox, self._faults, self._meetings = inbox, faults, meetings
        self._messages: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._ended = threading.Lock()
        self.group: ThreadGroup | None = None
        threading.Thread(target=self._run, daemon=True).start()

    def __str__(self) -> str:
        return f"worker {self.number} on {self.device}"

    pid = 0

    @property
    def stopped(self) -> bool:
        return self.hanging

    def send(self, message: Message) -> None:
        self._messages.put(pickle.dumps(message))

    def report_loss(self) -> None:
        if self.group is not None:
            self.group.abandon()

    def kill(self) -> None:
        with self._ended:
            if self.dead:
                return
            self.dead = True
        if self.group is not None:
            self.group.abandon()
        self._messages.put(b"")
        self._inbox.put((self, Gone()))

    def wait(self, timeout_s: float) -> bool:
        return True

    def fate(self, timeout_s: float) -> str:
        return "was killed"

    def _check(self, counts: bool = True) -> None:
        """Whether the worker is still alive, or shall die or hang here."""
        if self.dead:
            raise Killed
        if not counts:
            return
        self._all_sums += 1
        if self._faults.dies_at.get(self.number) == self._all_sums:
            self.kill()
            raise Killed
        if self._faults.hangs_at.get(self.number) == self._all_sums:
            self.hanging = True
            while not self.dead:
                with self._meetings.changed:
                    self._meetings.changed.wait(0.01)
            raise Killed

    def _reply(self, reply) -> None:
        if self.dead:
            raise Killed
        self._inbox.put((self, pickle.loads(pickle.dumps(reply))))

    def _run(self) -> None:
        try:
            start = self._next()
            assert isinstance(start, Start)
            if self.device in self._faults.devices_gone:
                self.kill()
                return
            self.group = ThreadGroup(self._meetings, self._check, lambda: self._reply(Passed()))
            worker = Worker(PlainNetwork(self.group), self.group, self._faults.sums)
            self._reply(Ready(self.device, NETWORK if start.shares else None))
            while not isinstance(message := self._next(), Stop):
                if isinstance(message, Write):
                    worker.write(message.path)
                else:
                    self._reply(worker.handle(message))
            self.kill()
        except Killed:
            pass

    def _next(self) -> Message:
        content = self._messages.get()
        if self.dead or not content:
            raise Killed
        return pickle.loads(content)


def launcher(faults: Faults, clock: SilenceClock | None = None) -> SimpleNamespace:
    """Starts workers that suffer `faults`; keeps all in `workers`."""
    meetings = Meetings()
    made = SimpleNamespace(workers=[])
    if clock is not None:
        clock.workers = made.workers

    def launch(number, device, inbox, on_written) -> ThreadWorker:
        made.workers.append(ThreadWorker(number, device, inbox, on_written, faults, meetings))
        return made.workers[-1]

    made.launch = launch
    return made


def random_faults(rng: random.Random, workers: int, sums: int, survivor: int | None) -> Faults:
    """Deaths and hangs of some of the first `workers` and of their replacements, but not of `survivor`."""
    faults = Faults()
    for number in range(3 * workers):
        if number == survivor:
            continue
        if rng.random() < 0.5:
            faults.dies_at[number] = rng.randint(1, sums)
        elif rng.random() < 0.02:
            faults.hangs_at[number] = rng.randint(1, sums)
    return faults
