"""Several processes of one run, started by torchrun: replicas of the batch, and groups that share a sequence's chunks.

Within a group the memory's gradients are summed in the forward pass, and autograd goes back through the sum: the
paper's Global Context Synchronization. Over all processes the gradients of the weights are averaged.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from scal3r_ros.errors import TrainingError


@dataclass(frozen=True)
class Place:
    """Where a process stands: the `in_group`-th of a group of `group`, which is the `replica`-th of `replicas`."""

    in_group: int = 0
    group: int = 1
    replica: int = 0
    replicas: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes what the run writes."""
        return self.in_group == 0 and self.replica == 0


class Alone:
    """A run of one process."""

    place = Place()
    reduce = None

    def average(self, model: nn.Module) -> None:
        """There is nothing to average with."""

    def wait(self) -> None:
        """There is no other process to wait for."""

    def close(self) -> None:
        """There is nothing to end."""


class Together:
    """A run of several processes, one of which this is; the default process group exists already.

    Raises:
        TrainingError: the number of processes is no multiple of `group`.
    """

    def __init__(self, group: int) -> None:
        world, rank = dist.get_world_size(), dist.get_rank()
        if world % group:
            raise TrainingError(f"{world} processes do not divide into groups of chunk_group={group}")
        self.place = Place(rank % group, group, rank // group, world // group)
        # Every process has to take part in the creation of every group.
        groups = [dist.new_group(list(range(start, start + group))) for start in range(0, world, group)]
        self._group = groups[self.place.replica]
        self.reduce = self._sum if group > 1 else None

    def average(self, model: nn.Module) -> None:
        """Replaces the gradients by their mean over all processes."""
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        flat = torch.cat([g.flatten() for g in gradients])
        dist.all_reduce(flat)
        flat /= dist.get_world_size()
        for gradient, mean in zip(gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True):
            gradient.copy_(mean.view_as(gradient))

    def wait(self) -> None:
        """Until all processes are here."""
        dist.barrier()

    def close(self) -> None:
        """Leaves the other processes."""
        dist.destroy_process_group()

    def _sum(self, x: Tensor) -> Tensor:
        return _sum_over_group(x, self._group)


class _SumOverGroup(torch.autograd.Function):
    """Sum over processes. Each process's loss depends on every summand: so the gradients are summed as well."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Any) -> Tensor:
        ctx.group = group
        total = x.contiguous().clone()
        dist.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, None]:
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total, group=ctx.group)
        return total, None


_sum_over_group: Callable[[Tensor, Any], Tensor] = _SumOverGroup.apply


def join_run(chunk_group: int, devices: Iterable[str]) -> Alone | Together:
    """This process's place in the run: that which torchrun gave it, or alone.

    Raises:
        TrainingError: chunks are to be shared, but there is only one process.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        if chunk_group > 1:
            raise TrainingError(f"chunk_group is {chunk_group}, but there is one process: start the run by torchrun")
        return Alone()
    dist.init_process_group("nccl" if "cuda" in devices else "gloo")
    return Together(chunk_group)
