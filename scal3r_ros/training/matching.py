"""True matches between a frame and the one before it, from depth and poses, which supervise the stem.

Shapes: S frames, y × x cells of the stem's last but one level, N = y · x, R = (2 · reach + 1)² cells around a place.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from scal3r_ros.training.data.batches import Batch

_SAME_SURFACE = 0.1
_UNMATCHED = 0.05


def matching_loss(likeness_SRyx: Tensor, batch: Batch) -> Tensor:
    """Cross entropy between likeness and true matches, over cells that are visible in both frames and within reach."""
    cell = batch.images.shape[-2] // likeness_SRyx.shape[-2]
    reach = (math.isqrt(likeness_SRyx.shape[1]) - 1) // 2
    moved_SN2, seen_SN = true_motion(batch, cell)
    target_SNR, within_SN = _around(moved_SN2 / cell, reach)
    used_SN = seen_SN & within_SN
    log_SNR = functional.log_softmax(likeness_SRyx.float().flatten(2).mT, dim=-1)
    return -((target_SNR * log_SNR).sum(-1) * used_SN).sum() / used_SN.sum().clamp(min=1)


def motion_loss(matches_S3YX: Tensor, batch: Batch) -> Tensor:
    """Negative log likelihood (Laplace) of the matches' errors, in nats above those of a match at a hundredth of the
    image's width; the sky counts as wrong by `_UNMATCHED`, so that its precision is low."""
    width = batch.images.shape[-1]
    cell = width // matches_S3YX.shape[-1]
    moved_SN2, _ = true_motion(batch, cell)
    before = torch.tensor(batch.previous, device=moved_SN2.device)
    has_before_S1 = (before != torch.arange(len(before), device=moved_SN2.device))[:, None]
    matches_SN3 = matches_S3YX.float().flatten(2).mT
    said_SN2, log_precision_SN = matches_SN3[..., :2], matches_SN3[..., 2].clamp(-2, 9)
    error_SN = ((said_SN2 - moved_SN2 / width).square().sum(-1) + 1e-10).sqrt()
    known_SN = batch.depth[:, ::cell, ::cell].flatten(1) > 0
    # A cell that leaves the image by far does not supervise the distance.
    error_SN = torch.where(known_SN, error_SN, _UNMATCHED).clamp(max=_UNMATCHED)
    used_SN = (known_SN | batch.sky[:, ::cell, ::cell].flatten(1)) & has_before_S1
    likelihood_SN = error_SN * log_precision_SN.exp() - log_precision_SN + math.log(100)
    return (likelihood_SN * used_SN).sum() / used_SN.sum().clamp(min=1)


def true_motion(batch: Batch, cell: int) -> tuple[Tensor, Tensor]:
    """For the first pixel of each cell: by how many pixels (x, y) away it is in the frame before, (S, N, 2), and
    whether it is seen there (S, N), which no pixel of a frame without one before it counts as."""
    S, height, width = batch.depth.shape
    device = batch.depth.device
    y, x = torch.meshgrid(
        torch.arange(0, height, cell, device=device), torch.arange(0, width, cell, device=device), indexing="ij"
    )
    pixels_N3 = torch.stack((x, y, torch.ones_like(x)), dim=-1).flatten(0, 1).float()
    depth_SN = batch.depth[:, ::cell, ::cell].flatten(1)
    before = torch.tensor(batch.previous, device=device)
    T_before_cam = torch.linalg.inv(batch.T_start_cam[before]) @ batch.T_start_cam
    points_SN3 = depth_SN[..., None] * (pixels_N3 @ torch.linalg.inv(batch.K).mT)
    points_SN3 = points_SN3 @ T_before_cam[:, :3, :3].mT + T_before_cam[:, None, :3, 3]
    z_SN = points_SN3[..., 2].clamp(min=1e-6)
    places_SN2 = ((points_SN3 / z_SN[..., None]) @ batch.K[before].mT)[..., :2]
    column_SN, row_SN = places_SN2.round().long().unbind(-1)
    inside_SN = (column_SN >= 0) & (column_SN < width) & (row_SN >= 0) & (row_SN < height)
    index_SN = row_SN.clamp(0, height - 1) * width + column_SN.clamp(0, width - 1)
    there_SN = batch.depth[before].flatten(1).gather(1, index_SN)
    same_SN = (there_SN - z_SN).abs() < _SAME_SURFACE * z_SN
    has_before_S1 = (before != torch.arange(S, device=device))[:, None]
    return places_SN2 - pixels_N3[:, :2], (depth_SN > 0) & inside_SN & same_SN & has_before_S1


def _around(moved_SN2: Tensor, reach: int) -> tuple[Tensor, Tensor]:
    """Shares (S, N, R) of the four cells around a motion in cells, row by row; whether it is within reach (S, N)."""
    steps = torch.arange(-reach, reach + 1, device=moved_SN2.device)
    across_SNr, down_SNr = ((1 - (moved_SN2[..., axis, None] - steps).abs()).clamp(min=0) for axis in (0, 1))
    target_SNR = (down_SNr[..., :, None] * across_SNr[..., None, :]).flatten(-2)
    return target_SNR, moved_SN2.abs().amax(-1) <= reach
