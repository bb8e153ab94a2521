"""Dense depth of posed frames by multi-view plane sweep (Collins 1996), batched in torch on whatever device is at hand.

Images are normalised by their local mean and deviation, so that the absolute difference of two of them behaves like a normalised
cross-correlation at a fraction of its price. Costs of several sources are added without the worst one (it may be occluded),
smoothed over two window sizes, and the best inverse depth is refined between planes by a parabola.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from scal3r_ros.configuration import parameter
from scal3r_ros.geometry.intrinsics import Intrinsics


@dataclass(frozen=True)
class PlaneSweepConfig:
    """Size and effort of the dense stage."""

    width: int = parameter(
        256, "width of the depth maps; the height follows the image", unit="pixels", minimum=32, maximum=4096
    )
    planes: int = parameter(64, "inverse-depth planes", minimum=8, maximum=512)
    sources: int = parameter(3, "neighbouring frames each frame is compared with", minimum=1, maximum=16)
    max_cost: float = parameter(
        0.55, "matching cost beyond which a depth is not believed at all", minimum=0.05, maximum=1.0
    )
    min_parallax_deg: float = parameter(
        0.7, "angle between the rays from both cameras below which a depth is not believed",
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
    """One frame of the sweep: `feature` (h, w) normalised image; `K` (3, 3) and `T_ref_cam` (4, 4), all on one device."""

    feature: torch.Tensor
    K: torch.Tensor
    T_ref_cam: torch.Tensor


@dataclass(frozen=True)
class SweptDepth:
    """`depth` (h, w), `cost` (h, w) in 0..1 of the best plane, `margin` (h, w): how much worse the best other plane is."""

    depth: torch.Tensor
    cost: torch.Tensor
    margin: torch.Tensor


def depth_size(intrinsics: Intrinsics, width: int) -> tuple[int, int]:
    """Height and width of the depth map for an image; never more than the image's own."""
    width = min(width, intrinsics.width)
    return max(8, round(intrinsics.height * width / intrinsics.width)), width


def normalised(grey_hw: torch.Tensor, window: int = 9) -> torch.Tensor:
    """`grey_hw` less its local mean, over its local deviation; about −1..1, 0 where there is no texture."""
    image = grey_hw[None, None]
    pad = window // 2
    mean = F.avg_pool2d(F.pad(image, (pad,) * 4, mode="replicate"), window, 1)
    variance = F.avg_pool2d(F.pad((image - mean) ** 2, (pad,) * 4, mode="replicate"), window, 1)
    return ((image - mean) / (2.0 * (variance + 9.0).sqrt()))[0, 0]


def sweep(reference: View, sources: list[View], near: float, far: float, config: PlaneSweepConfig) -> SweptDepth:
    """Depth of `reference` between `near` and `far` (both > 0, in the views' unit) from one or more `sources`."""
    height, width = reference.feature.shape
    inverse_D = torch.linspace(1.0 / far, 1.0 / near, config.planes, device=reference.feature.device)
    total_DHW: torch.Tensor | None = None
    worst_DHW: torch.Tensor | None = None
    for source in sources:
        cost = _cost(reference, source, inverse_D)
        if total_DHW is None or worst_DHW is None:
            total_DHW, worst_DHW = cost, cost.clone()
        else:
            total_DHW += cost
            torch.maximum(worst_DHW, cost, out=worst_DHW)
    assert total_DHW is not None and worst_DHW is not None
    if len(sources) > 2:
        total_DHW.sub_(worst_DHW).div_(len(sources) - 1)
    else:
        total_DHW.div_(len(sources))
    return _best_plane(_smoothed(total_DHW), inverse_D)


def consistency(depth: torch.Tensor, view: View, other_depth: torch.Tensor, other: View) -> torch.Tensor:
    """Relative difference (h, w) between the depth that `view` predicts in `other` and the one found there; inf if unseen."""
    height, width = depth.shape
    T = torch.linalg.inv(other.T_ref_cam) @ view.T_ref_cam
    rays = _rays(view.K, height, width)
    points = T[:3, :3] @ (rays * depth.reshape(1, -1)) + T[:3, 3:]
    z = points[2].clamp_min(1e-9)
    uv = (other.K[:2] @ points) / z
    grid = torch.stack([uv[0] * 2 / (width - 1) - 1, uv[1] * 2 / (height - 1) - 1], -1).view(1, height, width, 2)
    found = F.grid_sample(other_depth[None, None], grid, mode="nearest", align_corners=True)[0, 0].reshape(-1)
    difference = torch.where((found > 0) & (points[2] > 0), (found - z).abs() / z, torch.inf)
    return difference.view(height, width)


def parallax(depth: torch.Tensor, view: View, other: View) -> torch.Tensor:
    """Angle (h, w) in rad between the rays from both cameras at the points of `depth`."""
    height, width = depth.shape
    points = _rays(view.K, height, width) * depth.reshape(1, -1)
    centre = (torch.linalg.inv(view.T_ref_cam) @ other.T_ref_cam)[:3, 3:]
    cosine = F.cosine_similarity(points, points - centre, dim=0)
    return torch.arccos(cosine.clamp(-1, 1)).view(height, width)


def _rays(K: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Rays (3, h·w) of all pixels on the z = 1 plane."""
    v, u = torch.meshgrid(
        torch.arange(height, device=K.device, dtype=K.dtype),
        torch.arange(width, device=K.device, dtype=K.dtype),
        indexing="ij",
    )
    return torch.linalg.inv(K) @ torch.stack([u.reshape(-1), v.reshape(-1), torch.ones_like(u).reshape(-1)])


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
    warped = F.grid_sample(
        source.feature[None, None], grid.view(1, -1, width, 2), align_corners=True, padding_mode="border"
    ).view(len(inverse_D), height, width)
    cost = warped.sub_(reference.feature).abs_().clamp_(max=1.0)
    outside = (grid[..., 0].abs() > 1.0) | (grid[..., 1].abs() > 1.0)
    return cost.masked_fill_(outside, 0.6)


def _smoothed(cost_DHW: torch.Tensor) -> torch.Tensor:
    """Mean of the costs over a small and a large window: detail where there is texture, support where there is little."""
    cost = cost_DHW[None]
    small = F.avg_pool2d(cost, 3, 1, 1, count_include_pad=False)
    large = F.avg_pool2d(
        F.avg_pool2d(small, (1, 9), 1, (0, 4), count_include_pad=False), (9, 1), 1, (4, 0), count_include_pad=False
    )
    return small.add_(large).mul_(0.5)[0]


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
    planes = torch.arange(count, device=cost_DHW.device)[:, None, None]
    other = cost_DHW.masked_fill((planes - index).abs() <= 2, 2.0).amin(0)
    at_edge = (index == 0) | (index == count - 1)
    return SweptDepth(1.0 / inverse, torch.where(at_edge, 1.0, best), other - best)
