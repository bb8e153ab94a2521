"""A worker process: one device, one network, a memory that all workers have in common, and orders to follow."""

from __future__ import annotations

import os
import pickle
import queue
import threading
from multiprocessing.connection import Connection

import torch

from scal3r_ros.errors import ReconstructionError, Scal3rError
from scal3r_ros.model import MemoryMark
from scal3r_ros.reconstruction.network.reconstructor import NetworkReconstructor
from scal3r_ros.sync.devices.group import Group, GroupBrokenError
from scal3r_ros.sync.devices.messages import (
    Answer,
    Broken,
    Done,
    Failed,
    Form,
    Leave,
    Order,
    OutOfMemory,
    Passed,
    Ready,
    Recall,
    Reply,
    Reset,
    Restore,
    Rewind,
    Save,
    SetPeerGradients,
    Start,
    Step,
)


class Worker:
    """Follows orders one after another. `group` is told of its losses from another thread."""

    def __init__(self, start: Start, link: Link) -> None:
        self.group = Group(lambda: link.send(Passed()))
        self._threads = torch.get_num_threads()
        self._reconstructor = NetworkReconstructor(start.config, synchronizer=self.group)
        self._mark: MemoryMark = self._reconstructor.mark()

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self._reconstructor.device

    def follow(self, order: Order) -> Reply:
        """Carries out an order."""
        try:
            if isinstance(order, Step):
                return self._step(order)
            return self._obey(order)
        except Scal3rError as error:
            return Failed(error)
        except GroupBrokenError as error:
            return Broken(str(error))

    def _obey(self, order: Order) -> Reply:
        match order:
            case Form(meeting, rank, size, backend, patience_s):
                torch.set_num_threads(max(1, self._threads // size))
                self.group.form(meeting, rank, size, backend, patience_s)
            case Rewind():
                self._reconstructor.rewind(self._mark)
            case Reset():
                self._reconstructor.reset()
            case Save(path):
                self._reconstructor.snapshot(path)
            case Restore(path):
                self._mark = self._reconstructor.mark()
                self._reconstructor.restore(path)
            case Recall(chunk):
                return Done(geometry=self._reconstructor.recall(chunk))
            case SetPeerGradients():
                evidence = self._reconstructor.evidence()
                return Done({layer: tuple(w.cpu().numpy() for w in G) for layer, G in evidence.items()})
        return Done()

    def _step(self, order: Step) -> Reply:
        self._mark = self._reconstructor.mark()
        self.group.begin_step(order.members)
        geometry = None
        reply: Reply
        try:
            if order.chunk is not None:
                geometry = self._reconstructor.attempt(order.chunk, order.frames_at_once)
            self._reconstructor.stand_by(len(order.members) - self.group.passes)
            return Answer(geometry, self._reconstructor.metrics())
        except GroupBrokenError:
            raise
        except torch.OutOfMemoryError as error:
            reply = OutOfMemory(str(error).partition("\n")[0])
        except Scal3rError as error:
            reply = Failed(error)
        except Exception as error:  # a defect must cost a chunk, not the workers that wait in the next sum
            reply = Failed(ReconstructionError(f"the network failed by a defect: {type(error).__name__}: {error}"))
        self._reconstructor.rewind(self._mark)  # gives back what the attempt held, before the sums need memory
        self.group.complete(self._reconstructor.sizes_summed(), self.device)
        return reply


class Link:
    """The worker's end of the pipe to the main process. A worker whose main process is gone ends at once."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._orders: queue.SimpleQueue[Order] = queue.SimpleQueue()
        self.worker: Worker | None = None

    def listen(self) -> None:
        """Takes orders in, on a thread of its own, so that the end of the main process is seen in the middle of work.

        An empty message says that the group has lost a member.
        """
        threading.Thread(target=self._listen, name="orders", daemon=True).start()

    def next_order(self) -> Order:
        """Waits for an order."""
        return self._orders.get()

    def send(self, reply: Reply) -> None:
        """Answers."""
        try:
            self._connection.send_bytes(pickle.dumps(reply, protocol=pickle.HIGHEST_PROTOCOL))
        except OSError:
            os._exit(0)

    def _listen(self) -> None:
        try:
            while True:
                message = self._connection.recv_bytes()
                if message:
                    self._orders.put(pickle.loads(message))
                elif self.worker is not None:
                    self.worker.group.abandon()
        except (EOFError, OSError):
            os._exit(0)


def main(handle: int) -> None:
    """Runs a worker that speaks through the open socket `handle`, until it is told to leave."""
    os.set_inheritable(handle, False)
    link = Link(Connection(handle))
    link.listen()
    start = link.next_order()
    assert isinstance(start, Start), "the first order names the network"
    try:
        worker = Worker(start, link)
    except Scal3rError as error:
        link.send(Failed(error))
        return
    link.worker = worker
    link.send(Ready(str(worker.device)))
    while not isinstance(order := link.next_order(), Leave):
        link.send(worker.follow(order))
    worker.group.leave()
    os._exit(0)  # the interpreter would take its time, and the listening thread never ends by itself
