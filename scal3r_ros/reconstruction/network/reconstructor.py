"""The reconstructor `scal3r`: a chunk of frames through the network, whose memory learns from every chunk.

Shapes: S frames of a chunk, n of a part of it, N patches of a frame, C channels.

    frames ─ framing ─► images ─ encoder ─► tokens ─ layers ─► features ─┬─► camera head ─► T_chunk_cam, K
               (kept for shared frames)                ▲                 └─► depth head  ─► depth, confidence
                                                    memory

What is not computed, because nobody would read it: the encoder's tokens of frames that the chunk before encoded, the
point head (depth and cameras give the points, as in the released default), and depth of shared frames beyond what the
alignment needs.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from scal3r_ros.errors import ReconstructionError
from scal3r_ros.model import DenseMaps, FastWeights, MemoryMark, MemoryRule, MemoryState, Peers, Scal3R, Synchronizer
from scal3r_ros.model.aggregator import FastWeightSource, Grid
from scal3r_ros.model.encoder.encoder import Encoding
from scal3r_ros.reconstruction.network.cache import TokenCache
from scal3r_ros.reconstruction.network.chunk_parts import (
    SMALLEST_PART,
    frames_with_depth,
    join,
    parts_of,
    previous_in,
    reference_first,
)
from scal3r_ros.reconstruction.network.config import NetworkConfig
from scal3r_ros.reconstruction.network.crop import Crop, crop_of
from scal3r_ros.reconstruction.network.geometry import Answer, constant_velocity, geometry_of
from scal3r_ros.reconstruction.network.setup import build_network
from scal3r_ros.reconstruction.protocol import Chunk, ChunkGeometry, ChunkStep, Frame, LearnedMemory, Previous
from scal3r_ros.reconstruction.stage_timer import StageTimer

_STAGES = ("encoder_s", "layers_s", "cameras_s", "depth_s")


class MemoryExchange(Peers, Protocol):
    """What other robots have learned, from `start` until `close`."""

    def start(self, gradients: Callable[[], Mapping[int, FastWeights]]) -> None:
        """Begins to share `gradients`: this robot's accumulated gradient by layer, which it never waits for."""

    def metrics(self) -> Mapping[str, int | float]:
        """Numbers about the peers; never waits."""

    def close(self) -> None:
        """Sends the peers the last that was learned, within a deadline, and leaves them."""


class _Pass(NamedTuple):
    """What a chunk meets on its way through the network."""

    memory: FastWeightSource
    tokens: TokenCache


