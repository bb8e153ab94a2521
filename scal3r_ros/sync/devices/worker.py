"""A worker process: one device, one network, a memory that all workers have in common, and messages to carry out."""

from __future__ import annotations

import os
import pickle
import queue
import threading
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from scal3r_ros.errors import ReconstructionError, Scal3rError
from scal3r_ros.model import FastWeights, MemoryMark
from scal3r_ros.reconstruction.protocol import Chunk
from scal3r_ros.sync.devices.group import Group, GroupBrokenError
from scal3r_ros.sync.devices.memory.background import PeerSums
from scal3r_ros.sync.devices.messages import (
    Answer,
    Broken,
    Done,
    Failed,
    Form,
    Message,
    OutOfMemory,
    Passed,
    PeerSum,
    ReadGradients,
    Ready,
    Recall,
    Reply,
    Reset,
    Restore,
    Rewind,
    Save,
    Space,
    Start,
    Step,
    Stop,
    Write,
)
from scal3r_ros.sync.devices.network_in_step import NetworkInStep
from scal3r_ros.sync.exchange.layout import SharedNetwork


class Worker:
    """Carries out messages one after another. `group` hears of lost members from another thread, `sums` of peers."""

    def __init__(self, network: NetworkInStep, group: Group, sums: PeerSums | None) -> None:
        self.group = group
        self.sums = sums
        self._threads = torch.get_num_threads()
        self._network = network
        self._mark: MemoryMark = network.mark()

    @classmethod
    def load(cls, start: Start, pipe: Pipe) -> Worker:
        """The worker that `start` describes; raises as `NetworkInStep`."""
        group = Group(lambda: pipe.send(Passed()))
        sums: list[PeerSums] = []

        def peers(device: torch.device) -> PeerSums:
            sums.append(PeerSums(device, pipe.send))
            return sums[0]

        network = NetworkInStep(start.config, group, peers if start.shares else None)
        return cls(network, group, sums[0] if sums else None)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self._network.device

    def shared(self) -> SharedNetwork | None:
        """What other boxes have to know of the network; None where it is not shared."""
        return None if self.sums is None else self._network.shared()

    def space(self) -> Space | None:
        """The memory of the device, where that is a GPU."""
        return self._network.space()

    def handle(self, message: Message) -> Reply:
        """Carries out a message."""
        try:
            return self._step(message) if isinstance(message, Step) else self._other(message)
        except Scal3rError as error:
            return Failed(error)
        except GroupBrokenError as error:
            return Broken(str(error))

    def write(self, path: Path) -> None:
        """Has what was learned so far written, in the background."""
        assert self.sums is not None, "only a box that shares its memory is asked"
        self.sums.write(path, self._network.accumulated_gradient())

    def _other(self, message: Message) -> Reply:
        match message:
            case Form(meeting, rank, size, backend, timeout_s):
                torch.set_num_threads(max(1, self._threads // size))
                self.group.form(meeting, rank, size, backend, timeout_s)
            case Rewind():
                self._network.rewind(self._mark)
            case Reset():
                self._network.reset()
            case Save(path, sessions):
                self._network.snapshot(path, sessions)
            case Restore(path):
                self._mark = self._network.mark()
                self._network.restore(path)
            case Recall(chunk):
                return self._recall(chunk)
            case ReadGradients(peer_sum):
                G = self._with_peers(peer_sum)
                return Done({layer: tuple(w.cpu().numpy() for w in weights) for layer, weights in G.items()})
        return Done()

    def _with_peers(self, peer_sum: int | None) -> Mapping[int, FastWeights]:
        own = self._network.accumulated_gradient()
        if peer_sum is None or self.sums is None:
            return own
        self.sums.use(peer_sum)
        total = dict(own)
        for layer in self._network.layers():
            theirs = self.sums.accumulated_gradient(layer)
            if theirs is not None:
                total[layer] = own[layer].plus(theirs) if layer in own else theirs
        return total

    def _recall(self, chunk: Chunk) -> Reply:
        try:
            return Done(geometry=self._network.recall(chunk))
        except Scal3rError:
            raise
        except Exception as error:  # or one chunk would end one worker after another
            return _defect(error)

    def _step(self, step: Step) -> Reply:
        self._mark = self._network.mark()
        self.group.begin_step(step.members)
        waited_s = 0.0
        if self.sums is not None:
            waited_s = self.sums.waited_s
            self.sums.use(step.peer_sum)
        geometry = None
        reply: Reply
        try:
            if step.chunk is not None:
                geometry = self._network.attempt(step.chunk, step.frames_at_once, step.share)
            self._network.learn_from_others(len(step.members) - self.group.passes)
            waited_s = 0.0 if self.sums is None else self.sums.waited_s - waited_s
            return Answer(geometry, self._network.metrics(), waited_s)
        except GroupBrokenError:
            raise
        except torch.OutOfMemoryError as error:
            reply = OutOfMemory(str(error).partition("\n")[0])
        except Scal3rError as error:
            reply = Failed(error)
        except Exception as error:  # a defect must cost a chunk, not the workers that wait in the next sum
            reply = _defect(error)
        self._network.rewind(self._mark)  # gives back the memory of the attempt before the sums need memory
        if step.share is None:
            self.group.complete(self._network.sizes_summed(), self.device)
        else:
            self.group.quit()  # the others wait for keys that nobody can make
        return reply


def _defect(error: Exception) -> Failed:
    return Failed(ReconstructionError(f"the network failed by a defect: {type(error).__name__}: {error}"))


class Pipe:
    """The worker's end of the pipe to the main process. A worker whose main process is gone ends at once."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._messages: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._sending = threading.Lock()
        self.worker: Worker | None = None

    def listen(self) -> None:
        """Receives messages on a separate thread, which sees the end of the main process also while a chunk is at work.

        An empty message means that the group has lost a member.
        """
        threading.Thread(target=self._listen, name="messages", daemon=True).start()

    def next_message(self) -> Message:
        """Waits for a message."""
        return self._messages.get()

    def send(self, reply: Reply) -> None:
        """Replies; from any thread."""
        content = pickle.dumps(reply, protocol=pickle.HIGHEST_PROTOCOL)
        try:
            with self._sending:
                self._connection.send_bytes(content)
        except OSError:
            os._exit(0)

    def _listen(self) -> None:
        try:
            while True:
                message = self._connection.recv_bytes()
                if message:
                    self._receive(pickle.loads(message))
                elif self.worker is not None:
                    self.worker.group.abandon()
        except (EOFError, OSError):
            os._exit(0)

    def _receive(self, message: Message) -> None:
        if not isinstance(message, PeerSum):
            self._messages.put(message)
        elif self.worker is not None and self.worker.sums is not None:
            self.worker.sums.load(message)


def main(handle: int) -> None:
    """Runs a worker that talks through the open socket `handle`, until the message `Stop`."""
    os.set_inheritable(handle, False)
    pipe = Pipe(Connection(handle))
    pipe.listen()
    start = pipe.next_message()
    assert isinstance(start, Start), "the first message names the network"
    try:
        worker = Worker.load(start, pipe)
    except Scal3rError as error:
        pipe.send(Failed(error))
        return
    pipe.worker = worker
    pipe.send(Ready(str(worker.device), worker.shared(), worker.space()))
    while not isinstance(message := pipe.next_message(), Stop):
        if isinstance(message, Write):
            worker.write(message.path)
        else:
            pipe.send(worker.handle(message))
    worker.group.leave()
    os._exit(0)  # the interpreter would take its time, and the listening thread never ends by itself
