"""A connection between two processes: a Gloo process group of two, found through a store.

Only for peers that are trusted not to send too much: Gloo ends the process when a message is larger than the buffer
that waits for it. Each message is announced by its size, so that an honest mistake is refused; a lie is not.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor
from torch._C._distributed_c10d import PrefixStore, ProcessGroupGloo, Store, Work

from scal3r_ros.sync.transport.wire import LinkError, wrong_size

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
        self._closed = False

    def send(self, tensor: Tensor, timeout_s: float) -> None:
        """See `Wire`."""
        for part in (torch.tensor([tensor.nbytes]), tensor):
            self._wait(self._begin(self._group.send, part), timeout_s)

    def receive(self, tensor: Tensor, timeout_s: float) -> None:
        """See `Wire`."""
        size = torch.zeros(1, dtype=torch.int64)
        self._wait(self._begin(self._group.recv, size), timeout_s)
        if size.item() != tensor.nbytes:
            raise wrong_size(int(size.item()), tensor.nbytes)
        self._wait(self._begin(self._group.recv, tensor), timeout_s)

    def close(self) -> None:
        """See `Wire`; a thread that waits goes on to its deadline, for Gloo has no way to end it earlier."""
        self._closed = True

    def _begin(self, operation: Callable[[list[Tensor], int, int], Work], tensor: Tensor) -> Work:
        if self._closed:
            raise LinkError("closed the connection")
        try:
            return operation([tensor], self._other, _TAG)
        except RuntimeError as error:
            raise LinkError(_reason(error)) from error

    def _wait(self, work: Work, timeout_s: float) -> None:
        try:
            work.wait(timedelta(seconds=timeout_s))
        except RuntimeError as error:
            raise LinkError(_reason(error)) from error


def _reason(error: RuntimeError) -> str:
    if "imed out" in str(error) or "timeout" in str(error):
        return "does not answer"
    return "closed the connection"


def _first_line(error: RuntimeError) -> str:
    return str(error).strip().partition("\n")[0][:200]
