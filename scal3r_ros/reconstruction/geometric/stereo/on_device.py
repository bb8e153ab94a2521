"""The sweep in torch, for a GPU: the same costs, aggregation and choice of planes as the compiled one.

Tests compare both on a CPU. It was never run on a GPU.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as nnf
from numpy.typing import NDArray

from scal3r_ros.reconstruction.geometric.stereo.matching import WORST

Floats = NDArray[np.float32]

_AT_ONCE = 16
"""Planes whose costs are computed together."""


@torch.inference_mode()
def swept_on_device(
    reference: Floats, grey: Floats, sources: Floats, A: Floats, b: Floats, planes: Floats, radius: int, noise: float,
    kept: int, small: float, large: float, edge: float, device: torch.device,
) -> tuple[Floats, Floats]:  # fmt: skip
    """Inverse depth (h, w) and matching cost (h, w) in 0..1; arguments as in `matching_cost` and `aggregated`."""
    image, others, q, A_3, b_3 = (torch.from_numpy(array).to(device) for array in (reference, sources, planes, A, b))
    cost_DHW = torch.cat([
        _cost(image, others, A_3, b_3, part, radius, noise, kept) for part in torch.split(q, _AT_ONCE)
    ])  # fmt: skip
    total_DHW = _aggregated(cost_DHW, torch.from_numpy(grey).to(device), small, large, edge)
    inverse, match = _best_planes(cost_DHW, total_DHW, q)
    return inverse.cpu().numpy(), match.cpu().numpy()


def _cost(
    reference: torch.Tensor, sources: torch.Tensor, A: torch.Tensor, b: torch.Tensor, planes: torch.Tensor, radius: int,
    noise: float, kept: int,
) -> torch.Tensor:  # fmt: skip
    """Mean of the `kept` lowest costs (D, h, w) int32 over the sources."""
    h, w = reference.shape
    mean = _box(reference[None], radius)[0]
    rate = (_box(reference[None] ** 2, radius)[0] - mean**2).clamp_min(0.0).add(noise).rsqrt()
    v, u = torch.meshgrid(
        torch.arange(h, device=A.device, dtype=A.dtype), torch.arange(w, device=A.device, dtype=A.dtype), indexing="ij"
    )
    pixels = torch.stack([u, v, torch.ones_like(u)])
    costs = []
    for source, A_s, b_s in zip(sources, A, b, strict=True):
        x, y, z = torch.einsum("ij,jhw->ihw", A_s, pixels)[:, None] + planes[:, None, None] * b_s[:, None, None, None]
        x, y = x / z.clamp_min(1e-6), y / z.clamp_min(1e-6)
        seen = (x >= 0) & (y >= 0) & (x <= w - 1) & (y <= h - 1)
        grid = torch.stack([x * 2 / (w - 1) - 1, y * 2 / (h - 1) - 1], -1).view(1, -1, w, 2)
        warped = nnf.grid_sample(source[None, None], grid, padding_mode="border", align_corners=True)
        warped = warped.view(len(planes), h, w)
        m = _box(warped, radius)
        deviation = (_box(warped**2, radius) - m**2).clamp_min(0.0).add(noise).sqrt()
        correlation = (_box(warped * reference, radius) - m * mean) * rate * seen / deviation
        costs.append((1.0 - correlation).clamp_max(1.0))
    lowest = torch.stack(costs).sort(0).values[:kept].mean(0)
    return (lowest.clamp_min(0.0) * WORST + 0.5).to(torch.int32)


def _box(volume: torch.Tensor, radius: int) -> torch.Tensor:
    """Mean over windows of (2·radius + 1)², smaller at the borders."""
    return nnf.avg_pool2d(volume[None], 2 * radius + 1, 1, radius, count_include_pad=False)[0]


def _aggregated(cost_DHW: torch.Tensor, grey: torch.Tensor, small: float, large: float, edge: float) -> torch.Tensor:
    """Sum (D, h, w) over eight paths."""
    cost_HWD = cost_DHW.permute(1, 2, 0).contiguous()
    total_HWD = torch.zeros_like(cost_HWD)
    step = round(small)
    for along_rows in (False, True):
        lines, image = (cost_HWD.transpose(0, 1), grey.T) if along_rows else (cost_HWD, grey)
        total = total_HWD.transpose(0, 1) if along_rows else total_HWD
        for backwards in (False, True):
            order = range(len(lines) - 1, -1, -1) if backwards else range(len(lines))
            for shift in (0,) if along_rows else (-1, 0, 1):
                _follow(lines, image, list(order), shift, step, large, edge, total)
    return total_HWD.permute(2, 0, 1)


def _follow(
    cost_LMD: torch.Tensor, grey_LM: torch.Tensor, order: list[int], shift: int, small: int, large: float, edge: float,
    total_LMD: torch.Tensor,
) -> None:  # fmt: skip
    """Adds what paths cost that go from line to line, `shift` places along them with each."""
    before, last = torch.zeros_like(cost_LMD[0]), None
    places = torch.arange(cost_LMD.shape[1], device=cost_LMD.device) + shift
    begins = (places < 0) | (places >= len(places))
    places = places.clamp(0, len(places) - 1)
    for line in order:
        if last is None:
            now = cost_LMD[line].clone()
        else:
            came = torch.where(begins[:, None], 0, before[places])
            least = came.min(1, keepdim=True).values
            difference = (grey_LM[line] - grey_LM[last][places]).abs()
            jump = (large / (1.0 + difference / edge)).clamp_min(float(small)).to(torch.int32)[:, None]
            jump = torch.where(begins[:, None], small, jump)
            beside = nnf.pad(came, (1, 1), value=torch.iinfo(torch.int32).max // 2)
            beside = torch.minimum(beside[:, :-2], beside[:, 2:]) + small
            now = cost_LMD[line] + torch.minimum(torch.minimum(came, beside), least + jump) - least
        total_LMD[line] += now
        before, last = now, line


def _best_planes(cost: torch.Tensor, total: torch.Tensor, planes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    count = len(planes)
    least = total.min(0).values
    index = (total == least).to(torch.int8).argmax(0)
    inner = index.clamp(1, count - 2)
    low, high = (total.gather(0, inner[None] + side)[0] - least for side in (-1, 1))
    larger = torch.maximum(low, high)
    part = torch.where(larger > 0, 0.5 * (low - high) / larger.clamp_min(1), 0.0)
    span = torch.where(part > 0, planes[inner + 1] - planes[inner], planes[inner] - planes[inner - 1])
    at_edge = (index == 0) | (index == count - 1)
    inverse = torch.where(at_edge, planes[index], planes[inner] + part * span)
    match = torch.where(at_edge, 1.0, cost.gather(0, index[None])[0] / WORST)
    return inverse, match
