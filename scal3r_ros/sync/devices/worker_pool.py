"""The worker processes of a box: messages to all of them, lost workers, and steps that leave no trace if they fail.

Nothing here can wait for ever. Every wait ends with a reply from each worker that was asked, or with its death; a
worker that keeps the others waiting for longer than the timeout is ended, and the rest form a new group. A step in
which a worker was lost is undone by all others: their memories are as they were before it.
"""

from __future__ import annotations

import logging
import queue
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from scal3r_ros.errors import ReconstructionError, Scal3rError
from scal3r_ros.reconstruction.network.config import NetworkConfig
from scal3r_ros.reconstruction.protocol import Chunk
from scal3r_ros.sync.devices.division import Division, StepLostError, replies_of_chunks
from scal3r_ros.sync.devices.group import backend_of
from scal3r_ros.sync.devices.memory.box_memory import BoxMemory
from scal3r_ros.sync.devices.messages import (
    Broken,
    Done,
    Failed,
    Form,
    Gone,
    Message,
    OutOfMemory,
    PeerSum,
    Ready,
    Reply,
    Restore,
    Rewind,
    Save,
    Space,
    Start,
    Stop,
    Write,
)
from scal3r_ros.sync.devices.replacements import Replacements
from scal3r_ros.sync.devices.replies import Replies
from scal3r_ros.sync.devices.worker_process import Inbox, Launch, WorkerHandle, WorkerProcess
from scal3r_ros.sync.exchange.layout import SharedNetwork
from scal3r_ros.sync.peers.peers import MemoryPeers

MEETING_S = 10.0
"""How long workers wait for each other to form a group: they do nothing else meanwhile."""
STOP_S = 1.0
"""How long workers may take to end by themselves after `Stop`."""
_log = logging.getLogger(__name__)


