"""Inverse depth of a posed frame by plane sweep (Collins 1996) with semi-global aggregation; where its planes lie."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from scal3r_ros.configuration import parameter
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.reconstruction.geometric.stereo.aggregation import aggregated, best_planes
from scal3r_ros.reconstruction.geometric.stereo.matching import WORST, matching_cost
from scal3r_ros.reconstruction.geometric.stereo.on_device import swept_on_device

Floats = NDArray[np.float32]

_BINS = 200
_BLUR_BINS = 10
_NEARER, _FARTHER = 0.6, 6.0
"""Nearest and farthest plane: a little nearer than the nearest points, far enough to stand for infinity."""


@dataclass(frozen=True)
class PlaneSweepConfig:
    """Size and effort of the dense stage."""

    width: int = parameter(
        320, "width of the depth maps; the height follows the image", unit="pixels", minimum=32, maximum=4096
    )
    planes: int = parameter(64, "inverse-depth planes", minimum=8, maximum=512)
    sources: int = parameter(
        6, "neighbouring frames each frame is compared with; the better half counts", minimum=1, maximum=16
    )
    window: int = parameter(2, "half the width of the windows that are compared", unit="pixels", minimum=1, maximum=8)
    noise: float = parameter(
        1.4, "standard deviation of the image's noise; windows that deviate less match everything equally badly",
        unit="grey levels", minimum=0.1, maximum=50.0,
    )  # fmt: skip
    plane_step: float = parameter(
        0.03, "price in matching cost of one plane more or less than the neighbouring pixel", minimum=0.0, maximum=1.0
    )
    depth_jump: float = parameter(0.95, "price of any larger difference", minimum=0.0, maximum=8.0)
    edge: float = parameter(
        10.0, "difference of neighbouring pixels that halves that price", unit="grey levels", minimum=0.5, maximum=255.0
    )
    max_cost: float = parameter(0.9, "matching cost beyond which a depth is rejected", minimum=0.05, maximum=1.0)
    min_parallax_deg: float = parameter(
        1.5, "angle between the rays from two cameras below which a depth is rejected",
        unit="degrees", minimum=0.0, maximum=20.0,
    )  # fmt: skip
    consistency: float = parameter(
        0.04,
        "largest relative difference between the depths that two frames give one point",
        minimum=0.005,
        maximum=0.5,
    )
    min_region: int = parameter(
        24, "pixels that a connected piece of surface must have", unit="pixels", minimum=0, maximum=10_000
    )


@dataclass(frozen=True)
class View:
    """One frame of the sweep: `detail` (h, w) float32 grey levels less the mean around them, `grey` (h, w) float32,
    its camera matrix `K` (3, 3) and `T_ref_cam` (4, 4) float64.
    """

    detail: Floats
    grey: Floats
    K: NDArray[np.float64]
    T_ref_cam: NDArray[np.float64]


@dataclass(frozen=True)
class Epipolar:
    """Where points of a reference lie in n sources: pixel (u, v) at inverse depth q at `A[s]` (u, v, 1) + q `b[s]`.

    `sources` (n, h, w), `A` (n, 3, 3), `b` (n, 3), all float32.
    """

    sources: Floats
    A: Floats
    b: Floats


@dataclass(frozen=True)
class Swept:
    """Inverse depth (h, w) and, of the plane it lies at, the matching cost (h, w) in 0..1: 1 at the first and last."""

    inverse: Floats
    cost: Floats


def depth_size(intrinsics: Intrinsics, width: int) -> tuple[int, int]:
    """Height and width of the depth map for an image; never more than the image's own."""
    width = min(width, intrinsics.width)
    return max(8, round(intrinsics.height * width / intrinsics.width)), width


def epipolar(reference: View, sources: list[View]) -> Epipolar:
    """How points of `reference` lie in one or more `sources`."""
    to_source = [np.linalg.inv(source.T_ref_cam) @ reference.T_ref_cam for source in sources]
    K_inverse = np.linalg.inv(reference.K)
    A = [source.K @ T[:3, :3] @ K_inverse for source, T in zip(sources, to_source, strict=True)]
    b = [source.K @ T[:3, 3] for source, T in zip(sources, to_source, strict=True)]
    return Epipolar(
        np.stack([source.detail for source in sources]), np.asarray(A, np.float32), np.asarray(b, np.float32)
    )


def inverse_planes(depths: NDArray[np.float64], count: int) -> Floats:
    """`count` inverse depths, ascending, for a scene with points at `depths` (k,) > 0.

    Half of them lie evenly, half where the points are dense, so that neither a near object nor the far end of a street
    is between two planes.
    """
    near, far = np.percentile(depths, [2.0, 98.0])
    low, high = 1.0 / (_FARTHER * far), 1.0 / (_NEARER * near)
    points, edges = np.histogram(np.clip(1.0 / depths, low, high), _BINS, (low, high))
    offsets = np.arange(-4 * _BLUR_BINS, 4 * _BLUR_BINS + 1)
    blurred = np.convolve(points, np.exp(-0.5 * (offsets / _BLUR_BINS) ** 2), "same")
    density = 0.5 / _BINS + 0.5 * blurred / blurred.sum()
    reached = np.concatenate([[0.0], np.cumsum(density)])
    return np.interp(np.linspace(0.0, reached[-1], count), reached, edges).astype(np.float32)


def sweep(reference: View, seen: Epipolar, planes: Floats, config: PlaneSweepConfig, device: torch.device) -> Swept:
    """Inverse depth of `reference` between the first and last of `planes` (D,): compiled on a CPU, else in torch."""
    kept = (len(seen.sources) + 1) // 2
    small, large = WORST * config.plane_step, WORST * config.depth_jump
    if device.type != "cpu":
        found = swept_on_device(
            reference.detail, reference.grey, seen.sources, seen.A, seen.b, planes, config.window, config.noise**2,
            kept, small, large, config.edge, device,
        )  # fmt: skip
        return Swept(*found)
    cost = matching_cost(reference.detail, seen.sources, seen.A, seen.b, planes, config.window, config.noise**2, kept)
    total = aggregated(cost, reference.grey, round(small), large, config.edge)
    inverse, match = best_planes(cost, total, planes)
    return Swept(inverse, match)


def parallax(inverse: Floats, seen: Epipolar, focal: float) -> Floats:
    """Angle (h, w) in rad, about, by which a point of `inverse` (h, w) moves in the source where it moves most."""
    h, w = inverse.shape
    v, u = np.mgrid[0:h, 0:w].astype(np.float32)
    most = np.zeros((h, w), np.float32)
    for A, b in zip(seen.A, seen.b, strict=True):
        x, y, z = (A[i, 0] * u + A[i, 1] * v + A[i, 2] + inverse * b[i] for i in range(3))
        ahead = z > 1e-6
        per_z = np.where(ahead, 1.0 / np.where(ahead, z, 1.0), 0.0)
        x, y = x * per_z, y * per_z
        inside = ahead & (x >= 0) & (y >= 0) & (x <= w - 1) & (y <= h - 1)
        moved = inverse * np.hypot(b[0] - x * b[2], b[1] - y * b[2]) * per_z
        most = np.maximum(most, np.where(inside, moved, 0.0))
    return np.arctan(most / np.float32(focal)).astype(np.float32)
