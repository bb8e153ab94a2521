"""The losses.

Shapes: B sequences of T chunks of F frames, S frames of the batch, n of them with dense maps, h × w pixels.

    camera     Σ_i γ^(I−i) (|t_i − t| + w_q |q_i − q| + w_f |f_i − f|)       all I iterations of the camera head
    neighbours rotation and translation between frames that follow each other, the latter as a share of the distance
    matching   cross entropy of the stem's correlation with the true places, see matching.py
    motion     |ê| p − log p                                                 error of the matches, precision p
    scale      |s_t| with s_t = mean log(d̂ / d) of each chunk
    agreement  |s_t − s_1| of later chunks; and |s_t − s_1| / σ_t + log σ_t of the σ that is predicted
    dense      mean (c + w_p) · e − α log c + mean |∇ (d̂ − d)|               e = |d̂ − d| or of their logarithms

Source: VGGT and Scal3R (camera, dense), DUSt3R (confidence), MiDaS (gradient over scales).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from scal3r_ros.configuration import parameter
from scal3r_ros.model import DenseMaps, decode_pose
from scal3r_ros.training.data.batches import Batch, in_time
from scal3r_ros.training.forward import Layout, Outputs
from scal3r_ros.training.matching import matching_loss, motion_loss

_NEAREST_SHARE = 0.02
_SCALES = 3
# Logarithm of the ratio from which a relative error counts by its logarithm.
_LARGEST_RATIO = math.log(3.0)


@dataclass(frozen=True)
class LossConfig:
    """The weight of each error."""

    camera: float = parameter(5.0, "weight of the poses' encodings", minimum=0.0)
    discount: float = parameter(0.6, "of each earlier iteration of the camera head", minimum=0.0, maximum=1.0)
    quaternion: float = parameter(2.0, "weight of the quaternion within an encoding", minimum=0.0)
    field_of_view: float = parameter(0.5, "weight of the field of view within an encoding", minimum=0.0)
    neighbour_rotation: float = parameter(5.0, "weight of the rotation between neighbours, in radians", minimum=0.0)
    neighbour_translation: float = parameter(
        0.2, "weight of the translation between neighbours, as a share of their distance", minimum=0.0
    )
    depth: float = parameter(1.0, "weight of the depth", minimum=0.0)
    depth_error: str = parameter(
        "log",
        "what is compared: depths, their logarithms, or these and, of depth too large, d̂ / d − 1",
        choices=("log", "linear", "relative"),
    )
    plain: float = parameter(
        0.0, "weight of the error of depth regardless of confidence, besides the one weighted by it", minimum=0.0
    )
    points: float = parameter(0.0, "weight of the point head; 0 leaves it as it is", minimum=0.0)
    gradient: float = parameter(1.0, "weight of the gradients within depth and points", minimum=0.0)
    confidence: float = parameter(0.2, "α: the reward for confidence", minimum=0.0)
    matching: float = parameter(0.3, "weight of the stem's matching with the frame before", minimum=0.0)
    motion: float = parameter(0.2, "weight of the refined matches and of their predicted precision", minimum=0.0)
    depth_seen: float = parameter(0.5, "weight of the depth predicted from single frames", minimum=0.0)
    scale: float = parameter(0.0, "weight of the scale of chunks, which the memory is to carry", minimum=0.0)
    agreement: float = parameter(
        0.0, "weight of the scale of later chunks against that of a sequence's first, which absolute errors drown",
        minimum=0.0,
    )  # fmt: skip
    scale_sigma: float = parameter(
        0.0, "weight of how far a chunk's scale is predicted to be wrong, of a network that says so", minimum=0.0
    )
    sky: float = parameter(0.3, "error assigned to pixels of the sky, so that their confidence is low", minimum=0.0)


@dataclass(frozen=True)
class Loss:
    """`total`, to be minimised, and its unweighted `parts`."""

    total: Tensor
    parts: dict[str, Tensor]


def loss_of(outputs: Outputs, batch: Batch, dense: list[int], config: LossConfig) -> Loss:
    """The loss of a batch of which the frames `dense` have maps."""
    parts = {"camera": camera_loss(outputs.poses, batch.poses, config)}
    total = config.camera * parts["camera"]
    rotation, translation = neighbour_loss(outputs.poses[-1], batch)
    parts |= {"neighbour_rotation": rotation, "neighbour_translation": translation}
    total = total + config.neighbour_rotation * rotation + config.neighbour_translation * translation
    depth = depth_loss(outputs.depth, batch.depth[dense], batch.sky[dense], config)
    parts["depth"] = depth
    total = total + config.depth * depth
    if outputs.matched is not None:
        parts["matching"] = matching_loss(outputs.matched.likeness, batch)
        parts["motion"] = motion_loss(outputs.matched.matches, batch)
        parts["motion"] = parts["motion"] + 0.5 * motion_loss(outputs.matched.first_matches, batch)
        total = total + config.matching * parts["matching"] + config.motion * parts["motion"]
    if config.scale > 0 or config.agreement > 0 or config.scale_sigma > 0:
        scale_B = scale_errors(outputs.depth, batch, dense)
        parts |= scale_losses(scale_B, outputs.log_unit_sigma, batch.layout)
        total = total + config.scale * parts["scale"] + config.agreement * parts["agreement"]
        total = total + config.scale_sigma * parts["scale_sigma"]
    if outputs.depth_seen is not None:
        parts["depth_seen"] = depth_loss(outputs.depth_seen, batch.depth[dense], batch.sky[dense], config)
        total = total + config.depth_seen * parts["depth_seen"]
    if outputs.points is not None:
        parts["points"] = points_loss(outputs.points, batch, dense, config)
        total = total + config.points * parts["points"]
    return Loss(total, {"total": total, **parts})


def camera_loss(estimates: list[Tensor], truth_S9: Tensor, config: LossConfig) -> Tensor:
    """L1 of the encodings over all iterations, the last counting most."""
    weights_9 = truth_S9.new_tensor([1.0] * 3 + [config.quaternion] * 4 + [config.field_of_view] * 2)
    errors = [(weights_9 * (estimate - truth_S9).abs()).mean() for estimate in estimates]
    discounts = [config.discount ** (len(errors) - 1 - i) for i in range(len(errors))]
    return torch.stack([d * e for d, e in zip(discounts, errors, strict=True)]).sum() / sum(discounts)


def neighbour_loss(encodings_S9: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Mean error between neighbours: of rotation (radians, if small) and of translation (share of the distance)."""
    predicted, true = (relative_poses(in_time(encodings, batch)) for encodings in (encodings_S9, batch.poses))
    turned = predicted[0] @ true[0].mT
    axis = torch.stack(
        (
            turned[..., 2, 1] - turned[..., 1, 2],
            turned[..., 0, 2] - turned[..., 2, 0],
            turned[..., 1, 0] - turned[..., 0, 1],
        )
    )
    distance = true[1].norm(dim=-1)
    missed = smooth_norm(predicted[1] - true[1]) / (distance + _NEAREST_SHARE)
    # The error of a pair that hardly moved may be many times its distance: it must not outweigh all others.
    return smooth_norm(0.5 * axis.movedim(0, -1)).mean(), missed.log1p().mean()


