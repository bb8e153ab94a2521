"""The ground under the cameras of a chunk: by the plane that they travel on, or by gravity and the lowest surface."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.geometry.projection import backproject, confident
from scal3r_ros.mapping.scale.sources.ground_plane import ground_plane
from scal3r_ros.reconstruction.protocol import Chunk, ChunkGeometry

Array = NDArray[np.float64]

LARGEST_SIGMA = 0.08
"""Standard deviation of the log of the height beyond which a ground plane is not used."""
MAX_POINTS = 20_000
MIN_POINTS = 200
BIN = 0.02
"""Width of the bins that heights are counted in, as a share of the cameras' height above the lowest points."""
MIN_SHARE = 0.05
"""Share of the weighed points below the cameras that have to lie on the floor."""


REACHES = (0.2, 0.1, 0.06)
"""Distances from the floor, as shares of the cameras' height, within which points take part in fitting it."""
STEEPEST = np.cos(np.deg2rad(15.0))
LARGEST_HEAVE = 0.04
"""Standard deviation of the cameras' heights above a plane, as a share, beyond which they do not travel on it."""


@dataclass(frozen=True, eq=False)
class Ground:
    """`up` (3,), a unit vector in the submap, and the `heights` (s,) of its cameras above the ground in its unit."""

    up: Array
    heights: Array


def ground_of(chunk: Chunk, geometry: ChunkGeometry, up_submap: Array | None, min_confidence: float) -> Ground | None:
    """The ground of a chunk; None where none stands out.

    Where `up_submap` is known by gravity, it is the lowest surface that is about level. Otherwise it is the plane that
    the cameras travel on, as long as they stay at one height above it.
    """
    if up_submap is not None:
        floor = _floor(geometry, up_submap / np.linalg.norm(up_submap), min_confidence)
        if floor is not None:
            return floor
    plane = ground_plane(chunk, geometry, min_confidence)
    if plane is None or plane.sigma > LARGEST_SIGMA:
        return None
    if np.std(geometry.T_chunk_cam[:, :3, 3] @ plane.normal) > LARGEST_HEAVE * plane.height:
        return None
    return Ground(-plane.normal, np.full(len(geometry.T_chunk_cam), plane.height))


def _floor(geometry: ChunkGeometry, up: Array, min_confidence: float) -> Ground | None:
    """The lowest level surface with a fair share of the points near and below the cameras, tilted as they lie."""
    centres = geometry.T_chunk_cam[:, :3, 3]
    points, weights = _near_points(geometry, min_confidence)
    z = points @ up
    below = z < float((centres @ up).min())
    if np.count_nonzero(below) < MIN_POINTS:
        return None
    points, weights, z = points[below], weights[below], z[below]
    lowest, camera = float(np.percentile(z, 0.5)), float((centres @ up).mean())
    step = BIN * (camera - lowest)
    counts, edges = np.histogram(z, np.arange(lowest - 3 * step, camera, step), weights=weights)
    density = np.convolve(counts, [0.5, 1.0, 1.0, 1.0, 0.5], mode="same")
    peaks = (
        (density >= MIN_SHARE * weights.sum()) & (density >= np.roll(density, 1)) & (density >= np.roll(density, -1))
    )
    if not peaks.any():
        return None
    height: float = camera - float(edges[int(np.argmax(peaks))] + 0.5 * step)
    middle = np.average(centres, axis=0)
    normal, offset = up, float(middle @ up) - height  # normal · p = offset
    for reach in REACHES:
        near = np.abs(points @ normal - offset) < reach * height
        if np.count_nonzero(near) < MIN_POINTS:
            return None
        weight = weights[near] / weights[near].sum()
        centre = weight @ points[near]
        spread = (points[near] - centre) * np.sqrt(weight)[:, None]
        normal = np.linalg.svd(spread, full_matrices=False)[2][2]
        normal = normal if normal @ up > 0 else -normal
        if normal @ up < STEEPEST:
            return None
        offset = float(normal @ centre)
    heights = centres @ normal - offset
    return Ground(normal, heights) if (heights > 0).all() else None


def _near_points(geometry: ChunkGeometry, min_confidence: float) -> tuple[Array, Array]:
    """An even choice of the confident points (n, 3) and weights (n,), which fall with the square of the distance."""
    points, weights = [], []
    for T, depth, confidence, camera in zip(
        geometry.T_chunk_cam, geometry.depth, geometry.confidence, geometry.intrinsics, strict=True
    ):
        sure = confident(depth, confidence, min_confidence)
        offsets = backproject(depth, camera)[sure].astype(np.float64) @ T[:3, :3].T
        points.append(offsets + T[:3, 3])
        weights.append(confidence[sure] / np.maximum(np.square(offsets).sum(axis=1), 1e-12))
    every, weight = np.concatenate(points), np.concatenate(weights)
    chosen = np.linspace(0, len(every) - 1, min(MAX_POINTS, len(every))).astype(np.int64)
    return every[chosen], weight[chosen]
