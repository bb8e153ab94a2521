"""The network of one worker, which takes its chunks, or its share of a chunk, in step with those of the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from scal3r_ros.model import FastWeights, MemoryMark, MemoryRule, MemoryState, Peers, Synchronizer
from scal3r_ros.reconstruction.network.cache import TokenCache
from scal3r_ros.reconstruction.network.config import NetworkConfig
from scal3r_ros.reconstruction.network.dividing.frame_split import FrameShare, GatheredFrames
from scal3r_ros.reconstruction.network.forward import ChunkForward, memory_metrics, unit_sigma_of
from scal3r_ros.reconstruction.network.reconstructor import recalled
from scal3r_ros.reconstruction.network.setup import build_network, compute_type
from scal3r_ros.reconstruction.protocol import Chunk, ChunkGeometry
from scal3r_ros.sync.devices.messages import Space
from scal3r_ros.sync.exchange.layout import SharedNetwork


class Members(Synchronizer, Protocol):
    """The workers of a box, seen from one of them."""

    def gather(self, rows: Tensor, counts: Sequence[int]) -> Tensor:
        """The rows of all workers in order of rank, as many of each as `counts` tells."""


class NetworkInStep:
    """A network whose memory learns from the chunks of all workers. For one thread.

    Nothing is undone or tried again here: that has to be agreed on with the others.

    Args:
        config: the network, on one device.
        members: sums the memory's gradients over the workers, and gathers what they have of a chunk.
        peers: makes what other boxes have learned, for a device; None where nothing is shared.

    Raises:
        ReconstructionError: no weights, or a device or compiler that cannot be used.
        ModelError: a checkpoint that does not fit the preset.
    """

    def __init__(
        self,
        config: NetworkConfig,
        members: Members,
        peers: Callable[[torch.device], Peers] | None = None,
    ) -> None:
        self._model = build_network(config)
        self._forward = ChunkForward(self._model, config)
        rule = MemoryRule(config.memory.rule)
        others = None if peers is None else peers(self.device)
        self._memory = MemoryState(self._model.preset, rule, config.memory.decay, members, others)
        self._members = members
        self._compute = compute_type(config, self.device)
        self._tokens = TokenCache()

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self._forward.device

    def shared(self) -> SharedNetwork:
        """What other boxes have to know of the network."""
        return SharedNetwork.of(self._model)

    def space(self) -> Space | None:
        """The memory of the device, where that is a GPU."""
        if self.device.type != "cuda":
            return None
        return Space(torch.cuda.get_device_properties(self.device).total_memory, self._compute)

    def attempt(
        self, chunk: Chunk, frames_at_once: int | None, share: FrameShare | None = None
    ) -> ChunkGeometry | None:
        """One try at a chunk, in parts of at most `frames_at_once` frames, or at a `share` of its frames.

        None where it is not finite.

        Raises:
            ReconstructionError: images of different size.
            torch.OutOfMemoryError: parts of that size, or the share, do not fit.
        """
        with torch.inference_mode():
            learning = self._forward.begin(self._memory, self._tokens)
            if share is None:
                geometry = self._forward.measure(chunk, learning, frames_at_once)
            else:
                self._tokens.clear()
                others = GatheredFrames(share, self._members.gather)
                geometry = self._forward.measure_share(chunk, share.own, learning, others)
            if geometry is None:
                return None
            return replace(learning.signed(geometry), unit_sigma=unit_sigma_of(self._model, self._memory))

    def learn_from_others(self, passes: int) -> None:
        """Takes part in as many passes through the memory without an own chunk."""
        with torch.inference_mode():
            for _ in range(passes):
                self._memory.stand_by(self._model.aggregator.units())

    def recall(self, chunk: Chunk) -> ChunkGeometry | None:
        """Geometry of `chunk` as the memory answers it; nothing is learned. None if not finite, or it does not fit."""
        with torch.inference_mode():
            return recalled(chunk, self._forward, self._memory)

    def sizes_summed(self) -> tuple[int, ...]:
        """How many numbers the synchronizer sums at a time in one pass through the memory, in order."""
        if self._memory.rule is MemoryRule.FROZEN:
            return ()
        return tuple(w.numel() for _, unit in self._model.aggregator.units() for w in unit.initial)

    def layers(self) -> tuple[int, ...]:
        """The layers that have memory units."""
        return tuple(layer for layer, _ in self._model.aggregator.units())

    def mark(self) -> MemoryMark:
        """Where the memory stands now."""
        return self._memory.mark()

    def rewind(self, mark: MemoryMark) -> None:
        """Forgets all since `mark`, and frees what a failed attempt used."""
        self._memory.rewind(mark)
        self._tokens.clear()
        self._forward.free()

    def reset(self) -> None:
        """Forgets everything."""
        self._memory.reset()
        self._tokens.clear()

    def snapshot(self, path: Path, sessions: Iterable[str] = ()) -> None:
        """Writes what the memory has learned; `ModelError` where the disk refuses it. See `MemoryState.snapshot`."""
        self._memory.snapshot(path, sessions)

    def restore(self, path: Path) -> None:
        """Continues with the memory in `path`; `ModelError` where it is none, or one of another preset or rule."""
        self._memory.restore(path, self.device)
        self._tokens.clear()

    def accumulated_gradient(self) -> Mapping[int, FastWeights]:
        """What the memory has learned from the chunks of all workers, by layer."""
        return self._memory.accumulated_gradient()

    def metrics(self) -> Mapping[str, int | float]:
        """Chunks seen by the memory and, by layer, ‖G‖ and the relative change of W."""
        return memory_metrics(self._memory)
