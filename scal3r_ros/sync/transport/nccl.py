"""A connection between the GPUs of two machines: two NCCL communicators, one for each direction.

One communicator would carry out its operations in the order in which they began, so a receive that waits would hold up
every send behind it. Written for CUDA; on machines without one, only its calls are checked, against a fake.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import psutil
import torch
import torch.distributed as dist
from torch import Tensor
from torch._C._distributed_c10d import PrefixStore, Store

from scal3r_ros.sync.transport.wire import LinkError, wrong_size

ENVIRONMENT = {
    # torch ends the whole process when a communicator fails or is late; here that ends one link.
    "TORCH_NCCL_ASYNC_ERROR_HANDLING": "0",
    "TORCH_NCCL_ENABLE_MONITORING": "0",
    "TORCH_NCCL_DUMP_ON_TIMEOUT": "0",
    "TORCH_NCCL_RETHROW_CUDA_ERRORS": "0",
    # Making and aborting a communicator must not wait for the other end.
    "TORCH_NCCL_USE_COMM_NONBLOCKING": "1",
}
_NEVER = timedelta(days=1)
"""torch's own timeout: deadlines are kept here, for each operation."""
_TAG = 1
_SHORTEST_POLL_S, _LONGEST_POLL_S = 1e-4, 5e-3


class NcclWire:
    """A `Wire` between two GPUs. An operation that misses its deadline aborts both communicators.

    Transfers run on streams of their own: a peer that is stopped in the middle of one leaves a small kernel waiting on
    the GPU until the deadline, but no chunk waits for it.

    Args:
        store: where the two find each other under the prefix `token`, which is new for every connection.
        rank: 0 or 1.
        host: this machine's address as the peer knows it: chooses the interface.
        device: the GPU; both ends need different ones.
        group: makes a process group; by default NCCL's.

    Raises:
        LinkError: NCCL refuses.
    """

    def __init__(
        self,
        store: Store,
        token: str,
        rank: int,
        host: str,
        device: torch.device,
        group: Callable[..., Any] | None = None,
    ) -> None:
        os.environ.update(ENVIRONMENT)
        os.environ.setdefault("NCCL_SOCKET_IFNAME", f"={_interface_of(host)}")
        make: Any = dist.ProcessGroupNCCL if group is None else group
        self._device = device
        self._other = 1 - rank
        self._closed = threading.Event()
        self._groups: list[Any] = []
        self._streams: list[Any] = []
        try:
            for direction in (0, 1):
                options = make.Options()
                options._timeout = _NEVER
                options.is_high_priority_stream = False
                options.config.blocking = 0
                self._groups.append(make(PrefixStore(f"{token}/{direction}", store), rank, 2, options))
                self._streams.append(_new_stream(device))
        except RuntimeError as error:
            raise LinkError(f"cannot be connected with ({str(error).strip().partition(chr(10))[0][:200]})") from error
        self._out, self._in = rank, 1 - rank

    def send(self, tensor: Tensor, timeout_s: float) -> None:
        """See `Wire`."""
        until_s = time.monotonic() + timeout_s
        for part in (torch.tensor([tensor.nbytes]), tensor):
            with self._stream(self._out):
                on_device = self._staged(part)
                self._wait(self._begin(self._groups[self._out].send, on_device), until_s)

    def receive(self, tensor: Tensor, timeout_s: float) -> None:
        """See `Wire`."""
        until_s = time.monotonic() + timeout_s
        size = torch.zeros(1, dtype=torch.int64)
        self._receive(size, until_s)
        if size.item() != tensor.nbytes:
            raise wrong_size(int(size.item()), tensor.nbytes)
        self._receive(tensor, until_s)

    def close(self) -> None:
        """See `Wire`."""
        if self._closed.is_set():
            return
        self._closed.set()
        for group in self._groups:
            with contextlib.suppress(RuntimeError):
                group.abort()

    def _receive(self, tensor: Tensor, until_s: float) -> None:
        with self._stream(self._in):
            on_device = torch.empty_like(tensor, device=self._device)
            self._wait(self._begin(self._groups[self._in].recv, on_device), until_s)
            tensor.copy_(on_device)

    def _staged(self, tensor: Tensor) -> Tensor:
        if self._device.type != "cuda":
            return tensor.to(self._device)
        return tensor.pin_memory().to(self._device, non_blocking=True)

    def _stream(self, direction: int) -> contextlib.AbstractContextManager[Any]:
        stream = self._streams[direction]
        return contextlib.nullcontext() if stream is None else torch.cuda.stream(stream)

    def _begin(self, operation: Callable[[list[Tensor], int, int], Any], tensor: Tensor) -> Any:
        if self._closed.is_set():
            raise LinkError("closed the connection")
        try:
            return operation([tensor], self._other, _TAG)
        except RuntimeError as error:
            raise LinkError("closed the connection") from error

    def _wait(self, work: Any, until_s: float) -> None:
        """Polls: NCCL's own wait holds up the stream and not this thread, or has no deadline."""
        pause_s = _SHORTEST_POLL_S
        try:
            while not work.is_completed():
                if self._closed.is_set():
                    raise LinkError("closed the connection")
                if time.monotonic() >= until_s:
                    self.close()
                    raise LinkError("does not answer")
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_POLL_S)
        except RuntimeError as error:
            self.close()
            raise LinkError("closed the connection") from error


def _new_stream(device: torch.device) -> Any:
    untyped: Any = torch.cuda.Stream
    return untyped(device) if device.type == "cuda" else None


def usable(device: torch.device) -> bool:
    """Whether this process can exchange through NCCL from `device`."""
    return device.type == "cuda" and dist.is_available() and dist.is_nccl_available()


def _interface_of(host: str) -> str:
    for name, entries in psutil.net_if_addrs().items():
        if any(entry.address == host for entry in entries):
            return name
    raise LinkError(f"cannot be connected with: this machine has no interface with the address {host}")
