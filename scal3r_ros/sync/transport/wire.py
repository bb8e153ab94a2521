"""What two nodes need of a connection: to send and receive tensors of known size within a deadline, and to end it.

`tcp.py`, `gloo.py` and `nccl.py` connect two machines; `memory.py` connects two ends in one process, with the faults
that a test asks for.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from scal3r_ros.errors import Scal3rError


class LinkError(Scal3rError):
    """A connection to a peer that is of no more use; the message follows the peer's name in a sentence."""


class RefusedError(LinkError):
    """The peer sent what must not be used: wrong key, wrong size, replayed or garbled."""


class BrokenGradientError(RefusedError):
    """The peer's own gradient is not finite or implausibly large: no new connection would mend that."""


class Wire(Protocol):
    """One end of a connection to a peer. One thread may send while another receives.

    `send` and `receive` raise `LinkError` after `timeout_s`, or when the connection is gone; after that it is of no
    more use.
    """

    def send(self, tensor: Tensor, timeout_s: float) -> None:
        """Sends `tensor`, a contiguous one on the CPU."""

    def receive(self, tensor: Tensor, timeout_s: float) -> None:
        """Fills `tensor`, a contiguous one on the CPU, with what the peer sends; `RefusedError` for another size."""

    def close(self) -> None:
        """Ends the connection, from any thread: one that waits in it fails soon, over Gloo at its deadline."""


def as_bytes(tensor: Tensor) -> memoryview:
    """The bytes of a contiguous tensor on the CPU, without a copy."""
    array: Any = tensor.reshape(-1).view(torch.uint8).numpy()
    return memoryview(array)


def wrong_size(received: int, due: int) -> RefusedError:
    """The error for a message of another size than the one that is due."""
    return RefusedError(f"sent a message of {received} bytes where {due} were due")
