"""Dense maps from tokens: the tokens of four layers become a pyramid of feature maps, fused from coarse to fine.

Shapes: S frames, P tokens of a frame, N patches of a frame, C channels of a token (frame and global half) or level,
h × w pixels, y × x cells of a feature map, F fused channels, v values.
Source: DPT (arXiv:2103.13413) as in VGGT, whose residual units rectify their input before adding it back.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from scal3r_ros.model.aggregator import Grid
from scal3r_ros.model.layers.precision import without_autocast

_POSITION_STRENGTH = 0.1
_POSITION_BASE = 100.0
_OUTPUT_HIDDEN = 32


@dataclass(frozen=True)
class DptHeadConfig:
    """Channels of the four levels, fine to coarse, and of the fused map."""

    levels: tuple[int, int, int, int] = (256, 512, 1024, 1024)
    fused: int = 256


class ResidualUnit(nn.Module):
    """Two rectified convolutions added to the rectified input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x_SFyx: Tensor) -> Tensor:
        x_SFyx = functional.relu(x_SFyx)
        return x_SFyx + self.conv2(functional.relu(self.conv1(x_SFyx)))


class Fusion(nn.Module):
    """Adds a level to what came from the coarser ones, refines the sum and brings it to the next level's size."""

    def __init__(self, channels: int, coarsest: bool) -> None:
        super().__init__()
        self.level = None if coarsest else ResidualUnit(channels)
        self.refine = ResidualUnit(channels)
        self.merge = nn.Conv2d(channels, channels, 1)

    def forward(self, level_SFyx: Tensor, coarser_SFyx: Tensor | None, size: tuple[int, int]) -> Tensor:
        if self.level is not None and coarser_SFyx is not None:
            level_SFyx = coarser_SFyx + self.level(level_SFyx)
        return self.merge(_resize(self.refine(level_SFyx), size))


