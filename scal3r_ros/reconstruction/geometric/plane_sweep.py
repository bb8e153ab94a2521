"""Dense depth of posed frames by multi-view plane sweep (Collins 1996), batched in torch on whatever device is at hand.

Images are normalised by their local mean and deviation, so that the absolute difference of two of them behaves like a
normalised
cross-correlation at a fraction of its price. Costs of several sources are added without the worst one (it may be
occluded), smoothed over two window sizes, and the best inverse depth is refined between planes by a parabola.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as nnf

from scal3r_ros.configuration import parameter
from scal3r_ros.geometry.intrinsics import Intrinsics

CACHED_SAMPLES = 300_000
"""Samples of the cost volume that a CPU handles at a time: what stays in its cache."""


@dataclass(frozen=True)
class PlaneSweepConfig:
    """Size and effort of the dense stage."""

    width: int = parameter(
        320, "width of the depth maps; the height follows the image", unit="pixels", minimum=32, maximum=4096
    )
    planes: int = parameter(64, "inverse-depth planes", minimum=8, maximum=512)
    sources: int = parameter(3, "neighbouring frames each frame is compared with", minimum=1, maximum=16)
    smoothness: float = parameter(
        0.15, "price in matching cost of a depth unlike its neighbourhood's", minimum=0.0, maximum=1.0
    )
    smoothing_reach: float = parameter(
        6.0, "difference from which that price no longer grows", unit="planes", minimum=1.0
    )
    smoothing_radius: int = parameter(8, "half the width of that neighbourhood", unit="pixels", minimum=1, maximum=64)
    smoothing_rounds: int = parameter(3, "rounds of that smoothing; 0 for none", minimum=0, maximum=20)
    max_cost: float = parameter(0.55, "matching cost beyond which a depth is rejected", minimum=0.05, maximum=1.0)
    min_texture: float = parameter(
        3.0, "local deviation of the grey levels below which nothing can be matched", unit="grey levels", minimum=0.0
    )
    min_margin: float = parameter(
        0.12, "how much worse than the best the mean plane has to be: little where there is no texture",
        minimum=0.0, maximum=1.0,
    )  # fmt: skip
    min_parallax_deg: float = parameter(
        1.5, "angle between the rays from both cameras below which a depth is rejected",
        unit="degrees", minimum=0.0, maximum=20.0,
    )  # fmt: skip
    consistency: float = parameter(
        0.04,
        "largest relative difference between the depths that two frames give one point",
        minimum=0.005,
        maximum=0.5,
    )


@dataclass(frozen=True)
class View:
    """One frame of the sweep, all on one device.

    `feature` (h, w) normalised image; `textured` (h, w) bool, whether there is anything to match; `K` (3, 3),
    `T_ref_cam` (4, 4).
    """

    feature: torch.Tensor
    textured: torch.Tensor
    K: torch.Tensor
    T_ref_cam: torch.Tensor


@dataclass(frozen=True)
class SweptDepth:
    """`depth` (h, w), `cost` (h, w) in 0..1 of the best plane, `margin` (h, w): how much worse the mean one is."""

    depth: torch.Tensor
    cost: torch.Tensor
    margin: torch.Tensor


def depth_size(intrinsics: Intrinsics, width: int) -> tuple[int, int]:
    """Height and width of the depth map for an image; never more than the image's own."""
    width = min(width, intrinsics.width)
    return max(8, round(intrinsics.height * width / intrinsics.width)), width


def normalised(grey_hw: torch.Tensor) -> torch.Tensor:
    """`grey_hw` less its local mean, over its local deviation; about −1..1, 0 where there is no texture."""
    mean, deviation = _local_statistics(grey_hw, 4)
    return (grey_hw - mean) / (2.0 * (deviation**2 + 9.0).sqrt())


def textured(grey_hw: torch.Tensor, min_deviation: float) -> torch.Tensor:
    """Where (h, w) the grey levels around a pixel deviate by at least `min_deviation` from each other: not in the
    sky.
    """
    return _local_statistics(grey_hw, 1)[1] >= min_deviation


def _local_statistics(grey_hw: torch.Tensor, radius: int) -> tuple[torch.Tensor, torch.Tensor]:
    mean = _box_mean(grey_hw[None], radius)[0]
    variance = _box_mean((grey_hw**2)[None], radius)[0] - mean**2
    return mean, variance.clamp_min(0.0).sqrt()