def smooth_norm(x: Tensor) -> Tensor:
    """Length of the last dimension, with a gradient at zero."""
    return (x.square().sum(-1) + 1e-10).sqrt()


def relative_poses(encodings_BF9: Tensor) -> tuple[Tensor, Tensor]:
    """Rotation (B, F − 1, 3, 3) and translation (B, F − 1, 3) of T_later_earlier between neighbours in time."""
    B, F = encodings_BF9.shape[:2]
    T_cam_chunk = decode_pose(encodings_BF9.flatten(0, 1), 1, 1)[0].reshape(B, F, 3, 4)
    R, t = T_cam_chunk[..., :3], T_cam_chunk[..., 3]
    R_later_earlier = R[:, 1:] @ R[:, :-1].mT
    return R_later_earlier, t[:, 1:] - (R_later_earlier @ t[:, :-1, :, None])[..., 0]


def depth_loss(predicted: DenseMaps, true_nhw: Tensor, sky_nhw: Tensor, config: LossConfig) -> Tensor:
    """Confidence-weighted error and gradients of depth where it is known, and the confidence of the sky."""
    known_nhw = true_nhw > 0
    safe_nhw = torch.where(known_nhw, true_nhw, 1.0)
    predicted_nhw = predicted.values.float()
    error_nhw = predicted_nhw - safe_nhw if config.depth_error == "linear" else predicted_nhw.log() - safe_nhw.log()
    size_nhw = relative_size(error_nhw) if config.depth_error == "relative" else error_nhw.abs()
    confidence_nhw = predicted.confidence.float()
    loss = _dense_loss(error_nhw[..., None], size_nhw, confidence_nhw, known_nhw, config)
    loss = loss + config.plain * (size_nhw * known_nhw).sum() / known_nhw.sum().clamp(min=1)
    far = (confidence_nhw * config.sky - config.confidence * confidence_nhw.log()) * sky_nhw
    return loss + far.sum() / (known_nhw.sum() + sky_nhw.sum()).clamp(min=1)


