"""A connection within one process, whose messages suffer the faults of a network when a test asks for them."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from enum import Enum

import torch
from torch import Tensor

from scal3r_ros.sync.transport.wire import LinkError, as_bytes, wrong_size


class Fault(Enum):
    """What may happen to a message."""

    LATE = "late"
    """Arrives only when another receive asks: the one that waits for it misses its deadline."""
    LOST = "lost"
    TORN = "torn"
    """The second half is zeros."""
    DUPLICATED = "duplicated"
    REORDERED = "reordered"
    """Arrives after the next message."""
    WRONG_SHAPE = "wrong shape"
    """One byte is missing."""


FaultPlan = Callable[[int], Fault | None]
"""The fault of the message with that number, counted from 0 in each direction."""


class _Direction:
    """Messages on their way from one end to the other."""

    def __init__(self, plan: FaultPlan, bytes_per_s: float) -> None:
        self.changed = threading.Condition()
        self.closed = False
        self._plan = plan
        self._seconds_per_byte = 1 / bytes_per_s
        self._sent = 0
        self._arrived: deque[bytes | Fault] = deque()
        self._waiting: bytes | None = None
        self._free_at_s = 0.0

    def put(self, message: bytes) -> float:
        """Takes a message; returns when the wire has transmitted it, on the clock of `time.monotonic`."""
        with self.changed:
            if self.closed:
                raise LinkError("closed the connection")
            fault, self._sent = self._plan(self._sent), self._sent + 1
            self._arrived += self._after(fault, message)
            if fault is not Fault.REORDERED and self._waiting is not None:
                self._arrived.append(self._waiting)
                self._waiting = None
            self._free_at_s = max(self._free_at_s, time.monotonic()) + len(message) * self._seconds_per_byte
            self.changed.notify_all()
            return self._free_at_s

    def get(self, timeout_s: float) -> bytes:
        with self.changed:
            self.changed.wait_for(lambda: self._arrived or self.closed, timeout_s)
            if not self._arrived:
                raise LinkError("closed the connection" if self.closed else "does not answer")
            message = self._arrived.popleft()
        if isinstance(message, Fault):
            raise LinkError("does not answer")
        return message

    def _after(self, fault: Fault | None, message: bytes) -> list[bytes | Fault]:
        match fault:
            case None:
                return [message]
            case Fault.LATE:
                return [fault, message]
            case Fault.LOST:
                return []
            case Fault.TORN:
                half = len(message) // 2
                return [message[:half] + bytes(len(message) - half)]
            case Fault.DUPLICATED:
                return [message, message]
            case Fault.WRONG_SHAPE:
                return [message[:-1]]
        self._waiting = message
        return []


class MemoryWire:
    """A `Wire` to another end in this process; made in pairs by `memory_pair`."""

    def __init__(self, outgoing: _Direction, incoming: _Direction) -> None:
        self._outgoing = outgoing
        self._incoming = incoming

    def send(self, tensor: Tensor, timeout_s: float) -> None:
        """See `Wire`; takes as long as the bandwidth asks for."""
        wait_s = self._outgoing.put(bytes(as_bytes(tensor))) - time.monotonic()
        if wait_s > timeout_s:
            raise LinkError("does not answer")
        if wait_s > 0:
            time.sleep(wait_s)

    def receive(self, tensor: Tensor, timeout_s: float) -> None:
        """See `Wire`."""
        message = self._incoming.get(timeout_s)
        if len(message) != tensor.nbytes:
            raise wrong_size(len(message), tensor.nbytes)
        tensor.reshape(-1).view(torch.uint8).copy_(torch.frombuffer(bytearray(message), dtype=torch.uint8))

    def close(self) -> None:
        """See `Wire`."""
        for direction in (self._outgoing, self._incoming):
            with direction.changed:
                direction.closed = True
                direction.changed.notify_all()


def no_faults(number: int) -> Fault | None:
    """A network without faults."""
    return None


def memory_pair(
    faults: FaultPlan = no_faults, faults_back: FaultPlan = no_faults, bytes_per_s: float = float("inf")
) -> tuple[MemoryWire, MemoryWire]:
    """Two ends of one connection; `faults` befall what the first sends, `faults_back` what the second sends."""
    there, back = _Direction(faults, bytes_per_s), _Direction(faults_back, bytes_per_s)
    return MemoryWire(there, back), MemoryWire(back, there)
