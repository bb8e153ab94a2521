"""Which frames of a chunk go through the network together, in which order, and how parts are joined again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.errors import GeometryError
from scal3r_ros.geometry.alignment import align_sim3
from scal3r_ros.geometry.projection import backproject_pixels
from scal3r_ros.geometry.sim3 import Sim3
from scal3r_ros.reconstruction.protocol import ChunkGeometry

Array = NDArray[np.float64]

SMALLEST_PART = 2
"""Fewest frames of a part: with one, there is no motion."""

_POINTS = 1500
_DEPTH_SIGMA = 0.05
_CENTRE_SIGMA = 0.005
_ROTATION_SIGMA = np.deg2rad(0.2)


@dataclass(frozen=True)
class FrameOrder:
    """The order in which the network takes a chunk's frames, and the way back.

    `positions` in time by place in the order; `places` in the order by position in time; `previous`, by place, is the
    place of the frame before in time, for the first frame its own.
    """

    positions: list[int]
    places: list[int]
    previous: list[int]

    @classmethod
    def of(cls, frames: int) -> FrameOrder:
        """The middle one of `frames` frames first, then the others in time.

        The network builds its coordinates on its first frame, and the middle one sees most of what the others see.
        """
        middle = -(-frames // 2) - 1
        positions = [middle, *range(middle), *range(middle + 1, frames)]
        places = [positions.index(position) for position in range(frames)]
        return cls(positions, places, [places[max(0, position - 1)] for position in positions])

    def places_of(self, positions: Iterable[int]) -> list[int]:
        """Where in the order the frames at some positions are."""
        return [self.places[position] for position in positions]


def frames_with_depth(frames: int, shared: int, of_shared: int) -> list[int]:
    """Positions of the frames that get depth: all new ones, and `of_shared` of the shared ones, evenly spread."""
    count = min(of_shared, shared)
    return [*(int((i + 0.5) * shared / count) for i in range(count)), *range(shared, frames)]


def parts_of(frames: int, at_once: int) -> list[range]:
    """Ranges of at most `at_once` positions (two or more) that cover a chunk; neighbours share one or two frames."""
    overlap = 2 if at_once >= 4 else 1
    parts: list[range] = []
    start = 0
    while not parts or parts[-1].stop < frames:
        parts.append(range(start, min(start + at_once, frames)))
        start = parts[-1].stop - overlap
    return parts


def join(first: ChunkGeometry, second: ChunkGeometry, overlap: int) -> ChunkGeometry:
    """Two parts as one, in the gauge of `first`; its last `overlap` frames are the first of `second`."""
    S_first_second = _similarity(first, second, overlap)
    return replace(
        first,
        T_chunk_cam=np.concatenate([first.T_chunk_cam, S_first_second.apply_pose(second.T_chunk_cam[overlap:])]),
        intrinsics=first.intrinsics + second.intrinsics[overlap:],
        depth=np.concatenate([first.depth, (second.depth[overlap:] * S_first_second.scale).astype(np.float32)]),
        confidence=np.concatenate([first.confidence, second.confidence[overlap:]]),
        descriptors=None
        if first.descriptors is None or second.descriptors is None
        else np.concatenate([first.descriptors, second.descriptors[overlap:]]),
    )


def _similarity(first: ChunkGeometry, second: ChunkGeometry, overlap: int) -> Sim3:
    poses_first, poses_second = first.T_chunk_cam[-overlap:], second.T_chunk_cam[:overlap]
    offset = len(first.T_chunk_cam) - overlap
    points_first, points_second, sigmas, ratios = [], [], [], []
    for k in range(overlap):
        depth_first, depth_second = first.depth[offset + k].ravel(), second.depth[k].ravel()
        pixels = np.flatnonzero((depth_first > 0) & (depth_second > 0))
        pixels = pixels[:: max(1, len(pixels) * overlap // _POINTS)]
        uv = np.stack(np.divmod(pixels, first.depth.shape[2])[::-1], axis=1)
        z_first, z_second = depth_first[pixels].astype(np.float64), depth_second[pixels].astype(np.float64)
        points_first.append(_placed(uv, z_first, first, offset + k))
        points_second.append(_placed(uv, z_second, second, k))
        sigmas.append(_DEPTH_SIGMA * z_first)
        ratios.append(z_first / z_second)
    sigma, ratio = np.concatenate(sigmas), np.concatenate(ratios)
    scale = float(np.median(ratio)) if len(ratio) else 1.0
    unit = float(np.median(sigma)) / _DEPTH_SIGMA if len(sigma) else 1.0
    try:
        return align_sim3(
            np.concatenate(points_second),
            np.concatenate(points_first),
            1 / np.square(sigma),
            poses_second,
            poses_first,
            pose_weight=1 / (_CENTRE_SIGMA * unit) ** 2,
            rotation_weight=1 / _ROTATION_SIGMA**2,
            symmetric=True,
        ).transform
    except GeometryError:
        R = poses_first[-1, :3, :3] @ poses_second[-1, :3, :3].T
        return Sim3(scale, R, poses_first[-1, :3, 3] - scale * R @ poses_second[-1, :3, 3])


def _placed(uv: NDArray[np.int64], z: Array, geometry: ChunkGeometry, position: int) -> Array:
    T = geometry.T_chunk_cam[position]
    return backproject_pixels(uv, z, geometry.intrinsics[position]) @ T[:3, :3].T + T[:3, 3]