class WorkerPool:
    """The workers that are alive, in order of rank.

    Args:
        config: the network of all workers; each of its `devices` gets a worker.
        launch: starts a worker.
        shares: whether the box shares its memory: `network` is known then, and gradients travel by files.

    Raises:
        ReconstructionError, ModelError: a worker cannot load the network or use its device.
    """

    def __init__(self, config: NetworkConfig, shares: bool = False, launch: Launch = WorkerProcess) -> None:
        self._config = config
        self._shares = shares
        self._box: BoxMemory | None = None
        self._peer_sum: PeerSum | None = None
        self.network: SharedNetwork | None = None
        self._timeout_s = config.step_timeout_s
        self._launch = launch
        self._closing = False
        self._inbox: Inbox = queue.SimpleQueue()
        self._workers: list[WorkerHandle] = []
        self.space: Space | None = None  # of the smallest GPU
        self._formed: list[WorkerHandle] = []
        self._replacements = Replacements(self._start_one, self._note)
        self._replies = Replies(
            self._inbox, lambda: self._timeout_s, lambda: self._closing, self._lose, self._replacements.received
        )
        self._lock = threading.Lock()  # of the list of workers, which `close` reads from another thread
        self._started = self._groups = self.lost = self._peer_sum_used = 0
        self._news: list[str] = []
        self._meetings = tempfile.TemporaryDirectory(prefix="scal3r_workers_")
        try:
            self._start(config.devices)
        except BaseException:
            self.close()
            raise

    def __len__(self) -> int:
        return len(self._workers)

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids by rank."""
        return tuple(worker.pid for worker in self._workers)

    def share(self, make: Callable[[SharedNetwork], MemoryPeers]) -> BoxMemory:
        """Begins to share the memory with the peers that `make` makes for its network; raises what `make` does."""
        assert self.network is not None, "the workers of a box that shares its memory name their network"
        try:
            peers = make(self.network)
        except BaseException:
            self.close()
            raise
        self._box = BoxMemory(peers, Path(self._meetings.name), self.offer, self._ask_to_write)
        return self._box

    def _on_written(self, path: Path) -> None:
        if self._box is not None:
            self._box.written(path)

    def _ask_to_write(self, path: Path) -> None:
        for worker in self._workers[:1]:
            worker.send(Write(path))

    def offer(self, path: Path, version: int) -> None:
        """Has all workers read a sum of peers, in the background; may be called from any thread, also during a step."""
        with self._lock:
            self._peer_sum = PeerSum(path, version)
            for worker in (*self._workers, *self._replacements.starting):
                worker.send(self._peer_sum)

    @property
    def peer_sum(self) -> int:
        """Version of the newest sum of peers that all workers have."""
        return min((worker.loaded for worker in self._workers), default=0)

    def news(self) -> list[str]:
        """Sentences about workers lost and started since the last call."""
        news, self._news = self._news, []
        return news

    def start_anew(self) -> None:
        """One new worker where all are lost, on the first device that can be used; raises as the constructor.

        Its memory is empty, or what the peers of the box were last sent.
        """
        self._replacements.cancel()
        for device in (devices := dict.fromkeys(self._config.devices)):
            try:
                self._start([device])
            except Scal3rError:
                with self._lock:
                    self._workers.clear()
                if device == list(devices)[-1]:
                    raise
                continue
            self._replacements.taken(device)
            break
        path = Path(self._meetings.name) / "sent.safetensors"
        kept = self._box is not None and self._box.keep(path) and isinstance(self.send_first(Restore(path)), Done)
        self._note(f"a new worker was started, with {'what the peers were sent' if kept else 'an empty memory'}")

    def step(self, chunks: Sequence[Chunk], frames_at_once: int | None, division: Division) -> tuple[list[Reply], bool]:
        """Takes at most as many chunks as there are workers through the network, in step; replies in order of chunks.

        Also whether the frames of the chunk, the only one then, were split over the workers as `division` wants it.

        Raises:
            StepLostError: a worker was lost; nothing was learned, and the others are ready for the next step.
        """
        self._replies.look()
        self._admit()
        if self._formed != self._workers:
            self._form()
        workers = list(self._workers)
        if len(chunks) > len(workers):
            raise StepLostError
        self._peer_sum_used = self.peer_sum
        steps = division.steps(chunks, len(workers), frames_at_once, self._peer_sum_used)
        split = steps[0].share is not None
        for worker, step in zip(workers, steps, strict=True):
            worker.send(step)
        replies = self._replies.gather(workers, together=split)
        fatal = Gone | Broken | OutOfMemory | Failed if split else Gone | Broken
        if any(isinstance(reply, fatal) for reply in replies.values()):
            self.send_all(Rewind())
            self._form()
        return replies_of_chunks([replies[worker] for worker in workers], len(chunks), split), split

    def send_all(self, message: Message) -> list[Reply]:
        """Sends all workers the same message; the replies of those that are alive after it, in order of rank."""
        for worker in self._workers:
            worker.send(message)
        replies = self._replies.gather(self._workers)
        return [replies[worker] for worker in self._workers]

    def send_first(self, message: Message) -> Reply:
        """Sends the first worker a message and returns its reply; `Gone` where all are lost."""
        while self._workers:
            self._workers[0].send(message)
            reply = next(iter(self._replies.gather(self._workers[:1]).values()))
            if not isinstance(reply, Gone):
                return reply
        return Gone()

    def close(self) -> None:
        """Ends all workers within about a second; may be called from any thread, also during a step."""
        with self._lock:
            self._closing = True
            workers = [*self._workers, *self._replacements.starting]
        for worker in workers:
            worker.send(Stop())
        until = time.monotonic() + STOP_S
        for worker in workers:
            if not worker.wait(max(0.0, until - time.monotonic())):
                worker.kill()
                worker.wait(STOP_S)
        self._meetings.cleanup()

    def _start(self, devices: Sequence[str]) -> None:
        for device in devices:
            worker = self._start_one(device)
            with self._lock:
                self._workers.append(worker)
        asked = list(self._workers)
        replies = self._replies.gather(asked)
        for worker in asked:
            reply = replies[worker]
            if isinstance(reply, Failed):
                raise reply.error
            if isinstance(reply, Ready):
                worker.device, self.network = reply.device, reply.network
                spaces = [space for space in (self.space, reply.space) if space is not None]
                self.space = min(spaces, key=lambda space: space.capacity, default=None)
            else:
                raise ReconstructionError(f"{worker} {worker.fate(self._timeout_s)} before it had loaded the network")
        self._form()

    def _start_one(self, device: str) -> WorkerHandle:
        with self._lock:
            if self._closing:
                raise ReconstructionError("the network was closed")
            worker = self._launch(self._started, device, self._inbox, self._on_written)
            self._started += 1
        worker.send(Start(replace(self._config, device=device, devices=()), self._shares))
        return worker

    def _admit(self) -> None:
        """Takes in new workers that are ready, with the memory of the others; those go on without them otherwise."""
        self._replacements.start_due()
        for worker in self._replacements.ready if self._workers else []:
            if self._peer_sum is not None and worker.loaded < self._peer_sum_used:
                worker.send(self._peer_sum)  # the others have forgotten older ones
                continue
            path = Path(self._meetings.name) / "joining.safetensors"
            saved = self.send_first(Save(path))
            if not isinstance(saved, Done):
                self._note(f"{worker} cannot join: {saved.error if isinstance(saved, Failed) else 'no other is left'}")
                return
            worker.send(Restore(path))
            restored = self._replies.gather([worker])[worker]
            path.unlink(missing_ok=True)
            if not isinstance(restored, Done):
                self._replacements.received(worker, restored)
                continue
            with self._lock:
                self._workers.append(worker)
                self._replacements.joined(worker)
            self._note(f"{worker} has joined with the memory of the others; {len(self._workers)} at work")

    def _form(self) -> None:
        """A new group of the workers alive; one that does not come to it is ended."""
        while self._workers:
            asked, self._groups = list(self._workers), self._groups + 1
            meeting = Path(self._meetings.name) / f"group{self._groups}"
            backend = backend_of([worker.device for worker in asked])
            # Shorter than the wait for replies: a worker that waits in vain for a lost one can report it in time.
            timeout_s = min(MEETING_S, self._timeout_s / 2)
            for rank, worker in enumerate(asked):
                worker.send(Form(meeting, rank, len(asked), backend, timeout_s))
            replies = self._replies.gather(asked)
            if not any(isinstance(reply, Gone | Broken) for reply in replies.values()):
                self._formed = asked
                return
            if not any(isinstance(reply, Gone) for reply in replies.values()):
                # None died, and still they cannot meet: with one fewer each time, this comes to an end.
                asked[-1].kill()
                self._replies.gather(asked[-1:])

    def _lose(self, worker: WorkerHandle) -> None:
        with self._lock:
            if self._closing or worker not in self._workers:
                return
            self._workers.remove(worker)
        self.lost += 1
        if self._config.restart_workers:
            self._replacements.lost(worker.device)
        self._note(f"{worker} {worker.fate(self._timeout_s)}; {len(self._workers) or 'none'} left")

    def _note(self, sentence: str) -> None:
        self._news.append(sentence)
        _log.info(sentence)