def sweep(reference: View, sources: list[View], near: float, far: float, config: PlaneSweepConfig) -> SweptDepth:
    """Depth of `reference` between `near` and `far` (both > 0, in the views' unit) from one or more `sources`."""
    height, width = reference.feature.shape
    device = reference.feature.device
    inverse_D = torch.linspace(1.0 / far, 1.0 / near, config.planes, device=device)
    at_once = config.planes if device.type != "cpu" else max(1, CACHED_SAMPLES // (height * width))
    cost_DHW = torch.empty(config.planes, height, width, device=device)
    for first in range(0, config.planes, at_once):
        block = inverse_D[first : first + at_once]
        cost_DHW[first : first + at_once] = _smoothed(_joint_cost(reference, sources, block))
    return _best_plane(_regularised(cost_DHW, config), inverse_D)


def consistency(depth: torch.Tensor, view: View, other_depth: torch.Tensor, other: View) -> torch.Tensor:
    """Relative difference (h, w) between the depth that `view` predicts in `other` and the one found there; inf if
    unseen.
    """
    height, width = depth.shape
    T = torch.linalg.inv(other.T_ref_cam) @ view.T_ref_cam
    rays = _rays(view.K, height, width)
    points = T[:3, :3] @ (rays * depth.reshape(1, -1)) + T[:3, 3:]
    z = points[2].clamp_min(1e-9)
    uv = (other.K[:2] @ points) / z
    grid = torch.stack([uv[0] * 2 / (width - 1) - 1, uv[1] * 2 / (height - 1) - 1], -1).view(1, height, width, 2)
    found = nnf.grid_sample(other_depth[None, None], grid, mode="nearest", align_corners=True)[0, 0].reshape(-1)
    difference = torch.where((found > 0) & (points[2] > 0), (found - z).abs() / z, torch.inf)
    return difference.view(height, width)


def parallax(depth: torch.Tensor, view: View, other: View) -> torch.Tensor:
    """Angle (h, w) in rad between the rays from both cameras at the points of `depth`."""
    height, width = depth.shape
    points = _rays(view.K, height, width) * depth.reshape(1, -1)
    centre = (torch.linalg.inv(view.T_ref_cam) @ other.T_ref_cam)[:3, 3:]
    cosine = nnf.cosine_similarity(points, points - centre, dim=0)
    return torch.arccos(cosine.clamp(-1, 1)).view(height, width)


def _rays(K: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Rays (3, h·w) of all pixels on the z = 1 plane."""
    v, u = torch.meshgrid(
        torch.arange(height, device=K.device, dtype=K.dtype),
        torch.arange(width, device=K.device, dtype=K.dtype),
        indexing="ij",
    )
    return torch.linalg.inv(K) @ torch.stack([u.reshape(-1), v.reshape(-1), torch.ones_like(u).reshape(-1)])


def _joint_cost(reference: View, sources: list[View], inverse_D: torch.Tensor) -> torch.Tensor:
    """Mean cost (D, h, w) over the sources; of three or more the worst is left out, as the point may be hidden
    there.
    """
    total = _cost(reference, sources[0], inverse_D)
    worst = total.clone()
    for source in sources[1:]:
        cost = _cost(reference, source, inverse_D)
        total += cost
        torch.maximum(worst, cost, out=worst)
    return total.sub_(worst).div_(len(sources) - 1) if len(sources) > 2 else total.div_(len(sources))


def _cost(reference: View, source: View, inverse_D: torch.Tensor) -> torch.Tensor:
    """Truncated absolute difference (D, h, w) in 0..1 between `reference` and `source` warped by every plane."""
    height, width = reference.feature.shape
    T = torch.linalg.inv(source.T_ref_cam) @ reference.T_ref_cam
    far_3N = source.K @ T[:3, :3] @ _rays(reference.K, height, width)
    shift_3 = source.K @ T[:3, 3]
    scale = torch.tensor([2.0 / (width - 1), 2.0 / (height - 1)], device=far_3N.device)
    far_3HW = far_3N.view(3, height, width)
    inverse_D11 = inverse_D[:, None, None]
    depth_DHW = far_3HW[2] + inverse_D11 * shift_3[2]
    depth_DHW.clamp_min_(1e-6).reciprocal_()
    grid = torch.empty(len(inverse_D), height, width, 2, device=far_3N.device)
    for axis in (0, 1):
        # homogeneous coordinate, then grid_sample's −1..1, in as few passes over the volume as possible
        numerator = far_3HW[axis] * scale[axis] + inverse_D11 * (shift_3[axis] * scale[axis])
        torch.mul(numerator, depth_DHW, out=numerator)
        grid[..., axis] = numerator.sub_(1.0)
    warped = nnf.grid_sample(
        source.feature[None, None], grid.view(1, -1, width, 2), align_corners=True, padding_mode="border"
    ).view(len(inverse_D), height, width)
    cost = warped.sub_(reference.feature).abs_().clamp_(max=1.0)
    outside = (grid[..., 0].abs() > 1.0) | (grid[..., 1].abs() > 1.0)
    return cost.masked_fill_(outside, 0.6)


def _smoothed(cost_DHW: torch.Tensor) -> torch.Tensor:
    """Mean of the costs over a small and a large window: detail where there is texture, support where there is
    little.
    """
    small = _box_mean(cost_DHW, 1)
    return _box_mean(small, 4).add_(small).mul_(0.5)


def _box_mean(volume_DHW: torch.Tensor, radius: int) -> torch.Tensor:
    """Mean over windows of (2·radius + 1)², smaller at the borders: sums of shifted copies, which beat pooling on a
    CPU.
    """
    _, height, width = volume_DHW.shape
    total = _running_sum(_running_sum(volume_DHW, radius, 2), radius, 1)
    ones = torch.ones(1, height, width, device=volume_DHW.device)
    return total.div_(_running_sum(_running_sum(ones, radius, 2), radius, 1))


def _running_sum(volume_DHW: torch.Tensor, radius: int, axis: int) -> torch.Tensor:
    """Sum over 2·radius + 1 neighbours along `axis`, zeros beyond the border.

    Sums of 1, 2, 4 … neighbours, each made of the one before, are laid side by side as the bits of the width say.
    """
    size, width = volume_DHW.shape[axis], 2 * radius + 1
    padding = [0, 0, 0, 0]
    padding[2 * (2 - axis)], padding[2 * (2 - axis) + 1] = radius, radius
    window, sums = 1, nnf.pad(volume_DHW, padding)
    total = sums.narrow(axis, width - 1, size)
    covered = 1
    while 2 * window <= width:
        count = sums.shape[axis] - window
        sums = sums.narrow(axis, 0, count) + sums.narrow(axis, window, count)
        window *= 2
        if width & window:
            total = sums.narrow(axis, width - covered - window, size) + total
            covered += window
    return total


def _regularised(cost_DHW: torch.Tensor, config: PlaneSweepConfig) -> torch.Tensor:
    """Costs plus what it takes to differ from the neighbourhood: inverse depth is linear in the image over any plane.

    The mean inverse depth of the believable neighbours is such a plane's own value, however slanted it is; the price is
    truncated, so that edges stay where the images want them.
    """
    planes = torch.arange(len(cost_DHW), device=cost_DHW.device, dtype=cost_DHW.dtype)[:, None, None]
    mean = cost_DHW.mean(0)
    joint = cost_DHW
    for _ in range(config.smoothing_rounds):
        best, index = joint.min(0)
        weight = (mean - best).clamp_min(1e-3) ** 2
        expected = _box_mean((weight * index)[None], config.smoothing_radius) / _box_mean(
            weight[None], config.smoothing_radius
        )
        price = (planes - expected).abs_().clamp_(max=config.smoothing_reach)
        joint = price.mul_(config.smoothness / config.smoothing_reach).add_(cost_DHW)
    return joint


def _best_plane(cost_DHW: torch.Tensor, inverse_D: torch.Tensor) -> SweptDepth:
    count = len(inverse_D)
    best, index = cost_DHW.min(0)
    inner = index.clamp(1, count - 2)
    low = cost_DHW.gather(0, (inner - 1)[None])[0]
    mid = cost_DHW.gather(0, inner[None])[0]
    high = cost_DHW.gather(0, (inner + 1)[None])[0]
    curvature = (low + high - 2 * mid).clamp_min(1e-6)
    offset = ((low - high) / (2 * curvature)).clamp(-0.5, 0.5)
    step = inverse_D[1] - inverse_D[0]
    inverse = inverse_D[0] + (inner + offset) * step
    at_edge = (index == 0) | (index == count - 1)
    return SweptDepth(1.0 / inverse, torch.where(at_edge, 1.0, best), cost_DHW.mean(0) - best)
