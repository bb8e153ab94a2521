"""The ground that a camera travels on at constant height, in the depth and tracks of a chunk.

Each point is measured against the camera that saw it: its distance below that camera along the ground's normal. All
points of the ground are as far below as the camera is high, whatever the ground's slope. A ray that meets the ground at
relative depth error ε errs by ε times that height, however far away it ends; near points are weighed more, because the
error of depth grows with depth.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.geometry.projection import backproject, confident
from scal3r_ros.reconstruction.protocol import Chunk, ChunkGeometry

Array = NDArray[np.float64]

MIN_DEPRESSION = np.sin(np.deg2rad(3.0))
"""Sine of the angle under the horizon from which on a point may be of the ground near the camera."""
LANE = 0.8
"""How far to the side, in camera heights, the ground is that carries the vehicle: beyond lie crown, kerb and verge."""
BORDER = 0.05
"""Share of the depth map's height at its bottom that is left out: windows that leave the image are biased there."""
MAX_POINTS = 8000
MOUNT_SIGMA = np.deg2rad(4.0)
"""How far the camera's downward axis may be from the ground's normal: mounting, and what the vehicle leans."""
CLIMB_SIGMA = 0.005
"""Slope of the cameras' way against the ground: what the suspension and a changing slope make of it."""
WIDTH = 0.04
"""Width of the kernel that heights are counted with, as a share of the height."""
NEAR = 0.12
"""Distance from the plane, as a share of the height, within which a point takes part in the fit."""
COMMON_ERROR = 300.0
"""Points that share one error of depth, so that the fit does not take them for independent ones."""
MIN_POINTS = 100
MIN_CONTRAST = 2.0
"""How many times denser points have to lie on the ground than between it and a third of its height below."""
MIN_SHARE = 0.1
"""Share of the points below the camera, weighed, that have to lie on the ground."""
LARGEST_SPREAD = 0.08
ROUNDS = 15


@dataclass(frozen=True, eq=False)
class GroundPlane:
    """`normal` (3,), unit and pointing down in the chunk, and the `height` of the cameras above the ground in its unit.

    `sigma` is the standard deviation of the height's logarithm, by how well parts of the chunk agree on it; `points`
    are those on the ground, and `contrast` is how clearly it stands out.
    """

    normal: Array
    height: float
    sigma: float
    points: int
    contrast: float


@dataclass(frozen=True, eq=False)
class _Below:
    """Points from the camera that saw them, in the axes of the chunk (n, 3), weights (n,) and frames (n,)."""

    offsets: Array
    weights: Array
    frames: NDArray[np.int64]


def ground_plane(chunk: Chunk, geometry: ChunkGeometry, min_confidence: float) -> GroundPlane | None:
    """The ground of a chunk; None where none stands out, or the way of the cameras is too short. Deterministic."""
    T = geometry.T_chunk_cam
    down = T[:, :3, 1].mean(axis=0)
    if np.linalg.norm(down) < 0.9:  # the camera rolls: which way is down is not known
        return None
    normal, information = _normal_of_motion(T, down / np.linalg.norm(down))
    below = _points_below(chunk, geometry, normal, min_confidence)
    if len(below.offsets) < MIN_POINTS:
        return None
    height = _densest_height(below, normal)
    if height is None:
        return None
    normal, height, spread = _refined(below, normal, information, height)
    heights = below.offsets @ normal / height
    on = np.abs(heights - 1.0) < WIDTH * 1.5
    contrast = _contrast(below, heights)
    share = float(below.weights[on].sum() / below.weights.sum())
    if on.sum() < MIN_POINTS or spread > LARGEST_SPREAD or contrast < MIN_CONTRAST or share < MIN_SHARE:
        return None
    return GroundPlane(normal, height, _scatter(below, heights, spread, len(T)), int(on.sum()), contrast)


def _normal_of_motion(T: Array, down: Array) -> tuple[Array, Array]:
    """The direction near `down` across the cameras' way, and the information (2, 2) on it along `_across` of it."""
    centres = T[:, :3, 3] - T[:, :3, 3].mean(axis=0)
    length = float(np.linalg.norm(np.ptp(centres, axis=0)))
    mount = np.eye(2) / MOUNT_SIGMA**2
    if length <= 0:
        return down, mount
    way = centres / (CLIMB_SIGMA * length)
    # Normal = down + across · x: way · normal ≈ 0, and x ≈ 0 as far as the mount is known.
    A = way @ _across(down).T
    x = np.linalg.solve(A.T @ A + mount, -A.T @ (way @ down))
    normal = down + x @ _across(down)
    normal /= np.linalg.norm(normal)
    B = way @ _across(normal).T
    return normal, B.T @ B + mount


def _across(direction: Array) -> Array:
    """Two unit vectors (2, 3) that are perpendicular to a direction and to each other."""
    first = np.cross(direction, np.eye(3)[int(np.argmin(np.abs(direction)))])
    first /= np.linalg.norm(first)
    return np.stack([first, np.cross(direction, first)])