def scale_losses(scale_B: Tensor, log_sigma_B: Tensor | None, layout: Layout) -> dict[str, Tensor]:
    """Of the scale errors (B · T,) of all chunks: absolute, relative to the first chunk, and of σ predicted for these.

    Chunks without depth have no error and count in none.
    """
    known_B = scale_B.isfinite()
    safe_B = torch.where(known_B, scale_B, 0.0)
    nothing = safe_B.sum() * 0.0
    parts = {"scale": safe_B.abs().sum() / known_B.sum().clamp(min=1), "agreement": nothing, "scale_sigma": nothing}
    if layout.chunks > 1:
        by_sequence, known = (x_B.reshape(layout.sequences, layout.chunks) for x_B in (safe_B, known_B))
        both = known[:, 1:] & known[:, :1]
        error = (by_sequence[:, 1:] - by_sequence[:, :1]).abs()
        count = both.sum().clamp(min=1)
        parts["agreement"] = (error * both).sum() / count
        if log_sigma_B is not None:
            log_sigma = log_sigma_B.reshape(layout.sequences, layout.chunks)[:, 1:]
            # The scale learns from the errors themselves: it is not to be traded for a large σ.
            likelihood = error.detach() * (-log_sigma).exp() + log_sigma
            parts["scale_sigma"] = (likelihood * both).sum() / count
    return parts


def scale_errors(predicted: DenseMaps, batch: Batch, dense: list[int]) -> Tensor:
    """mean log(d̂ / d) of every chunk (B · T,): what its depths are wrong by together; NaN where none is known."""
    true_nhw = batch.depth[dense]
    known_nhw = true_nhw > 0
    error_nhw = torch.where(
        known_nhw, predicted.values.float().log() - torch.where(known_nhw, true_nhw, 1.0).log(), 0.0
    )
    chunk_n = torch.tensor(dense, device=true_nhw.device) // batch.layout.frames
    sums_B, counts_B = (
        true_nhw.new_zeros(batch.layout.all_chunks).index_add(0, chunk_n, values.sum((1, 2)).to(true_nhw.dtype))
        for values in (error_nhw, known_nhw)
    )
    return torch.where(counts_B > 0, sums_B / counts_B.clamp(min=1), math.nan)


def points_loss(predicted: DenseMaps, batch: Batch, dense: list[int], config: LossConfig) -> Tensor:
    """The same for points in the chunk's frame, in the unit of the sequence."""
    depth_nhw, T_n44 = batch.depth[dense], batch.T_chunk_cam[dense]
    height, width = depth_nhw.shape[1:]
    v, u = torch.meshgrid(
        torch.arange(height, device=depth_nhw.device), torch.arange(width, device=depth_nhw.device), indexing="ij"
    )
    pixels_hw3 = torch.stack((u, v, torch.ones_like(u)), dim=-1).float()
    rays_nhw3 = pixels_hw3 @ torch.linalg.inv(batch.K[dense]).mT[:, None]
    points_nhw3 = (depth_nhw[..., None] * rays_nhw3) @ T_n44[:, None, :3, :3].mT + T_n44[:, None, None, :3, 3]
    error_nhw3 = predicted.values.float() - points_nhw3
    return _dense_loss(error_nhw3, smooth_norm(error_nhw3), predicted.confidence.float(), depth_nhw > 0, config)


def relative_size(error: Tensor) -> Tensor:
    """Size of an error of the logarithm of depth: |error| of depth too small, d̂ / d − 1 of depth too large.

    From three times too large on it grows with the logarithm again, so that no pixel outweighs all others.
    """
    bounded = error.clamp(0.0, _LARGEST_RATIO)
    return bounded.expm1() + math.exp(_LARGEST_RATIO) * (error - bounded).clamp(min=0.0) + (-error).clamp(min=0.0)


def _dense_loss(
    error_nhwv: Tensor, size_nhw: Tensor, confidence_nhw: Tensor, known_nhw: Tensor, config: LossConfig
) -> Tensor:
    count = known_nhw.sum().clamp(min=1)
    weighted = (confidence_nhw * size_nhw - config.confidence * confidence_nhw.log()) * known_nhw
    return weighted.sum() / count + config.gradient * gradient_loss(error_nhwv, known_nhw)


def gradient_loss(error_nhwv: Tensor, known_nhw: Tensor) -> Tensor:
    """Mean difference of the error between pixels beside and above each other, over scales that each halve the map."""
    total = error_nhwv.new_zeros(())
    for scale in range(_SCALES):
        error, known = error_nhwv[:, :: 2**scale, :: 2**scale], known_nhw[:, :: 2**scale, :: 2**scale]
        for dim in (1, 2):
            both = known.narrow(dim, 1, known.shape[dim] - 1) & known.narrow(dim, 0, known.shape[dim] - 1)
            step = functional.smooth_l1_loss(
                error.narrow(dim, 1, error.shape[dim] - 1),
                error.narrow(dim, 0, error.shape[dim] - 1),
                reduction="none",
                beta=0.01,
            )
            total = total + (step.sum(-1) * both).sum() / both.sum().clamp(min=1)
    return total / _SCALES
