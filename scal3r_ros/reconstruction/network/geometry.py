"""From the network's answer for a chunk to a `ChunkGeometry`.

Shapes: S frames, n of them with depth, h × w pixels of the window that the network sees, C channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from scal3r_ros.geometry import se3
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.model import DenseMaps
from scal3r_ros.reconstruction.network.config import NetworkConfig
from scal3r_ros.reconstruction.network.crop import Crop
from scal3r_ros.reconstruction.protocol import Chunk, ChunkGeometry, ChunkHealth, Previous


@dataclass(frozen=True)
class Answer:
    """`pose_encoding` (S, 9) and `descriptor` (S, C) of all frames, `maps` (n, h, w) of the frames at `asked`."""

    pose_encoding: Tensor
    asked: list[int]
    maps: DenseMaps
    descriptor: Tensor


def geometry_of(crop: Crop, answer: Answer, config: NetworkConfig) -> ChunkGeometry | None:
    """The answer as geometry in the network's gauge; None where it is not finite."""
    cameras = crop.cameras(answer.pose_encoding, config.use_camera_info)
    depth_nhw = answer.maps.values.float().cpu()
    if not cameras.finite or bool(depth_nhw.isnan().any()):
        return None
    usable = depth_nhw.isfinite()
    confidence_nhw = _share(answer.maps.confidence.float().cpu(), config.half_confident) * usable
    descriptors_SC = functional.normalize(answer.descriptor.float(), dim=-1).cpu()
    return ChunkGeometry(
        T_chunk_cam=cameras.T_chunk_cam,
        intrinsics=cameras.intrinsics,
        depth=crop.on_frames(torch.where(usable, depth_nhw, 0.0).numpy(), answer.asked),
        confidence=crop.on_frames(confidence_nhw.numpy(), answer.asked),
        descriptors=descriptors_SC.numpy() if descriptors_SC.shape[1] else None,
    )


def constant_velocity(chunk: Chunk, previous: Previous | None, crop: Crop) -> ChunkGeometry:
    """The geometry of a chunk for which the network failed: poses by constant velocity, and no depth."""
    T_chunk_cam = np.tile(np.eye(4), (len(chunk.frames), 1, 1))
    known = chunk.shared if previous is not None else 0
    if previous is not None and known:
        T_chunk_cam[:known] = previous.geometry.T_chunk_cam[-known:]
    step = se3.invert(T_chunk_cam[known - 2]) @ T_chunk_cam[known - 1] if known >= 2 else np.eye(4)
    for position in range(max(known, 1), len(T_chunk_cam)):
        T_chunk_cam[position] = T_chunk_cam[position - 1] @ step
    height, width = crop.size
    guess = Intrinsics(float(width), float(width), (width - 1) / 2, (height - 1) / 2, width, height)
    nothing = np.zeros((len(chunk.frames), height, width), np.float32)
    return ChunkGeometry(
        T_chunk_cam=T_chunk_cam,
        intrinsics=tuple(crop.calibration(position, guess) for position in range(len(chunk.frames))),
        depth=nothing,
        confidence=nothing.copy(),
        health=ChunkHealth.NOT_FINITE,
        note="the network's answer is not finite",
    )


def _share(confidence: Tensor, half: float) -> Tensor:
    """(c − 1) / (c − 1 + half − 1), for any c, infinite ones too."""
    return 1 / (1 + (half - 1) / (confidence - 1))
