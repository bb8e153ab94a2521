"""Predictions and errors of a network on clips that it never trains on.

Shapes: T chunks of F frames, h × w pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from scal3r_ros.geometry import se3
from scal3r_ros.model import Scal3R, decode_pose
from scal3r_ros.training.data.batches import Batch, Unit, in_time, make_batch
from scal3r_ros.training.data.clips import Clip
from scal3r_ros.training.data.sampling import NONE, ChunkShape, cut_sequence
from scal3r_ros.training.forward import ChunkContext, Outputs, forward_chunks
from scal3r_ros.training.memory_units import MemoryWatch
from scal3r_ros.training.records.errors import ChunkErrors, chunk_errors, summary

Array = NDArray[np.float64]


def validation_batches(
    clips: Iterable[Clip], shape: ChunkShape, unit: Unit, largest_stride: int = 1
) -> Iterator[Batch]:
    """Frames of each clip in chunks of `shape`, one batch each: as far apart as in training, otherwise unaltered."""
    rng = np.random.default_rng(0)
    unaltered = replace(NONE, largest_stride=largest_stride)
    for clip in clips:
        yield make_batch([cut_sequence(clip, shape, rng, unaltered)], unit)


@torch.no_grad()
def validate(
    model: Scal3R,
    batches: Iterable[Batch],
    context: ChunkContext,
    device: torch.device,
    autocast: bool,
    calibrated: bool = True,
    watch: MemoryWatch | None = None,
) -> dict[str, float]:
    """Metrics of `summary` over all batches; a network that solves for poses gets the true lens if `calibrated`.

    `watch` is shown how the memory answers.
    """
    model.eval()
    answered = answers(model, batches, context, device, autocast, calibrated, watch)
    return summary([batch_errors(outputs, batch, model.preset.confidence_half) for batch, outputs in answered])


@torch.no_grad()
def answers(
    model: Scal3R,
    batches: Iterable[Batch],
    context: ChunkContext,
    device: torch.device,
    autocast: bool,
    calibrated: bool = True,
    watch: MemoryWatch | None = None,
) -> Iterator[tuple[Batch, Outputs]]:
    """The network's predictions for each batch, with depth for all frames."""
    for batch in batches:
        with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
            dense = list(range(batch.layout.all_frames))
            outputs = forward_chunks(
                model,
                batch.images.to(device),
                batch.previous,
                batch.layout,
                dense,
                within=batch.within,
                focal_B=batch.focal.to(device) if calibrated else None,
                context=context,
                watch=watch,
            )
        yield batch, outputs


@dataclass(frozen=True)
class Prediction:
    """Predictions for a chunk of F frames in order of time, and the ground truth; depth and confidence (F, h, w)."""

    T_chunk_cam: Array
    depth: Array
    confidence: Array
    true_T_chunk_cam: Array
    true_depth: Array


def predicted_and_true(outputs: Outputs, batch: Batch) -> list[Prediction]:
    """Each chunk of a batch that has depth for all frames."""
    T_cam_chunk = decode_pose(outputs.poses[-1].cpu().double(), 1, 1)[0]
    T_chunk_cam = torch.from_numpy(se3.invert(se3.se3(T_cam_chunk[:, :, :3].numpy(), T_cam_chunk[:, :, 3].numpy())))
    maps = (T_chunk_cam, outputs.depth.values, outputs.depth.confidence, batch.T_chunk_cam, batch.depth)
    chunks = zip(*(in_time(values.cpu().double(), batch).numpy() for values in maps), strict=True)
    return [Prediction(*chunk) for chunk in chunks]


def chunk_errors_of(predicted: Prediction, fov_ratio: float, sure_from: float) -> ChunkErrors:
    """`chunk_errors` of predictions; depth counts as sure from a confidence of `sure_from`."""
    sure = predicted.confidence >= sure_from
    return chunk_errors(
        predicted.T_chunk_cam, predicted.depth, predicted.true_T_chunk_cam, predicted.true_depth, fov_ratio, sure
    )


def batch_errors(outputs: Outputs, batch: Batch, sure_from: float) -> list[ChunkErrors]:
    """Errors of each chunk of a batch of one sequence; depth counts as sure from a confidence of `sure_from`."""
    said_fov = in_time(outputs.poses[-1][:, 8].cpu(), batch).mean(1)
    ratios = (said_fov / in_time(batch.poses[:, 8], batch).mean(1)).tolist()
    return [
        chunk_errors_of(predicted, ratio, sure_from)
        for predicted, ratio in zip(predicted_and_true(outputs, batch), ratios, strict=True)
    ]
