"""Sequences as tensors: images in the order that the network takes them, targets in the first chunk's scale.

Shapes: B sequences of T chunks of F frames, S = B · T · F frames in that order, h × w pixels.
"""

from __future__ import annotations

from collections.abc import Sequence as Items
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np
import torch
from torch import Tensor

from scal3r_ros.geometry import se3
from scal3r_ros.model import encode_pose
from scal3r_ros.reconstruction.network.dividing.chunk_parts import FrameOrder
from scal3r_ros.training.data.sampling import Sequence
from scal3r_ros.training.forward import Layout


class Unit(Enum):
    """The unit of the targets of a sequence, measured in its first chunk.

    MEAN_DISTANCE is that of all points from the reference camera, as VGGT and Scal3R were trained; TYPICAL_DEPTH the
    geometric mean of all depths, which a few far points do not move.
    """

    MEAN_DISTANCE = "mean_distance"
    TYPICAL_DEPTH = "typical_depth"


@dataclass(frozen=True)
class Batch:
    """One step's data.

    `images` (S, 3, h, w) in 0..1; `previous`: which image the encoder compares each with; `order`: place of each frame
    of a chunk in time (F,); `poses` (S, 9) encodings of T_cam_chunk; `depth` (S, h, w), 0 where unknown; `sky`
    (S, h, w): unknown because it is too far away; `K` (S, 3, 3); `T_chunk_cam` (S, 4, 4)
    and, about the first chunk's reference camera for all chunks, `T_start_cam`. All in the sequence's unit.
    """

    layout: Layout
    images: Tensor
    previous: list[int]
    order: list[int]
    poses: Tensor
    depth: Tensor
    sky: Tensor
    K: Tensor
    T_chunk_cam: Tensor
    T_start_cam: Tensor

    @property
    def within(self) -> list[int]:
        """For each frame of a chunk the index of the frame before it; its own for the first."""
        return FrameOrder.of(self.layout.frames).previous

    @property
    def focal(self) -> Tensor:
        """Focal length of each chunk (B · T,) in widths of the image."""
        return self.K[:: self.layout.frames, 0, 0] / self.images.shape[-1]

    def to(self, device: torch.device) -> Batch:
        """The same on `device`."""
        return replace(
            self,
            images=self.images.to(device),
            poses=self.poses.to(device),
            depth=self.depth.to(device),
            sky=self.sky.to(device),
            K=self.K.to(device),
            T_chunk_cam=self.T_chunk_cam.to(device),
            T_start_cam=self.T_start_cam.to(device),
        )


def make_batch(
    sequences: Items[Sequence], unit: Unit, kept_chunks: range | None = None, forget: Items[bool] | None = None
) -> Batch:
    """Sequences of one shape as a batch.

    `kept_chunks`: only these chunks of each, where other processes have the others. `forget` tells for each chunk kept
    whether its first frame is encoded as if nothing were known of the frame before it, as where a drive begins; by
    default all but the first of a sequence know it, and none where chunks are apart.
    """
    F = sequences[0].shape.frames
    order = FrameOrder.of(F).positions
    kept = kept_chunks or range(sequences[0].shape.chunks)
    layout = Layout(len(sequences), len(kept), F)
    apart = [sequence.apart for sequence in sequences for _ in kept]
    forget = [a or (forget is not None and forget[chunk]) for chunk, a in enumerate(apart)]
    images, depths, skies, poses, Ks = [], [], [], [], []
    about_chunk, about_start = [], []
    for sequence in sequences:
        height, width = sequence.images.shape[2:4]
        scale = unit_of(sequence, unit)
        K = torch.from_numpy(sequence.K).expand(F, 3, 3)
        for chunk in kept:
            T_chunk_cam = se3.invert(sequence.T_world_cam[chunk, order[0]]) @ sequence.T_world_cam[chunk][order]
            T_chunk_cam[:, :3, 3] /= scale
            depth_m = sequence.depth_m[chunk][order]
            images.append(sequence.images[chunk][order])
            depths.append(depth_m / scale)
            skies.append((depth_m == 0) & sequence.zero_is_far)
            poses.append(encode_pose(torch.from_numpy(se3.invert(T_chunk_cam)), K, height, width))
            T_start_cam = se3.invert(sequence.T_world_cam[0, order[0]]) @ sequence.T_world_cam[chunk][order]
            T_start_cam[:, :3, 3] /= scale
            about_chunk.append(torch.from_numpy(T_chunk_cam))
            about_start.append(torch.from_numpy(T_start_cam))
            Ks.append(K)
    pixels = torch.from_numpy(np.concatenate(images)).permute(0, 3, 1, 2)
    return Batch(
        layout,
        pixels.float() / 255,
        _previous(layout, sequences[0].shape.shared, forget),
        order,
        torch.cat(poses).float(),
        torch.from_numpy(np.concatenate(depths).astype(np.float32)),
        torch.from_numpy(np.concatenate(skies)),
        torch.cat(Ks).float(),
        torch.cat(about_chunk).float(),
        torch.cat(about_start).float(),
    )


def unit_of(sequence: Sequence, unit: Unit) -> float:
    """Metres per unit of the targets; 1 where the first chunk has no depth at all."""
    depth_m = sequence.depth_m[0]
    seen = depth_m > 0
    if not seen.any():
        return 1.0
    if unit is Unit.TYPICAL_DEPTH:
        return float(np.exp(np.log(depth_m[seen]).mean()))
    F, height, width = depth_m.shape
    v, u = np.mgrid[:height, :width]
    rays = np.stack([u, v, np.ones_like(u)], axis=-1) @ np.linalg.inv(sequence.K).T
    T_ref_cam = se3.invert(sequence.T_world_cam[0, FrameOrder.of(F).positions[0]]) @ sequence.T_world_cam[0]
    points = (depth_m[..., None] * rays).reshape(F, -1, 3) @ T_ref_cam[:, :3, :3].transpose(0, 2, 1)
    return float(np.linalg.norm(points + T_ref_cam[:, None, :3, 3], axis=-1)[seen.reshape(F, -1)].mean())


def _previous(layout: Layout, shared: int, forget: Items[bool]) -> list[int]:
    """For each frame the number, in the batch, of the frame before it in time; of itself where none is known."""
    order = FrameOrder.of(layout.frames)
    first, before_shared = order.places_of([0, layout.frames - shared - 1])
    previous: list[int] = []
    for chunk in range(layout.all_chunks):
        base = chunk * layout.frames
        places = [base + place for place in order.previous]
        if chunk % layout.chunks and not forget[chunk]:
            places[first] = base - layout.frames + before_shared
        previous += places
    return previous


def in_time(values: Tensor, batch: Batch) -> Tensor:
    """Values (S, …) of frames as (B · T, F, …) in order of time."""
    by_chunk = values.reshape(batch.layout.all_chunks, batch.layout.frames, *values.shape[1:])
    return by_chunk[:, FrameOrder.of(batch.layout.frames).places]
