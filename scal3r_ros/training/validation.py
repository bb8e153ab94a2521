"""Figures of a network on clips it never trains on.

Shapes: T chunks of F frames, h × w pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from scal3r_ros.geometry import se3
from scal3r_ros.model import Scal3R, decode_pose
from scal3r_ros.training.batches import Batch, Unit, in_time, make_batch
from scal3r_ros.training.clips import Clip
from scal3r_ros.training.figures import ChunkErrors, chunk_errors, summary
from scal3r_ros.training.forward import ChunkContext, Outputs, forward_chunks
from scal3r_ros.training.sampling import NONE, ChunkShape, cut_sequence


def validation_batches(clips: Iterable[Clip], shape: ChunkShape, unit: Unit) -> Iterator[Batch]:
    """The first frames of each clip in chunks of `shape`, a batch each, without any augmentation."""
    rng = np.random.default_rng(0)
    for clip in clips:
        yield make_batch([cut_sequence(clip, shape, rng, NONE)], unit)


@torch.no_grad()
def validate(
    model: Scal3R, batches: Iterable[Batch], context: ChunkContext, device: torch.device, autocast: bool
) -> dict[str, float]:
    """Figures of `summary` over all batches."""
    model.eval()
    answered = answers(model, batches, context, device, autocast)
    return summary([batch_errors(outputs, batch) for batch, outputs in answered])


@torch.no_grad()
def answers(
    model: Scal3R, batches: Iterable[Batch], context: ChunkContext, device: torch.device, autocast: bool
) -> Iterator[tuple[Batch, Outputs]]:
    """What the network says of each batch, with depth for all frames."""
    for batch in batches:
        with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
            dense = list(range(batch.layout.all_frames))
            outputs = forward_chunks(
                model, batch.images.to(device), batch.previous, batch.layout, dense, context=context
            )
        yield batch, outputs


def batch_errors(outputs: Outputs, batch: Batch) -> list[ChunkErrors]:
    """Errors of each chunk of a batch of one sequence."""
    said_T = _poses(in_time(outputs.poses[-1].cpu(), batch))
    true_T = in_time(batch.T_chunk_cam, batch).double().numpy()
    said_depth = in_time(outputs.depth.values.float().cpu(), batch).double().numpy()
    true_depth = in_time(batch.depth, batch).double().numpy()
    said_fov = in_time(outputs.poses[-1][:, 8].cpu(), batch).mean(1)
    true_fov = in_time(batch.poses[:, 8], batch).mean(1)
    ratios = (said_fov / true_fov).tolist()
    return [
        chunk_errors(said_T[c], said_depth[c], true_T[c], true_depth[c], ratios[c])
        for c in range(batch.layout.all_chunks)
    ]


def _poses(encodings_CF9: Tensor) -> np.ndarray:
    T_cam_chunk = decode_pose(encodings_CF9.flatten(0, 1).double(), 1, 1)[0].numpy()
    T_chunk_cam = se3.invert(se3.se3(T_cam_chunk[:, :, :3], T_cam_chunk[:, :, 3]))
    return np.asarray(T_chunk_cam.reshape(*encodings_CF9.shape[:2], 4, 4))
