"""The best-quality pass over a recording: every chunk is answered by a memory that has learnt from all of them.

The released algorithm goes through the network layer by layer, all chunks at a time; what chunks carry from layer to
layer lies on disk, so that one chunk at a time is in memory. It needs all chunks before it answers the first.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from safetensors import SafetensorError
from torch import Tensor

from scal3r_ros.errors import ReconstructionError
from scal3r_ros.model import OnDisk, Prediction, Scal3R, reconstruct_offline
from scal3r_ros.reconstruction.network.chunk_parts import previous_in, reference_first
from scal3r_ros.reconstruction.network.config import NetworkConfig
from scal3r_ros.reconstruction.network.crop import Crop, crop_of
from scal3r_ros.reconstruction.network.geometry import Answer, constant_velocity, geometry_of
from scal3r_ros.reconstruction.network.setup import build_network
from scal3r_ros.reconstruction.protocol import Chunk, ChunkGeometry, ChunkStep, Frame, Previous


class OfflineReconstructor:
    """A network that is shown all chunks by `learn`, then gives the geometry of each, in the same order and gauge.

    Args:
        config: which network; what concerns the memory's rule and economies between chunks has no effect.
        folder: where chunks are kept meanwhile; must exist, be empty and have about 40 · S · P · C bytes a chunk for S
            frames of P tokens with C channels: 0.2 GB for the full preset and 12 frames.
        model: a network to run instead of the one that `config` would build.
        refine: done to every chunk that the network has answered.

    Raises:
        ReconstructionError: no weights, or a device or compiler that can not be used.
        ModelError: a checkpoint that does not fit the preset.
    """

    def __init__(
        self, config: NetworkConfig, folder: Path, model: Scal3R | None = None, *, refine: ChunkStep | None = None
    ) -> None:
        self._config = config
        self._model = build_network(config) if model is None else model
        self._folder = folder
        self._refine = refine
        self._learnt: list[tuple[tuple[int, int], ...]] = []
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
    def memory(self) -> None:
        """The memory belongs to the recording at hand."""
        return None

    @property
    def recall(self) -> None:
        """None: what the memory has learned is not kept after the last layer."""
        return None

    def learn(self, chunks: Iterable[Chunk]) -> None:
        """Goes through all `chunks` once, then through all layers.

        Raises:
            ReconstructionError: images of different size within a chunk, or a disk that does not take the states.
        """
        self._learnt, self._focals = [], []
        self._predictions = reconstruct_offline(
            self._model,
            map(self._images, chunks),
            OnDisk(self._folder),
            with_points=False,
            previous=lambda frames: previous_in(reference_first(frames)),
            focals=lambda chunk: self._focals[chunk],
        )
        self._next = self._advance()

    def reconstruct(self, chunk: Chunk, previous: Previous | None, following: Sequence[Chunk] = ()) -> ChunkGeometry:
        """Geometry of the next of the chunks that were learnt from, in the network's gauge.

        Raises:
            ReconstructionError: `chunk` is another one, or the states can not be read back.
        """
        if not self._learnt or self._learnt.pop(0) != _identity(chunk):
            raise ReconstructionError(f"chunk {chunk.index} is not the one that was learnt from at its place")
        started = time.perf_counter()
        prediction, self._next = self._next or self._advance(), None
        assert prediction is not None, "there are as many predictions as chunks"
        framing = self._framing(chunk.frames)
        order = reference_first(len(chunk.frames))
        place = [order.index(position) for position in range(len(order))]
        answer = Answer(
            pose_encoding=prediction.pose_encoding[place],
            asked=order,
            maps=prediction.depth,
            descriptor=prediction.descriptors[place],
        )
        geometry = geometry_of(framing, answer, self._config)
        if geometry is None:
            geometry = constant_velocity(chunk, previous, framing)
        geometry = replace(geometry, timings={"heads_s": time.perf_counter() - started})
        return geometry if self._refine is None else self._refine(chunk, geometry, previous)

    def reset(self) -> None:
        """Forgets all chunks; none can be reconstructed until others are learnt."""
        self._learnt, self._next, self._predictions = [], None, iter(())

    def close(self) -> None:
        """Nothing to end."""

    def metrics(self) -> Mapping[str, int | float]:
        """Chunks that wait for their geometry."""
        return {"offline_chunks": len(self._learnt)}

    def _framing(self, frames: tuple[Frame, ...]) -> Crop:
        preset = self._model.preset
        return crop_of(frames, self._config.image_width or preset.image_width, preset.patch)

    def _images(self, chunk: Chunk) -> Tensor:
        self._learnt.append(_identity(chunk))
        framing = self._framing(chunk.frames)
        self._focals.append(framing.focal() if self._config.use_camera_info else None)
        return framing.images(reference_first(len(chunk.frames)))

    def _advance(self) -> Prediction | None:
        try:
            return next(self._predictions, None)
        except (OSError, SafetensorError) as error:
            raise ReconstructionError(
                f"the states of the offline pass can not be kept in {self._folder}: {error}; it needs more room there"
            ) from error


def _identity(chunk: Chunk) -> tuple[tuple[int, int], ...]:
    return tuple((frame.index, frame.stamp_ns) for frame in chunk.frames)
