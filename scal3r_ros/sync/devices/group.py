"""The group of processes that sum their gradients at every memory unit, seen from one of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor
from torch._C._distributed_c10d import AllgatherOptions, FileStore

from scal3r_ros.model import FastWeights

FOREVER = timedelta(days=1)
"""Timeout of a sum: the main process ends workers that keep the others waiting, so none has to give up."""


class GroupBrokenError(Exception):
    """A member is gone, so sums have no result any more."""


class Group:
    """A `Synchronizer` over torch.distributed. `about_to_sum` is called before every sum, and before rows are gathered.

    Every member ends a sum with the same bits: each part of it is added up by one member and copied to the others.
    All members must take part in the same number of sums between `begin_step` and the end of the step, whatever becomes
    of their chunks: `complete` does so for one that failed.
    """

    def __init__(self, about_to_sum: Callable[[], None]) -> None:
        self._about_to_sum = about_to_sum
        self._backend = "gloo"
        self._size = 1
        self._members: Sequence[int] = (1,)
        self._sums = 0
        self.passes = 0
        """Passes through the memory since the step began."""

    def form(self, meeting: Path, rank: int, size: int, backend: str, timeout_s: float) -> None:
        """Leaves the current group and meets the other members of the next; a group of one meets none.

        Raises:
            GroupBrokenError: not all of them came within `timeout_s`.
        """
        self.leave()
        self._size, self._backend = size, backend
        if size == 1:
            return
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # one box: nothing goes over its network
        try:
            store = FileStore(str(meeting), size)
            timeout = timedelta(seconds=timeout_s)
            store.set_timeout(timeout)
            dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=timeout)
        except RuntimeError as error:
            self.leave()
            raise GroupBrokenError(_first_line(error)) from error

    def leave(self) -> None:
        """Closes the connections, by which the others, who may wait for this one, notice."""
        self._size = 1
        if dist.is_initialized():
            with suppress(RuntimeError):  # of a group that is broken already
                dist.destroy_process_group()

    def abandon(self) -> None:
        """Ends a sum that waits for a lost member, from another thread; those of Gloo end by themselves."""
        if self._backend == "nccl" and dist.is_initialized() and dist.group.WORLD is not None:
            dist.group.WORLD.abort()

    def begin_step(self, members: Sequence[int]) -> None:
        """Begins a step; `members` tells how many members bring a chunk to each of its passes."""
        self._members = members
        self._sums = self.passes = 0

    def begin(self) -> int:
        """How many members bring a chunk to the pass through the memory that begins now."""
        self.passes += 1
        return self._members[self.passes - 1]

    def reduce(self, g: FastWeights) -> FastWeights:
        """The sum of all members' `g`; raises `GroupBrokenError`."""
        return FastWeights(*map(self._sum, g))

    def gather(self, rows: Tensor, counts: Sequence[int]) -> Tensor:
        """The rows of all members in order of rank, as many of each as `counts` tells; raises `GroupBrokenError`."""
        if self._size == 1:
            return rows
        own = (rows.cpu() if self._backend == "gloo" else rows).contiguous()
        most = max(counts)
        if len(own) < most:  # collectives want equal sizes
            own = torch.cat((own, own.new_zeros(most - len(own), *own.shape[1:])))
        all_rows = own.new_empty(self._size * most, *own.shape[1:])
        options = AllgatherOptions()
        options.timeout = FOREVER
        # As bytes, since Gloo does not know all types.
        self._wait_for(lambda world: world._allgather_base(_bytes_of(all_rows), _bytes_of(own), options))
        if min(counts) < most:
            parts = zip(torch.split(all_rows, most), counts, strict=True)
            all_rows = torch.cat([part[:count] for part, count in parts])
        return all_rows.to(rows.device)

    def quit(self) -> None:
        """Leaves the group in the middle of a step, which ends it for the others."""
        self.abandon()
        self.leave()

    def complete(self, sizes: Sequence[int], device: torch.device) -> None:
        """Adds zeros to the sums that are left of the step, for the sake of the others.

        `sizes` tells how many numbers each sum of one pass has. Raises `GroupBrokenError`.
        """
        for number in range(self._sums, len(sizes) * len(self._members)):
            self._sum(torch.zeros(sizes[number % len(sizes)], device=device))

    def _sum(self, own: Tensor) -> Tensor:
        self._sums += 1
        if self._size == 1:
            self._about_to_sum()
            return own
        total = own.cpu() if self._backend == "gloo" else own
        options = dist.AllreduceOptions()
        options.timeout = FOREVER
        self._wait_for(lambda world: world.allreduce([total], options))
        return total.to(own.device)

    def _wait_for(self, begin: Callable[[dist.ProcessGroup], dist.Work]) -> None:
        self._about_to_sum()
        try:
            assert dist.group.WORLD is not None, "a group of several has been formed"
            begin(dist.group.WORLD).wait()
        except RuntimeError as error:
            self.leave()
            raise GroupBrokenError(_first_line(error)) from error


def backend_of(devices: Sequence[str]) -> str:
    """What sums between some devices: NCCL between different GPUs, Gloo everything else."""
    gpus = all(device.startswith("cuda") for device in devices) and len(set(devices)) == len(devices)
    return "nccl" if gpus else "gloo"


def _bytes_of(tensor: Tensor) -> Tensor:
    return tensor.flatten().view(torch.uint8)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
