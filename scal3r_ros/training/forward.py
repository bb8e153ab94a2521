"""Many chunks of many sequences through the network at once, with the memory's own rule between those of a sequence.

Shapes: B sequences of T chunks of F frames, S = B · T · F frames in that order, the first of a chunk being its
reference; h × w pixels, N patches and P tokens of a frame, L = F · N patch tokens of a chunk, C channels, H memory
heads, D channels of a head, M hidden channels.

    running   W_t = W(g_1 + … + g_t)         as the mapper does: a chunk knows the ones before it
    joint     W_t = W(g_1 + … + g_T)         as the authors trained: all chunks know of each other
    frozen    W_t = W0                       chunks know nothing of each other, for comparison

Gradients flow through the memory's step to everything that made g. Source: Scal3R (CVPR 2026).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor

from scal3r_ros.model import DenseMaps, FastWeights, Scal3R
from scal3r_ros.model.aggregator import Grid, Tables
from scal3r_ros.model.encoder.efficient import EfficientEncoder
from scal3r_ros.model.encoder.encoder import Encoding, StemEncoder, normalise_colours
from scal3r_ros.model.encoder.matching import Matched
from scal3r_ros.model.heads.solved_cameras import SeenFrames, SolvedCameras
from scal3r_ros.model.memory.unit import Projections, fast_weights, gradient
from scal3r_ros.training.memory_units import MemoryWatch

Reduce = Callable[[Tensor], Tensor]
"""Sums a tensor over the processes that share a sequence, so that gradients find their way back to all of them."""


class ChunkContext(Enum):
    """Which chunks of a sequence answer a chunk."""

    RUNNING = "running"
    JOINT = "joint"
    FROZEN = "frozen"


@dataclass(frozen=True)
class Layout:
    """B sequences of T chunks of F frames."""

    sequences: int
    chunks: int
    frames: int

    @property
    def all_chunks(self) -> int:
        """Chunks of all sequences."""
        return self.sequences * self.chunks

    @property
    def all_frames(self) -> int:
        """Frames of all chunks."""
        return self.all_chunks * self.frames


@dataclass(frozen=True)
class Outputs:
    """`poses`: encodings (S, 9) after each iteration of the camera head; `depth` and `points` of the frames asked.

    Of a stem that compares frames: how, and `depth_seen`, the depth before the motion was known. `log_unit_sigma`
    (B · T,) is how far the logarithm of each chunk's scale may be wrong, of a network that says so.
    """

    poses: list[Tensor]
    depth: DenseMaps
    points: DenseMaps | None
    matched: Matched | None = None
    depth_seen: DenseMaps | None = None
    log_unit_sigma: Tensor | None = None


def forward_chunks(
    model: Scal3R,
    images_S3hw: Tensor,
    previous: Sequence[int],
    layout: Layout,
    dense: Sequence[int],
    *,
    within: Sequence[int],
    focal_B: Tensor | None = None,
    context: ChunkContext = ChunkContext.RUNNING,
    reduce: Reduce | None = None,
    with_points: bool = False,
    watch: MemoryWatch | None = None,
) -> Outputs:
    """The network's predictions for all frames, dense for those at `dense`.

    `previous`: which image the encoder compares each with, see `Scal3R.encode`; `within`: for each of a chunk's frames
    the place in it of the one before, its own for the first; `focal_B`: focal length of each chunk in
    widths of the image, where the network gets it; `reduce` sums over processes that each
    hold some chunks of the same sequences, which takes the context `joint`; `watch` is shown how the memory answers.
    """
    grid = model.grid(images_S3hw)
    encoding, matched = _encode(model, images_S3hw, previous)
    features = _aggregate(model, encoding.patches, grid, layout, context, reduce, watch)
    chosen = [tokens_SPC[list(dense)] for tokens_SPC in features]
    points = model.points(chosen, grid, max(1, len(dense))) if with_points else None
    if isinstance(model.camera_head, SolvedCameras):
        # Poses are solved from the depth of all frames.
        seen = model.depth(features, grid, encoding.detail, layout.all_frames)
        with torch.autocast(images_S3hw.device.type, enabled=False):
            frames = SeenFrames(features[-1].float(), seen.values.float(), seen.confidence.float(), *encoding[2:])
            predicted = model.camera_head(frames, within, layout.all_chunks, focal_B)
        kept = list(dense)
        depth = DenseMaps(predicted.depth[kept], predicted.confidence[kept])
        before = DenseMaps(predicted.seen_depth[kept], frames.confidence[kept])
        return Outputs([predicted.pose_encoding], depth, points, matched, before, predicted.log_unit_sigma)
    with torch.autocast(images_S3hw.device.type, enabled=False):
        poses = model.camera_head.refinements(features[-1].float(), layout.all_chunks)
    return Outputs(poses, model.depth(chosen, grid, encoding.detail[list(dense)], max(1, len(dense))), points)


def _encode(model: Scal3R, images_S3hw: Tensor, previous: Sequence[int]) -> tuple[Encoding, Matched | None]:
    if not isinstance(model.encoder, StemEncoder | EfficientEncoder):
        return model.encode(images_S3hw), None
    return model.encoder.compare(normalise_colours(images_S3hw), previous)


def _aggregate(
    model: Scal3R,
    patches_SNC: Tensor,
    grid: Grid,
    layout: Layout,
    context: ChunkContext,
    reduce: Reduce | None,
    watch: MemoryWatch | None,
) -> list[Tensor]:
    aggregator = model.aggregator
    tables = aggregator.tables(grid, patches_SNC.device)
    x_SPC = aggregator.embed(patches_SNC, layout.all_chunks)
    features: list[Tensor] = []
    for index in range(aggregator.config.depth):
        frame_SPC, x_SPC = aggregator.layer(index, x_SPC, tables, layout.all_chunks)
        unit = aggregator.unit(index)
        if unit is not None:
            # As at inference, the memory is no narrower than float32.
            with torch.autocast(x_SPC.device.type, enabled=False):
                x_SPC = _remember(model, index, x_SPC.float(), tables, layout, context, reduce, watch)
        if index in aggregator.config.head_layers:
            features.append(torch.cat((frame_SPC, x_SPC), dim=-1))
    return features


def _remember(
    model: Scal3R,
    layer: int,
    x_SPC: Tensor,
    tables: Tables,
    layout: Layout,
    context: ChunkContext,
    reduce: Reduce | None,
    watch: MemoryWatch | None,
) -> Tensor:
    """One memory unit for all chunks, each answered by its own fast weights."""
    unit = model.aggregator.unit(layer)
    assert unit is not None, "only layers with a unit remember"
    q_HLD, k_HLD, v_HLD, lr_3HL1 = model.aggregator.project(unit, x_SPC, tables)

    def by_chunk(x: Tensor) -> Tensor:
        """(…, H, B · T · L, D) to (…, B · T, H, L, D)."""
        return x.reshape(*x.shape[:-2], layout.all_chunks, -1, x.shape[-1]).transpose(-4, -3)

    projections = Projections(by_chunk(q_HLD), by_chunk(k_HLD), by_chunk(v_HLD), by_chunk(lr_3HL1))
    if context is ChunkContext.FROZEN:
        return model.aggregator.remember(unit, x_SPC, projections.q, unit.initial)
    g = gradient(projections, unit.initial)
    G = FastWeights(*(_answering_gradient(w, layout, context, reduce) for w in g))
    W = fast_weights(unit.initial, G, unit.config.newton_schulz_steps, unit.config.step_dtype)
    answered_SPC = model.aggregator.remember(unit, x_SPC, projections.q, W)
    if watch is not None:
        special = model.aggregator.special
        watch.see(layer, unit, projections.q, W, (x_SPC[:, special:], answered_SPC[:, special:]))
    return answered_SPC


def _answering_gradient(g: Tensor, layout: Layout, context: ChunkContext, reduce: Reduce | None) -> Tensor:
    """Accumulated gradient (B · T, H, …) that answers each chunk, from the gradient of each chunk."""
    taught = g.reshape(layout.sequences, layout.chunks, *g.shape[1:])
    if context is ChunkContext.RUNNING:
        return taught.cumsum(1).flatten(0, 1)
    total = taught.sum(1, keepdim=True)
    total = total if reduce is None else reduce(total)
    return total.expand_as(taught).flatten(0, 1)
