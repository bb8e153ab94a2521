"""The reconstructor `scal3r`: chunks go through the network one after another, and its memory learns from each."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import torch

from scal3r_ros.errors import ReconstructionError
from scal3r_ros.model import FastWeights, MemoryRule, MemoryState, Peers, Scal3R
from scal3r_ros.reconstruction.network.cache import EncoderAhead, TokenCache
from scal3r_ros.reconstruction.network.config import NetworkConfig
from scal3r_ros.reconstruction.network.dividing.chunk_parts import SMALLEST_PART
from scal3r_ros.reconstruction.network.forward import ChunkForward, Pass, memory_metrics, unit_sigma_of
from scal3r_ros.reconstruction.network.geometry import constant_velocity
from scal3r_ros.reconstruction.network.setup import build_network
from scal3r_ros.reconstruction.protocol import Chunk, ChunkGeometry, ChunkStep, LearnedMemory, Previous


class MemoryExchange(Peers, Protocol):
    """What other robots have learned, from `start` until `close`."""

    def start(self, gradients: Callable[[], Mapping[int, FastWeights]]) -> None:
        """Begins to share `gradients`: this robot's accumulated gradient by layer, which it never waits for."""

    def sessions(self) -> Collection[str]:
        """The starts of this robot whose learning its accumulated gradient contains."""

    def contain(self, sessions: Collection[str]) -> None:
        """The accumulated gradient now contains what was learned in `sessions`: peers count it once."""

    def reset(self) -> None:
        """Forgets, here and at all peers, what earlier starts of this robot have learned."""

    def metrics(self) -> Mapping[str, int | float]:
        """Numbers about the peers; never waits."""

    def close(self) -> None:
        """Sends the peers the last that was learned, within a deadline, and leaves them."""


