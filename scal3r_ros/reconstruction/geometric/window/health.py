"""What a chunk's motion is worth, judged after the fact, and what stands in for one that could not be found."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.geometry import se3
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.reconstruction.protocol import Chunk, ChunkGeometry, ChunkHealth, Previous

Array = NDArray[np.float64]

LEAST_INLIERS = 0.4
"""Share of the tracks' observations that has to agree with the motion."""
MOST_SCALE_CHANGE = 1.25
"""Factor by which frames that were known before may have grown or shrunk when they are adjusted anew."""
MOST_DEPTH_CHANGE = 2.5
"""Factor by which near points may be nearer or farther than in the chunk before."""
MOST_ACCELERATION = 8.0
"""Longest step of a camera, in longest steps of the frames before."""


def contradiction(
    T_ref_cam: Array, T_before: Array, sights: NDArray[np.int64], inlier_share: float, min_tracks: int
) -> str:
    """What speaks against a motion; empty where nothing does.

    `T_ref_cam` (s, 4, 4) are all cameras, the first of which were at `T_before` (k, 4, 4), k < s, by the chunk before;
    `sights` (s,) says how many of the points each of them sees.
    """
    known = len(T_before)
    if not np.isfinite(T_ref_cam).all():
        return "its numbers are not finite"
    if inlier_share < LEAST_INLIERS:
        return f"only {inlier_share:.0%} of the observations agree with it"
    blind = np.flatnonzero(sights[known:] < min_tracks)
    if len(blind):
        return f"{len(blind)} of its frames see fewer than {min_tracks} of its points"
    spread_before, spread_now = (_spread(T[:known]) for T in (T_before, T_ref_cam))
    if min(spread_before, spread_now) > 0:
        change = spread_now / spread_before
        if max(change, 1.0 / change) > MOST_SCALE_CHANGE:
            return f"the way before it comes out {change:.2f} times as long as before"
    steps = np.linalg.norm(np.diff(T_ref_cam[:, :3, 3], axis=0), axis=1)
    if known >= 3 and steps[known - 1 :].max() > MOST_ACCELERATION * steps[: known - 1].max() > 0:
        return "it is many times as fast as the frames before"
    return ""


def jump_of_depth(before: float, now: float) -> str:
    """What the depth of near points speaks against a motion, in one unit in both chunks; empty where nothing.

    A camera that turns faster than its tracks can follow loses its scale, and its points come nearer from chunk to
    chunk.
    """
    change = max(before, now) / max(min(before, now), 1e-12)
    return (
        f"near points are suddenly {change:.1f} times as {'near' if now < before else 'far'}"
        if (change > MOST_DEPTH_CHANGE)
        else ""
    )


def _spread(T: Array) -> float:
    return float(np.linalg.norm(T[:, :3, 3] - T[:, :3, 3].mean(axis=0))) if len(T) > 1 else 0.0


def at_constant_velocity(chunk: Chunk, previous: Previous | None, camera: Intrinsics, note: str) -> ChunkGeometry:
    """What is given out for a chunk that nothing could be made of: the speed of the chunk before, and no depth.

    `camera` is that of the depth maps.
    """
    T_chunk_cam = np.tile(np.eye(4), (len(chunk.frames), 1, 1))
    known = chunk.shared if previous is not None else 0
    if previous is not None and known:
        T_chunk_cam[:known] = previous.geometry.T_chunk_cam[-known:]
    step = se3.invert(T_chunk_cam[known - 2]) @ T_chunk_cam[known - 1] if known >= 2 else np.eye(4)
    for position in range(max(known, 1), len(T_chunk_cam)):
        T_chunk_cam[position] = se3.renormalised(T_chunk_cam[position - 1] @ step)
    nothing = np.zeros((len(chunk.frames), camera.height, camera.width), np.float32)
    return ChunkGeometry(
        T_chunk_cam=se3.renormalised(se3.invert(T_chunk_cam[0]) @ T_chunk_cam),
        intrinsics=(camera,) * len(chunk.frames),
        depth=nothing,
        confidence=nothing.copy(),
        health=ChunkHealth.LOST,
        note=note,
    )
