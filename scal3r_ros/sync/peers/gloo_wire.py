"""A connection between two processes: a Gloo process group of two, found through a store."""

from __future__ import annotations

import socket
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from torch import Tensor
from torch._C._distributed_c10d import PrefixStore, ProcessGroupGloo, Store, Work

from scal3r_ros.sync.peers.config import Address
from scal3r_ros.sync.peers.exchange import LinkError

_TAG = 1


class GlooWire:
    """A `Wire`. It waits without the interpreter's lock; after an error or a missed deadline it is of no more use.

    Args:
        store: where the two find each other under the prefix `token`, which is new for every connection.
        rank: 0 or 1.
        host: this machine's address as the peer knows it.
        timeout_s: how long the other end may take to connect.

    Raises:
        LinkError: the other end did not connect, or the network blocks it.
    """

    def __init__(self, store: Store, token: str, rank: int, host: str, timeout_s: float) -> None:
        # The types of torch lack half of what these two have.
        make: Any = ProcessGroupGloo
        options = make._Options()
        options._timeout = timedelta(seconds=timeout_s)
        try:
            options._devices = [make.create_device(hostname=host)]
            self._group = make(PrefixStore(token, store), rank, 2, options)
        except RuntimeError as error:
            raise LinkError(f"cannot be connected with ({_first_line(error)})") from error
        self._other = 1 - rank

    def send(self, tensor: Tensor, timeout_s: float) -> None:
        """Returns when the peer has taken `tensor`."""
        self._wait(self._begin(self._group.send, tensor), timeout_s)

    def receive(self, tensor: Tensor, timeout_s: float) -> None:
        """Fills `tensor` with what the peer sends."""
        self._wait(self._begin(self._group.recv, tensor), timeout_s)

    def _begin(self, operation: Callable[[list[Tensor], int, int], Work], tensor: Tensor) -> Work:
        try:
            return operation([tensor], self._other, _TAG)
        except RuntimeError as error:
            raise LinkError(_reason(error)) from error

    def _wait(self, work: Work, timeout_s: float) -> None:
        try:
            work.wait(timedelta(seconds=timeout_s))
        except RuntimeError as error:
            raise LinkError(_reason(error)) from error


def address_towards(address: Address) -> str:
    """The address of the interface that leads to `address`: the host name often stands for the loopback."""
    family, kind, protocol, _, where = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.connect(where)  # of a datagram socket: chooses the interface and sends nothing
        return str(probe.getsockname()[0])


def _reason(error: RuntimeError) -> str:
    if "imed out" in str(error) or "timeout" in str(error):
        return "does not answer"
    return "closed the connection"


def _first_line(error: RuntimeError) -> str:
    return str(error).strip().partition("\n")[0][:200]