class NetworkReconstructor:
    """A network and the memory of one drive. All public methods may be called from any thread; they wait for a chunk.

    The gauge of a chunk is the network's own: about the frame of the middle camera, and a scale in which most depths
    are near one. Confidence c ≥ 1 of the network becomes (c − 1) / (c − 1 + confidence_half − 1), which keeps its
    order, lies in 0 … 1 and is ½ at `confidence_half`.

    Args:
        config: which network, and what to spend.
        model: a network to run instead of the one that `config` would build; its device and types are kept.
        peers: other robots to share the memory with: what they have learned answers this one's chunks, too. `reset`
            empties this robot's share; what the peers have taught stays.
        refine: done to every chunk that the network has answered, also where the memory does not learn from it.

    Raises:
        ReconstructionError: no weights, or a device or compiler that cannot be used.
        ModelError: a checkpoint that does not fit the preset.
    """

    def __init__(
        self,
        config: NetworkConfig,
        model: Scal3R | None = None,
        *,
        peers: MemoryExchange | None = None,
        refine: ChunkStep | None = None,
    ) -> None:
        self._model = build_network(config) if model is None else model
        self._forward = ChunkForward(self._model, config)
        self._ahead = config.encode_ahead
        self._memory = MemoryState(self._model.preset, MemoryRule(config.memory.rule), config.memory.decay, peers=peers)
        self._tokens = TokenCache(EncoderAhead(self._forward.device) if config.encode_ahead else None)
        self._lock = threading.Lock()
        self._frames_at_once: int | None = None
        self._metrics: Mapping[str, int | float] = {}
        self._refine = refine
        self._peers = peers
        if peers is not None:
            peers.start(self._memory.accumulated_gradient)

    @property
    def name(self) -> str:
        """Name as in the parameter `reconstructor`."""
        return "scal3r"

    @property
    def max_parallel_chunks(self) -> int:
        """One chunk at a time, and the encoder of the next where that goes ahead."""
        return 2 if self._ahead else 1

    @property
    def memory(self) -> LearnedMemory | None:
        """None for a network without memory units."""
        return None if self._model.preset.memory is None else self

    def reset(self) -> None:
        """Forgets what the memory has learned."""
        with self._lock:
            self._memory.reset()
            if self._peers is not None:
                self._peers.reset()
            self._tokens.clear()
            self._metrics = {}

    def snapshot(self, path: Path) -> None:
        """Writes what the memory has learned from this robot's chunks; `ModelError` where the disk refuses it."""
        with self._lock:
            self._memory.snapshot(path, () if self._peers is None else self._peers.sessions())

    def restore(self, path: Path) -> None:
        """Continues with the memory in `path`; `ModelError` where it is none, or one of another preset or rule."""
        with self._lock:
            sessions = self._memory.restore(path, self._forward.device)
            if self._peers is not None:
                self._peers.contain(sessions)
            self._tokens.clear()

    def accumulated_gradient(self) -> Mapping[int, FastWeights]:
        """What the memory has learned from its own chunks, by layer, on its device; replaced, never changed in place.

        Never waits.
        """
        return self._memory.accumulated_gradient()

    def close(self) -> None:
        """Leaves the peers, where there are any."""
        self._tokens.close()
        if self._peers is not None:
            self._peers.close()

    def metrics(self) -> Mapping[str, int | float]:
        """The memory after the last chunk: chunks seen and, by layer, ‖G‖ and the relative change of W; and the peers.

        Never waits.
        """
        return self._metrics if self._peers is None else {**self._metrics, **self._peers.metrics()}

    def reconstruct(self, chunk: Chunk, previous: Previous | None, following: Sequence[Chunk] = ()) -> ChunkGeometry:
        """Geometry of `chunk`, which the memory learns from.

        A chunk whose answer is not finite teaches nothing, and its motion is predicted from `previous` by constant
        velocity. Where the GPU's memory does not suffice, the depth head takes fewer frames at a time, then the layers
        do; the note says so, and later chunks begin with what was found to fit.

        Raises:
            ReconstructionError: images of different size, or a GPU too small for two frames.
        """
        with self._lock, torch.inference_mode():
            learning = self._forward.begin(self._memory, self._tokens, next(iter(following), None))
            before = self._memory.mark()
            geometry = self._within_gpu_memory(chunk, learning)
            if geometry is None:
                self._memory.rewind(before)
                self._tokens.clear()
                geometry = constant_velocity(chunk, previous, self._forward.crop(chunk.frames))
                learning.notes.append(geometry.note)
            self._metrics = memory_metrics(self._memory)
            geometry = replace(learning.signed(geometry), unit_sigma=unit_sigma_of(self._model, self._memory))
        return geometry if self._refine is None else self._refine(chunk, geometry, previous)

    def recall(self, chunk: Chunk) -> ChunkGeometry | None:
        """Geometry of `chunk` as the memory answers it now; the memory does not learn, and all else stays as it was.

        None where nothing finite comes out, or the device's memory does not suffice.

        Raises:
            ReconstructionError: images of different size.
        """
        with self._lock, torch.inference_mode():
            geometry = recalled(chunk, self._forward, self._memory)
        return geometry if geometry is None or self._refine is None else self._refine(chunk, geometry, None)

    def _within_gpu_memory(self, chunk: Chunk, learning: Pass) -> ChunkGeometry | None:
        """Tries again with smaller parts, until the device's memory suffices; None where nothing finite came out."""
        before = self._memory.mark()
        while True:
            try:
                return self._forward.measure(chunk, learning, self._frames_at_once)
            except torch.OutOfMemoryError as error:
                reason = str(error).partition("\n")[0]
            # Only now, with the exception gone, is the memory of the attempt free.
            self._memory.rewind(before)
            self._forward.free()
            frames = min(self._frames_at_once or len(chunk.frames), len(chunk.frames))
            if frames <= SMALLEST_PART:
                raise ReconstructionError(
                    f"preset {self._model.preset.name} does not fit on {self._forward.device} even with {frames} frames"
                    f" ({reason}): choose a smaller preset or network.image_width"
                )
            self._frames_at_once = max(SMALLEST_PART, -(-frames // 2))
            learning.notes.append(
                f"out of memory on {self._forward.device}: chunks now go in parts of {self._frames_at_once} frames"
            )


def recalled(chunk: Chunk, forward: ChunkForward, memory: MemoryState) -> ChunkGeometry | None:
    """Geometry of `chunk` as `memory` answers it, which learns nothing; None where it is not finite or does not fit."""
    reading = forward.begin(memory.recall, TokenCache())
    try:
        return forward.measure(chunk, reading)
    except torch.OutOfMemoryError:
        pass
    forward.free()  # only now, with the exception gone, is the memory of the attempt free
    return None
