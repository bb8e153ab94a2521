"""The best-quality pass over a recording: every chunk is answered by a memory that has learned from all of them.

The released algorithm takes all chunks through the network layer by layer; what chunks carry from layer to layer lies
on disk, so that one chunk at a time is in RAM. It needs all chunks before it answers the first.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor

from scal3r_ros.errors import ReconstructionError
from scal3r_ros.model import MemoryState, OnDisk, Prediction, Scal3R, reconstruct_offline
from scal3r_ros.reconstruction.network.config import NetworkConfig
from scal3r_ros.reconstruction.network.dividing.chunk_parts import FrameOrder
from scal3r_ros.reconstruction.network.forward import ChunkForward
from scal3r_ros.reconstruction.network.geometry import Answer, constant_velocity, geometry_of
from scal3r_ros.reconstruction.network.reconstructor import recalled
from scal3r_ros.reconstruction.network.setup import build_network
from scal3r_ros.reconstruction.protocol import Chunk, ChunkGeometry, ChunkStep, LearnedMemory, Previous


class OfflineReconstructor:
    """A network that sees all chunks in `learn`, then gives the geometry of each, in the same order and gauge.

    Its memory is that of the rule running: a saved map keeps it, and any network of that rule continues from it.

    Args:
        config: which network; the rule of the memory and economies between chunks have no effect.
        folder: where chunks are kept meanwhile; must exist, be empty and have about 40 · S · P · C bytes a chunk for S
            frames of P tokens with C channels: 0.2 GB for the full preset and 12 frames.
        model: a network to run instead of the one that `config` would build.
        refine: done to every chunk that the network has answered.

    Raises:
        ReconstructionError: no weights, or a device or compiler that cannot be used.
        ModelError: a checkpoint that does not fit the preset.
    """

    def __init__(
        self, config: NetworkConfig, folder: Path, model: Scal3R | None = None, *, refine: ChunkStep | None = None
    ) -> None:
        self._config = config
        self._model = build_network(config) if model is None else model
        self._forward = ChunkForward(self._model, config)
        self._folder = folder
        self._refine = refine
        self._lock = threading.Lock()
        self._memory = MemoryState(self._model.preset)
        self._before = self._memory.mark()
        self._learned: list[tuple[tuple[int, int], ...]] = []
        self._focals: list[float | None] = []
        self._predictions: Iterator[Prediction] = iter(())
        self._next: Prediction | None = None

    @property
    def name(self) -> str:
        """Name as in the parameter `reconstructor`."""
        return "scal3r"

    @property
    def max_parallel_chunks(self) -> int:
        """One chunk at a time."""
        return 1

    @property
    def memory(self) -> LearnedMemory | None:
        """None for a network without memory units."""
        return None if self._model.preset.memory is None else self

    def learn(self, chunks: Iterable[Chunk]) -> None:
        """Takes all `chunks` through all layers; the memory begins as it was made, or as it was restored.

        Raises:
            ReconstructionError: images of different size within a chunk, or a disk that refuses the states.
        """
        with self._lock:
            self._memory.rewind(self._before)
            self._learned, self._focals = [], []
            self._predictions = reconstruct_offline(
                self._model,
                map(self._images, chunks),
                OnDisk(self._folder),
                with_points=False,
                previous=lambda frames: FrameOrder.of(frames).previous,
                focals=lambda chunk: self._focals[chunk],
                memory=self._memory,
            )
            self._next = self._advance()

    def reconstruct(self, chunk: Chunk, previous: Previous | None, following: Sequence[Chunk] = ()) -> ChunkGeometry:
        """Geometry of the next of the chunks that were learned from, in the network's gauge.

        Raises:
            ReconstructionError: `chunk` is another one, or the states cannot be read back.
        """
        with self._lock:
            geometry = self._decoded(chunk, previous)
        return geometry if self._refine is None else self._refine(chunk, geometry, previous)

    def recall(self, chunk: Chunk) -> ChunkGeometry | None:
        """Geometry of any chunk as the memory answers it; None where it is not finite or does not fit on the device.

        Raises:
            ReconstructionError: images of different size.
        """
        with self._lock, torch.inference_mode():
            geometry = recalled(chunk, self._forward, self._memory)
        return geometry if geometry is None or self._refine is None else self._refine(chunk, geometry, None)

    def snapshot(self, path: Path) -> None:
        """Writes what the memory has learned; `ModelError` where the disk refuses it."""
        with self._lock:
            self._memory.snapshot(path)

    def restore(self, path: Path) -> None:
        """Forgets all chunks; the next `learn` continues from the memory in `path`.

        Raises:
            ModelError: it is none, or one of another preset or of a rule other than running.
        """
        with self._lock:
            self._memory.restore(path, self._forward.device)
            self._forget_chunks()

    def reset(self) -> None:
        """Forgets the memory and all chunks; none can be reconstructed until others are learned from."""
        with self._lock:
            self._memory.reset()
            self._forget_chunks()

    def close(self) -> None:
        """Nothing to end."""

    def metrics(self) -> Mapping[str, int | float]:
        """Chunks that wait for their geometry."""
        return {"offline_chunks": len(self._learned)}

    def _decoded(self, chunk: Chunk, previous: Previous | None) -> ChunkGeometry:
        if not self._learned or self._learned.pop(0) != _identity(chunk):
            raise ReconstructionError(f"chunk {chunk.index} is not the one that was learned from at its place")
        started = time.perf_counter()
        prediction, self._next = self._next or self._advance(), None
        assert prediction is not None, "there are as many predictions as chunks"
        crop, order = self._forward.crop(chunk.frames), FrameOrder.of(len(chunk.frames))
        answer = Answer(
            pose_encoding=prediction.pose_encoding[order.places],
            asked=order.positions,
            maps=prediction.depth,
            descriptor=prediction.descriptors[order.places],
        )
        geometry = geometry_of(crop, answer, self._config)
        if geometry is None:
            geometry = constant_velocity(chunk, previous, crop)
        return replace(geometry, timings={"heads_s": time.perf_counter() - started})

    def _forget_chunks(self) -> None:
        self._before = self._memory.mark()
        self._learned, self._next, self._predictions = [], None, iter(())

    def _images(self, chunk: Chunk) -> Tensor:
        self._learned.append(_identity(chunk))
        crop = self._forward.crop(chunk.frames)
        self._focals.append(crop.focal() if self._config.use_camera_info else None)
        return crop.images(FrameOrder.of(len(chunk.frames)).positions)

    def _advance(self) -> Prediction | None:
        try:
            return next(self._predictions, None)
        except (OSError, SafetensorError) as error:
            raise ReconstructionError(
                f"the states of the offline pass cannot be kept in {self._folder}: {error}; it needs more room there"
            ) from error


def _identity(chunk: Chunk) -> tuple[tuple[int, int], ...]:
    return tuple((frame.index, frame.stamp_ns) for frame in chunk.frames)