class DptHead(nn.Module):
    """`values` numbers, which `meaning` turns into depth or points, and a confidence above one for every pixel."""

    def __init__(
        self,
        channels: int,
        values: int,
        meaning: Callable[[Tensor], Tensor],
        patch: int,
        config: DptHeadConfig,
        detail_channels: int = 0,
    ) -> None:
        super().__init__()
        a, b, c, d = config.levels
        self.meaning = meaning
        self.patch = patch
        self.norm = nn.LayerNorm(channels)
        self.project = nn.ModuleList(nn.Conv2d(channels, width, 1) for width in config.levels)
        self.resize = nn.ModuleList(
            (
                nn.ConvTranspose2d(a, a, 4, stride=4),
                nn.ConvTranspose2d(b, b, 2, stride=2),
                nn.Identity(),
                nn.Conv2d(d, d, 3, stride=2, padding=1),
            )
        )
        self.adapt = nn.ModuleList(nn.Conv2d(n, config.fused, 3, padding=1, bias=False) for n in (a, b, c, d))
        self.fuse = nn.ModuleList(Fusion(config.fused, coarsest=i == 3) for i in range(4))
        self.detail = nn.Conv2d(detail_channels, config.fused, 3, padding=1) if detail_channels else None
        if self.detail is not None:
            # Learning starts from the prediction of the tokens alone.
            nn.init.zeros_(self.detail.weight)
            nn.init.zeros_(cast(Tensor, self.detail.bias))
        self.narrow = nn.Conv2d(config.fused, config.fused // 2, 3, padding=1)
        self.hidden = nn.Conv2d(config.fused // 2, _OUTPUT_HIDDEN, 3, padding=1)
        self.out = nn.Conv2d(_OUTPUT_HIDDEN, values + 1, 1)

    def forward(
        self,
        features: Sequence[Tensor],
        grid: Grid,
        special: int,
        frames_at_once: int = 8,
        detail: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Values (S, h, w, v) and confidence (S, h, w), at most `frames_at_once` frames being worked on at a time.

        `features`: tokens (S, P, C) of the four head layers, the first `special` of a frame being no patches;
        `detail` (S, D, Y, X): finer features, for a head that was built for them.
        """
        batches = zip(*(torch.split(tokens_SPC[:, special:], frames_at_once) for tokens_SPC in features), strict=True)
        details = itertools.repeat(None) if detail is None else torch.split(detail, frames_at_once)
        raw = (self._raw(batch, grid, finer) for batch, finer in zip(batches, details, strict=False))
        values, confidences = zip(*map(self._activate, raw), strict=True)
        return torch.cat(values), torch.cat(confidences)

    def _raw(self, tokens: Sequence[Tensor], grid: Grid, detail: Tensor | None) -> Tensor:
        height, width = grid.rows * self.patch, grid.columns * self.patch
        aspect = width / height
        compute = self.narrow.weight.dtype
        levels: list[Tensor] = []
        for tokens_SNC, project, resize, adapt in zip(tokens, self.project, self.resize, self.adapt, strict=True):
            x_SCyx = self.norm(tokens_SNC).to(compute).mT.unflatten(-1, (grid.rows, grid.columns))
            levels.append(adapt(resize(_placed(project(x_SCyx), aspect))))
        if self.detail is not None and detail is not None:
            levels[0] = levels[0] + self.detail(detail.to(self.detail.weight.dtype))
        x_SFyx: Tensor | None = None
        while levels:
            level = levels.pop()
            fuse = self.fuse[len(levels)]
            finer = levels[-1].shape[-2:] if levels else (2 * level.shape[-2], 2 * level.shape[-1])
            x_SFyx = fuse(level, x_SFyx, (finer[0], finer[1]))
        fused_SFhw = _placed(_resize(self.narrow(x_SFyx), (height, width)), aspect)
        hidden_SFhw = functional.relu(self.hidden(fused_SFhw.to(self.hidden.weight.dtype)))
        # Depth is the exponential of this: not to be rounded to bfloat16 by an autocast around it either.
        with without_autocast(hidden_SFhw.device):
            return self.out(hidden_SFhw.to(self.out.weight.dtype))

    def _activate(self, raw_Svhw: Tensor) -> tuple[Tensor, Tensor]:
        raw_Shwv = raw_Svhw.permute(0, 2, 3, 1)
        return self.meaning(raw_Shwv[..., :-1]), 1 + raw_Shwv[..., -1].exp()


def depth_of(raw_Shw1: Tensor) -> Tensor:
    """z-depth in the chunk's scale, always positive."""
    return raw_Shw1.exp()


def points_of(raw_Shw3: Tensor) -> Tensor:
    """Scene points in the chunk's frame and scale: the network's numbers grow with the logarithm of a coordinate."""
    return raw_Shw3.sign() * raw_Shw3.abs().expm1()


def _placed(x_SCyx: Tensor, aspect: float) -> Tensor:
    """Feature maps with position: half of the channels get the column of a cell, the others its row."""
    across_SCyx, down_SCyx = x_SCyx.chunk(2, dim=1)
    C, rows, columns = across_SCyx.shape[1:]
    diagonal = (aspect**2 + 1) ** 0.5
    column_Cx = _waves(columns, aspect / diagonal, C, x_SCyx)
    row_Cy = _waves(rows, 1 / diagonal, C, x_SCyx)
    return torch.cat((across_SCyx + column_Cx[:, None, :], down_SCyx + row_Cy[:, :, None]), dim=1)


def _waves(count: int, span: float, channels: int, like: Tensor) -> Tensor:
    """Sines and cosines (channels, count) of the centres of `count` cells that fill −span … span."""
    centres = torch.linspace(-1, 1, count, dtype=torch.float64, device=like.device) * (span * (count - 1) / count)
    exponents = torch.arange(channels // 2, dtype=torch.float64, device=like.device) / (channels // 2)
    angles = (_POSITION_BASE**-exponents)[:, None] * centres
    return (_POSITION_STRENGTH * torch.cat((angles.sin(), angles.cos()))).to(like.dtype)


def _resize(x_SCyx: Tensor, size: tuple[int, int]) -> Tensor:
    return functional.interpolate(x_SCyx, size=size, mode="bilinear", align_corners=True)
