"""A chunk of frames through the network, answered by whichever memory it is given.

Shapes: S frames of a chunk, n of a part of it, N patches of a frame, C channels.

    frames ─ crop ─► images ─ encoder ─► tokens ─ layers ─► features ─┬─► camera head ─► T_chunk_cam, K
            (kept for shared frames)               ▲                  └─► depth head  ─► depth, confidence
                                                 memory

Three things are not computed, because nobody would read them: the encoder's tokens of frames that the chunk before
encoded, the point head (depth and cameras give the points, as in the released default), and depth of shared frames
beyond what the alignment needs.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from scal3r_ros.model import DenseMaps, MemoryRule, MemoryState, Scal3R
from scal3r_ros.model.aggregator import FastWeightSource, Grid, OtherFrames
from scal3r_ros.model.encoder.encoder import Encoding
from scal3r_ros.reconstruction.device import upload
from scal3r_ros.reconstruction.network.cache import TokenCache
from scal3r_ros.reconstruction.network.config import NetworkConfig
from scal3r_ros.reconstruction.network.crop import Crop, crop_of
from scal3r_ros.reconstruction.network.dividing.chunk_parts import FrameOrder, frames_with_depth, join, parts_of
from scal3r_ros.reconstruction.network.dividing.frame_split import cameras_of_all
from scal3r_ros.reconstruction.network.geometry import Answer, geometry_of
from scal3r_ros.reconstruction.protocol import Chunk, ChunkGeometry, Frame
from scal3r_ros.reconstruction.stage_timer import StageTimer

_STAGES = ("encoder_s", "layers_s", "cameras_s", "depth_s")


@dataclass(frozen=True)
class Pass:
    """One way of a chunk through the network: what answers it, what it may reuse, and what is noted on the way."""

    memory: FastWeightSource
    tokens: TokenCache
    timer: StageTimer
    notes: list[str] = field(default_factory=list)
    next: Chunk | None = None
    """The chunk that comes after it, whose frames may be encoded already."""

    def signed(self, geometry: ChunkGeometry) -> ChunkGeometry:
        """`geometry` with the notes and timings of this pass."""
        return replace(geometry, note="; ".join(self.notes), timings=self.timer.seconds())


def unit_sigma_of(model: Scal3R, memory: MemoryState) -> float | None:
    """How well `memory` carries the unit of its first chunk (see `ChunkGeometry`), as was measured with the weights.

    That holds of a memory that keeps all, and is one drive's: peers bring the unit of theirs.
    """
    alone = memory.rule is MemoryRule.RUNNING and memory.decay == 1 and memory.peers is None
    return model.unit_sigma if alone else None


class ChunkForward:
    """The network without its memory. State: how many frames the depth head is known to take at a time."""

    def __init__(self, model: Scal3R, config: NetworkConfig) -> None:
        self._model = model
        self._config = config
        self._head_frames = config.head_frames
        self.device: torch.device = model.aggregator.camera_token.device
        """Where the network is."""

    def begin(self, memory: FastWeightSource, tokens: TokenCache, next_chunk: Chunk | None = None) -> Pass:
        """A pass that `memory` answers; `tokens` are those of the chunk before, where they may be reused."""
        if self._config.compile and self._config.compile_shapes == "graphs":
            untyped: Callable[[], None] = torch.compiler.cudagraph_mark_step_begin
            untyped()  # what layers of the chunk before gave may be overwritten
        return Pass(memory, tokens, StageTimer(self.device, _STAGES), next=next_chunk)

    def crop(self, frames: Sequence[Frame]) -> Crop:
        """How the network sees `frames`; raises `ReconstructionError` where they differ in size."""
        preset = self._model.preset
        return crop_of(frames, self._config.image_width or preset.image_width, preset.patch)

    def measure(self, chunk: Chunk, through: Pass, frames_at_once: int | None = None) -> ChunkGeometry | None:
        """Geometry of `chunk`, whole or joined from parts of at most `frames_at_once` frames; None if not finite.

        Raises:
            ReconstructionError: images of different size.
            torch.OutOfMemoryError: parts of that size do not fit.
        """
        frames = len(chunk.frames)
        parts = parts_of(frames, frames_at_once or frames)
        wanted = set(frames_with_depth(frames, chunk.shared, self._config.overlap_depth_frames))
        wanted |= {position for one, other in itertools.pairwise(parts) for position in range(other.start, one.stop)}
        joined: ChunkGeometry | None = None
        for part in parts:
            asked = [position - part.start for position in part if position in wanted]
            geometry = self._measure_part(self.crop(chunk.frames[part.start : part.stop]), asked, through)
            if geometry is None:
                return None
            joined = geometry if joined is None else join(joined, geometry, len(joined.T_chunk_cam) - part.start)
        return joined

    def measure_share(self, chunk: Chunk, share: range, through: Pass, others: OtherFrames) -> ChunkGeometry | None:
        """Geometry of the frames at `share`, in the gauge of the whole chunk, whose other frames `others` has.

        None where some of it is not finite. Tokens of the encoder are neither reused nor kept: frames that the next
        chunk shares are in another process.

        Raises:
            ReconstructionError: images of different size.
            torch.OutOfMemoryError: the share does not fit.
        """
        crop, order = self.crop(chunk.frames), FrameOrder.of(len(chunk.frames))
        own = [position - share.start for position in order.positions if position in share]
        places = [own.index(position) for position in range(len(share))]
        asked = [
            position - share.start
            for position in frames_with_depth(len(chunk.frames), chunk.shared, self._config.overlap_depth_frames)
            if position in share
        ]
        with through.timer("encoder_s"):
            encoding = self._encode(crop, share)
        with through.timer("layers_s"):
            features = self._model.aggregate(encoding.patches[own], crop.grid, through.memory, others)
        decoded = places if self._model.sees_previous else [places[position] for position in asked]
        with through.timer("depth_s"):
            maps = self._depth(features, crop.grid, encoding.detail[own], decoded, through.notes)
        with through.timer("cameras_s"):
            focal = crop.focal() if self._config.use_camera_info else None
            pose_encoding_S9, maps = cameras_of_all(self._model, features[-1][places], maps, encoding, others, focal)
        if self._model.sees_previous:
            chosen = [share.start + position for position in asked]
            maps = DenseMaps(maps.values[chosen], maps.confidence[chosen])
        answer = Answer(pose_encoding_S9[share.start : share.stop], asked, maps, encoding.descriptor)
        return geometry_of(crop.part(share), answer, self._config)

    def free(self) -> None:
        """Frees the GPU memory of failed attempts; their exceptions must be gone by then."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _measure_part(self, crop: Crop, asked: list[int], through: Pass) -> ChunkGeometry | None:
        """Geometry of some frames in a gauge of their own, with depth for those at `asked`; None if not finite."""
        order = FrameOrder.of(len(crop.frames))
        if not self._config.keep_shared_tokens:
            through.tokens.clear()
        with through.timer("encoder_s"):
            encoding = through.tokens.encode(crop.frames, lambda fresh: self._encode(crop, fresh))
        with through.timer("layers_s"):
            features = self._model.aggregate(encoding.patches[order.positions], crop.grid, through.memory)
        if through.next is not None:
            frames = through.next.frames
            through.tokens.encode_ahead(frames, lambda fresh: self._encode(self.crop(frames), fresh))
        # A network that solves for the poses needs the depth of all frames.
        places = list(range(len(order.places))) if self._model.sees_previous else order.places_of(asked)
        with through.timer("depth_s"):
            maps = self._depth(features, crop.grid, encoding.detail[order.positions], places, through.notes)
        with through.timer("cameras_s"):
            known = Encoding(*(rows[order.positions] for rows in encoding))
            focal = crop.focal() if self._config.use_camera_info else None
            pose_encoding_S9, maps = self._model.cameras(features, maps, known, order.previous, focal)
        if self._model.sees_previous:
            chosen = order.places_of(asked)
            maps = DenseMaps(maps.values[chosen], maps.confidence[chosen])
        answer = Answer(pose_encoding_S9[order.places], asked, maps, encoding.descriptor)
        return geometry_of(crop, answer, self._config)

    def _encode(self, crop: Crop, fresh: Sequence[int]) -> Encoding:
        """Tokens of the frames at `fresh`, which follow each other; the one before them is shown if need be."""
        before = [fresh[0] - 1] if self._model.sees_previous and fresh[0] > 0 else []
        encoding = self._model.encode(upload(crop.images([*before, *fresh]), self.device))
        return Encoding(*(rows[len(before) :] for rows in encoding))

    def _depth(
        self, features: Sequence[Tensor], grid: Grid, detail: Tensor, places: list[int], notes: list[str]
    ) -> DenseMaps:
        """Depth at some places of the features, batch by batch; a batch that does not fit is halved, for good."""
        batches: list[DenseMaps] = []
        done = 0
        while done < len(places):
            batch = places[done : done + self._head_frames]
            try:
                maps = self._model.depth(
                    [tokens_SPC[batch] for tokens_SPC in features], grid, detail[batch], len(batch)
                )
                batches.append(
                    maps if self._model.sees_previous else DenseMaps(maps.values.cpu(), maps.confidence.cpu())
                )
                done += len(batch)
                continue
            except torch.OutOfMemoryError:
                if len(batch) == 1:
                    raise
            self.free()
            self._head_frames = len(batch) // 2
            notes.append(
                f"out of memory on {self.device}: the depth head now takes {self._head_frames} frames at a time"
            )
        if not batches:
            nothing = torch.zeros(0, 1, 1)
            return DenseMaps(nothing, nothing)
        return DenseMaps(torch.cat([maps.values for maps in batches]), torch.cat([maps.confidence for maps in batches]))


def memory_metrics(memory: MemoryState) -> Mapping[str, int | float]:
    """Chunks seen and, by layer, ‖G‖ and the relative change of W over the last chunk."""
    metrics: dict[str, int | float] = {"memory_chunks": memory.chunks_seen}
    metrics |= {f"memory_norm_{layer}": norm for layer, norm in memory.norms().items()}
    return metrics | {f"memory_change_{layer}": change for layer, change in memory.changes().items()}