class NetworkReconstructor:
    """A network and the memory of one drive. All public methods may be called from any thread; they wait for a chunk.

    The gauge of a chunk is the network's own: about the frame of the middle camera, and a scale in which most depths
    are near one. Confidence c ≥ 1 of the network becomes (c − 1) / (c − 1 + confidence_half − 1), which keeps its
    order, lies in 0 … 1 and is ½ at `confidence_half`.

    Args:
        config: which network, and what to spend.
        model: a network to run instead of the one that `config` would build; its device and types are kept.
        synchronizer: sums the memory's gradients over processes that reconstruct consecutive chunks in step.
        peers: other robots to share the memory with: what they have learned answers this one's chunks, too. `reset`
            empties this robot's share; what the peers have taught stays.
        refine: done to every chunk that the network has answered, also where the memory does not learn from it.

    Raises:
        ReconstructionError: no weights, or a device or compiler that can not be used.
        ModelError: a checkpoint that does not fit the preset.
    """

    def __init__(
        self,
        config: NetworkConfig,
        model: Scal3R | None = None,
        *,
        synchronizer: Synchronizer | None = None,
        peers: MemoryExchange | None = None,
        refine: ChunkStep | None = None,
    ) -> None:
        self._config = config
        self._model = build_network(config) if model is None else model
        self._device = self._model.aggregator.camera_token.device
        rule, decay = MemoryRule(config.memory.rule), config.memory.decay
        self._memory = MemoryState(self._model.preset, rule, decay, synchronizer, peers)
        self._tokens = TokenCache()
        self._lock = threading.Lock()
        self._head_frames = config.head_frames
        self._frames_at_once: int | None = None
        self._figures: Mapping[str, int | float] = {}
        self._refine = refine
        self._peers = peers
        if peers is not None:
            peers.start(self._memory.evidence)

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

    def reset(self) -> None:
        """Forgets what the memory has learnt."""
        with self._lock:
            self._memory.reset()
            self._tokens.clear()
            self._figures = {}

    def snapshot(self, path: Path) -> None:
        """Writes what the memory has learnt so far; `ModelError` where the disk does not take it."""
        with self._lock:
            self._memory.snapshot(path)

    def restore(self, path: Path) -> None:
        """Continues with the memory in `path`; `ModelError` where it is none, or one of another preset or rule."""
        with self._lock:
            self._memory.restore(path, self._device)
            self._tokens.clear()

    def evidence(self) -> Mapping[int, FastWeights]:
        """What the memory has gathered by itself, by layer, on its device; tensors are never changed. Never waits."""
        return self._memory.evidence()

    def close(self) -> None:
        """Leaves the peers, where there are any."""
        if self._peers is not None:
            self._peers.close()

    def metrics(self) -> Mapping[str, int | float]:
        """The memory after the last chunk: chunks seen and, by layer, ‖G‖ and the relative change of W; and the peers.

        Never waits.
        """
        return self._figures if self._peers is None else {**self._figures, **self._peers.metrics()}

    def reconstruct(self, chunk: Chunk, previous: Previous | None, following: Sequence[Chunk] = ()) -> ChunkGeometry:
        """Geometry of `chunk`, which the memory learns from.

        A chunk of which the network makes nothing finite teaches nothing, and its motion is carried on from `previous`.
        Where the GPU's memory does not suffice, the depth head takes fewer frames at a time, then the layers do; the
        note says so, and later chunks begin with what was found to fit.

        Raises:
            ReconstructionError: images of different size, or a GPU too small for two frames.
        """
        with self._lock, torch.inference_mode():
            timer, notes = StageTimer(self._device, _STAGES), list[str]()
            before = self._memory.mark()
            geometry = self._within_memory(chunk, timer, notes)
            if geometry is None:
                self._memory.rewind(before)
                self._tokens.clear()
                geometry = constant_velocity(chunk, previous, self._framing(chunk.frames))
                notes.append(geometry.note)
            self._figures = _figures_of(self._memory)
            geometry = replace(geometry, note="; ".join(notes), timings=timer.seconds())
        return geometry if self._refine is None else self._refine(chunk, geometry, previous)

    def recall(self, chunk: Chunk) -> ChunkGeometry | None:
        """Geometry of `chunk` as the memory answers it now; the memory does not learn, and all else stays as it was.

        None where nothing finite comes out, or the device's memory does not suffice.

        Raises:
            ReconstructionError: images of different size.
        """
        with self._lock, torch.inference_mode():
            geometry = self._read(chunk)
        return geometry if geometry is None or self._refine is None else self._refine(chunk, geometry, None)

    def _read(self, chunk: Chunk) -> ChunkGeometry | None:
        try:
            reading = _Pass(self._memory.recall, TokenCache())
            return self._measure(chunk, StageTimer(self._device, _STAGES), [], reading)
        except torch.OutOfMemoryError:
            pass
        self._free()  # only now, with the exception gone, is what the attempt held free
        return None

    def attempt(self, chunk: Chunk, frames_at_once: int | None = None) -> ChunkGeometry | None:
        """One try at a chunk that goes in step with others, in parts of at most `frames_at_once` frames.

        Nothing is undone or tried again: that has to be agreed on with the others. None where nothing finite came out.

        Raises:
            ReconstructionError: images of different size.
            torch.OutOfMemoryError: parts of that size do not fit.
        """
        with self._lock, torch.inference_mode():
            self._frames_at_once = frames_at_once
            timer, notes = StageTimer(self._device, _STAGES), list[str]()
            geometry = self._measure(chunk, timer, notes, self._learning)
            self._figures = _figures_of(self._memory)
            return None if geometry is None else replace(geometry, note="; ".join(notes), timings=timer.seconds())

    def stand_by(self, passes: int) -> None:
        """Learns from as many chunks of other processes, without any of its own."""
        with self._lock, torch.inference_mode():
            for _ in range(passes):
                self._memory.stand_by(self._model.aggregator.units())
            self._figures = _figures_of(self._memory)

    def sizes_summed(self) -> tuple[int, ...]:
        """How many numbers a synchronizer sums at a time in one pass through the memory, in order."""
        if self._memory.rule is MemoryRule.FROZEN:
            return ()
        return tuple(w.numel() for _, unit in self._model.aggregator.units() for w in unit.initial)

    def mark(self) -> MemoryMark:
        """Where the memory stands now."""
        with self._lock:
            return self._memory.mark()

    def rewind(self, mark: MemoryMark) -> None:
        """Forgets all since `mark`, and lets go of what an attempt that failed held."""
        with self._lock:
            self._memory.rewind(mark)
            self._tokens.clear()
            self._free()

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self._device

    def _framing(self, frames: Sequence[Frame]) -> Crop:
        preset = self._model.preset
        return crop_of(frames, self._config.image_width or preset.image_width, preset.patch)

    def _within_memory(self, chunk: Chunk, timer: StageTimer, notes: list[str]) -> ChunkGeometry | None:
        """Tries again with smaller parts, until the device's memory suffices; None where nothing finite came out."""
        before = self._memory.mark()
        while True:
            try:
                return self._measure(chunk, timer, notes, self._learning)
            except torch.OutOfMemoryError as error:
                reason = str(error).partition("\n")[0]
            # Only now, with the exception gone, is what the attempt held free.
            self._memory.rewind(before)
            self._free()
            frames = min(self._frames_at_once or len(chunk.frames), len(chunk.frames))
            if frames <= SMALLEST_PART:
                raise ReconstructionError(
                    f"preset {self._model.preset.name} does not fit on {self._device} even with {frames} frames"
                    f" ({reason}): choose a smaller preset or network.image_width"
                )
            self._frames_at_once = max(SMALLEST_PART, -(-frames // 2))
            notes.append(f"out of memory on {self._device}: chunks now go in parts of {self._frames_at_once} frames")

    @property
    def _learning(self) -> _Pass:
        return _Pass(self._memory, self._tokens)

    def _measure(self, chunk: Chunk, timer: StageTimer, notes: list[str], through: _Pass) -> ChunkGeometry | None:
        """Geometry of the chunk, whole or joined from as many parts as its size takes."""
        frames = len(chunk.frames)
        parts = parts_of(frames, self._frames_at_once or frames)
        wanted = set(frames_with_depth(frames, chunk.shared, self._config.overlap_depth_frames))
        wanted |= {position for one, other in itertools.pairwise(parts) for position in range(other.start, one.stop)}
        whole: ChunkGeometry | None = None
        for part in parts:
            asked = [position - part.start for position in part if position in wanted]
            framing = self._framing(chunk.frames[part.start : part.stop])
            geometry = self._measure_part(framing, asked, timer, notes, through)
            if geometry is None:
                return None
            whole = geometry if whole is None else join(whole, geometry, len(whole.T_chunk_cam) - part.start)
        return whole

    def _measure_part(
        self, framing: Crop, asked: list[int], timer: StageTimer, notes: list[str], through: _Pass
    ) -> ChunkGeometry | None:
        """Geometry of some frames in a gauge of their own, with depth for those at `asked`; None if not finite."""
        order = reference_first(len(framing.frames))
        place = [order.index(position) for position in range(len(order))]
        if not self._config.keep_shared_tokens:
            through.tokens.clear()
        with timer("encoder_s"):
            encoding = through.tokens.encode(framing.frames, lambda fresh: self._encode(framing, fresh))
        with timer("layers_s"):
            features = self._model.aggregate(encoding.patches[order], framing.grid, through.memory)
        # A network that solves for the poses needs the depth of all frames.
        seen = list(range(len(order))) if self._model.sees_previous else [place[position] for position in asked]
        with timer("depth_s"):
            detail = encoding.detail[order]
            maps = self._depth(features, framing.grid, detail, seen, notes)
        with timer("cameras_s"):
            known = Encoding(*(rows[order] for rows in encoding))
            focal = framing.focal() if self._config.use_camera_info else None
            pose_encoding_S9, maps = self._model.cameras(features, maps, known, previous_in(order), focal)
        if self._model.sees_previous:
            chosen = [place[position] for position in asked]
            maps = DenseMaps(maps.values[chosen], maps.confidence[chosen])
        answer = Answer(pose_encoding_S9[place], asked, maps, encoding.descriptor)
        return geometry_of(framing, answer, self._config)

    def _encode(self, framing: Crop, fresh: Sequence[int]) -> Encoding:
        """Tokens of the frames at `fresh`, which follow each other; the one before them is shown if need be."""
        before = [fresh[0] - 1] if self._model.sees_previous and fresh[0] > 0 else []
        encoding = self._model.encode(framing.images([*before, *fresh]).to(self._device))
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
            self._free()
            self._head_frames = len(batch) // 2
            notes.append(
                f"out of memory on {self._device}: the depth head now takes {self._head_frames} frames at a time"
            )
        if not batches:
            nothing = torch.zeros(0, 1, 1)
            return DenseMaps(nothing, nothing)
        return DenseMaps(torch.cat([maps.values for maps in batches]), torch.cat([maps.confidence for maps in batches]))

    def _free(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.empty_cache()


def _figures_of(memory: MemoryState) -> dict[str, int | float]:
    figures: dict[str, int | float] = {"memory_chunks": memory.chunks_seen}
    figures |= {f"memory_norm_{layer}": norm for layer, norm in memory.norms().items()}
    return figures | {f"memory_change_{layer}": change for layer, change in memory.changes().items()}