def _points_below(chunk: Chunk, geometry: ChunkGeometry, normal: Array, min_confidence: float) -> _Below:
    """Points under the horizon of the camera that saw them, an even choice of all."""
    offsets, weights, frames = [], [], []
    for k, T in enumerate(geometry.T_chunk_cam):
        depth, confidence = geometry.depth[k], geometry.confidence[k]
        sure = confident(depth, confidence, min_confidence)
        sure[round((1.0 - BORDER) * len(sure)) :] = False
        local = backproject(depth, geometry.intrinsics[k])[sure].astype(np.float64)
        offset, weight = local @ T[:3, :3].T, confidence[sure].astype(np.float64)
        ids = chunk.frames[k].features
        if geometry.tracks is not None and ids is not None:
            seen = geometry.tracks.points_chunk[np.isin(geometry.tracks.ids, ids.ids)] - T[:3, 3]
            offset = np.concatenate([offset, seen])
            weight = np.concatenate([weight, np.full(len(seen), 1.0)])
        distance = np.linalg.norm(offset, axis=1)
        drop = offset @ normal
        use = drop > MIN_DEPRESSION * distance
        offsets.append(offset[use])
        lateral = np.abs(offset[use] @ np.cross(normal, T[:3, 2])) / drop[use]
        weights.append(weight[use] / np.square(distance[use]) * np.exp(-0.5 * np.square(lateral / LANE)))
        frames.append(np.full(int(use.sum()), k))
    all_offsets, all_weights, all_frames = np.concatenate(offsets), np.concatenate(weights), np.concatenate(frames)
    chosen = np.linspace(0, len(all_offsets) - 1, min(MAX_POINTS, len(all_offsets))).astype(np.int64)
    return _Below(all_offsets[chosen], all_weights[chosen], all_frames[chosen])


def _densest_height(below: _Below, normal: Array) -> float | None:
    """The height at which most points lie, on a logarithmic scale, and less lies under it than on it."""
    log_heights = np.log(below.offsets @ normal)
    low, high = np.percentile(log_heights, [1.0, 99.0])
    if high - low < 1e-6:
        return None
    step = WIDTH / 4.0
    counts, edges = np.histogram(log_heights, np.arange(low - 0.5, high + 0.5, step), weights=below.weights)
    kernel = np.exp(-0.5 * np.square(np.arange(-12, 13) * step / WIDTH))
    density = np.convolve(counts, kernel, mode="same")
    # What lies under the ground is noise of what lies on it; a plane above the ground has the ground under itself.
    under = np.array([density[k + 8 : k + 60].max(initial=0.0) for k in range(len(density))])
    best = int(np.argmax(density - under))
    return float(np.exp(0.5 * (edges[best] + edges[best + 1])))


def _refined(below: _Below, normal: Array, information: Array, height: float) -> tuple[Array, float, float]:
    """Normal and height by reweighted least squares, and the spread of the points as a share of the height."""
    across, start = _across(normal), normal
    spread = WIDTH
    for _ in range(ROUNDS):
        ratio = below.offsets @ normal / height - 1.0
        near = np.abs(ratio) < NEAR
        if near.sum() < MIN_POINTS // 2:
            break
        spread = max(1.4826 * float(_weighted_median(np.abs(ratio[near]), below.weights[near])), 5e-3)
        weights = below.weights * near / np.square(1.0 + np.square(ratio / (2.0 * spread)))
        # start · p + x · (across · p) = h, for x and h; x under its prior, in shares of the height.
        A = np.concatenate([below.offsets @ across.T, -np.ones((len(weights), 1))], axis=1) / height
        b = -(below.offsets @ start) / height
        independent = float(weights.sum() ** 2 / np.square(weights).sum()) / COMMON_ERROR
        weights *= independent / (weights.sum() * spread**2)
        H = (A * weights[:, None]).T @ A
        H[:2, :2] += information
        x = np.linalg.solve(H, A.T @ (weights * b))
        normal = start + x[:2] @ across
        length = float(np.linalg.norm(normal))
        normal, height = normal / length, float(x[2]) / length
    return normal, height, spread


def _contrast(below: _Below, heights: Array) -> float:
    """Density of points on the ground over that of points under it, up to a third of the height."""
    on = float(below.weights[np.abs(heights - 1.0) < WIDTH].sum()) / (2.0 * WIDTH)
    under = float(below.weights[(heights > 1.0 + 2.5 * WIDTH) & (heights < 4.0 / 3.0)].sum()) / (1 / 3 - 2.5 * WIDTH)
    return on / max(under, 1e-9 * on)


def _scatter(below: _Below, heights: Array, spread: float, frames: int) -> float:
    """Standard deviation of the log height by what groups of frames make of it, each with the common normal."""
    groups = max(2, min(7, frames // 2))
    group = below.frames * groups // frames
    weights = below.weights / np.square(1.0 + np.square((heights - 1.0) / (2.0 * spread)))
    weights = weights * (np.abs(heights - 1.0) < NEAR)
    shares = np.array([weights[group == k].sum() for k in range(groups)])
    known = shares > 0.02 * shares.sum()
    if known.sum() < 2:
        return float("inf")
    means = np.array([weights[group == k] @ heights[group == k] for k in np.flatnonzero(known)]) / shares[known]
    return float(np.std(means, ddof=1) / np.sqrt(known.sum()))


def _weighted_median(values: Array, weights: Array) -> float:
    order = np.argsort(values, kind="stable")
    cumulated = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(cumulated, 0.5 * cumulated[-1])])
