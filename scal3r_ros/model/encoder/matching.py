"""Matches each frame with the one before it: correlation of feature maps, coarse, then fine.

Shapes: S frames, C channels, y × x cells of the coarse map (patch / 2 pixels), Y × X of the fine one (patch / 4),
R = (2 · reach + 1)² cells around a place, N patches of a frame. Cell (row, column) of a map whose cells are c pixels
wide is at pixel (c · row, c · column), where the strided convolutions are centred.
Source: FlowNet and PWC-Net (local correlation, warping), RAFT (iterated lookup), ProbFlow (precision).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

_FINE_REACH = 2
_COMPARED = 32
_WIDTH = 48
_TEMPERATURE = 12.0
# Precision of a match that is right to a third of a patch, in widths of the image.
_COMMON_ERROR = 0.02


class StemUnit(nn.Module):
    """Two normalised convolutions added to their input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x_SCyx: Tensor) -> Tensor:
        hidden_SCyx = functional.gelu(
            self.conv1(self.norm(x_SCyx.to(self.norm.weight.dtype)).to(self.conv1.weight.dtype))
        )
        return x_SCyx + self.conv2(hidden_SCyx)


class Matched(NamedTuple):
    """The result of comparing frames.

    `tokens` (S, N, C) carry motion into the network; `matches` (S, 3, Y, X) hold for every fine cell how far to the
    right and down it was in the frame before, in widths of the image, and the logarithm of its precision (one over the
    expected error in widths); `compared` (S, C, Y, X) are the features. For training: `first_matches`, those before the
    last refinement, and `likeness` (S, R, y, x) of the coarse cells.
    """

    tokens: Tensor
    matches: Tensor
    compared: Tensor
    first_matches: Tensor
    likeness: Tensor


class _Look(NamedTuple):
    """`hidden` (S, W, Y, X) of one look, `moved` (S, 2, Y, X) in cells, `precision` (S, 1, Y, X) about a common one."""

    hidden: Tensor
    moved: Tensor
    precision: Tensor

    def matches(self) -> Tensor:
        """As in `Matched`."""
        return torch.cat((self.moved / self.moved.shape[-1], self.precision - math.log(_COMMON_ERROR)), dim=1)


class Matcher(nn.Module):
    """Compares each frame with the one before it.

    Motion becomes separate tokens: appearance is nearly the same in neighbouring frames, and motion mixed into it would
    be lost.
    """

    def __init__(self, channels: int, fine_channels: int, reach: int) -> None:
        super().__init__()
        self.reach = reach
        self.compare = nn.Conv2d(fine_channels, _COMPARED, 1)
        self.read = nn.Conv2d((2 * _FINE_REACH + 1) ** 2 + 5 + _COMPARED, _WIDTH, 3, padding=1)
        self.unit = StemUnit(_WIDTH)
        self.out = nn.Conv2d(_WIDTH, 3, 3, padding=1)
        self.down1 = nn.Conv2d(_WIDTH + 5, channels // 2, 3, stride=2, padding=1)
        self.down2 = nn.Conv2d(channels // 2, channels, 3, stride=2, padding=1)
        self.norm = nn.LayerNorm(channels)
        nn.init.normal_(self.out.weight, std=0.005)
        nn.init.zeros_(cast(Tensor, self.out.bias))

    def forward(self, fine_SCYX: Tensor, coarse_SCyx: Tensor, previous: Sequence[int]) -> Matched:
        """Compares the frames' feature maps with those of the frames `previous`."""
        likeness_SRyx = correlation(coarse_SCyx, coarse_SCyx[list(previous)], self.reach)
        coarse_S3yx = best_of(likeness_SRyx, self.reach)
        compared_SCYX = self.compare(fine_SCYX.to(self.compare.weight.dtype)).float()
        before_SCYX = compared_SCYX[list(previous)]
        start_S3YX = functional.interpolate(coarse_S3yx, size=fine_SCYX.shape[-2:], mode="bilinear")
        share_S1YX = start_S3YX[:, 2:]
        first = self._look(compared_SCYX, before_SCYX, 2 * start_S3YX[:, :2], share_S1YX)
        # Where the first match was right, the second sees the rest: fractions of a cell.
        last = self._look(compared_SCYX, before_SCYX, first.moved, share_S1YX)
        columns = fine_SCYX.shape[-1]
        seen = (last.hidden, last.moved * (28 / columns), last.precision, _places(last.moved))
        tokens = functional.gelu(self.down1(torch.cat(seen, dim=1).to(self.down1.weight.dtype)))
        tokens_SNC = self.down2(tokens.to(self.down2.weight.dtype)).flatten(2).transpose(1, 2)
        tokens_SNC = self.norm(tokens_SNC.to(self.norm.weight.dtype))
        return Matched(tokens_SNC, last.matches(), compared_SCYX, first.matches(), likeness_SRyx)

    def _look(self, x_SCYX: Tensor, before_SCYX: Tensor, start_S2YX: Tensor, share_S1YX: Tensor) -> _Look:
        """Compares again around the predicted positions of the cells, and corrects them."""
        start_S2YX = start_S2YX.detach()
        likeness_SRYX = _TEMPERATURE * shifted_products(x_SCYX, warp(before_SCYX, start_S2YX), _FINE_REACH)
        base_S2YX = _mean_step(functional.softmax(likeness_SRYX, dim=1), _FINE_REACH)
        # An angle is the same number at any size of the image, about one for what is common between frames.
        angle_S2YX = start_S2YX * (28 / start_S2YX.shape[-1])
        known = (likeness_SRYX, x_SCYX, angle_S2YX, share_S1YX, _places(likeness_SRYX))
        hidden = functional.gelu(self.read(torch.cat(known, dim=1).to(self.read.weight.dtype)))
        hidden = self.unit(hidden)
        said_S3YX = self.out(functional.gelu(hidden).to(self.out.weight.dtype)).float()
        return _Look(hidden.float(), start_S2YX + base_S2YX + said_S3YX[:, :2], said_S3YX[:, 2:])


def correlation(x_SCyx: Tensor, before_SCyx: Tensor, reach: int) -> Tensor:
    """Scalar products (S, (2 · reach + 1)², y, x) with the cells around the same place in `before`, 0 outside of it."""
    rows, columns = x_SCyx.shape[-2:]
    x_SCN = functional.normalize(x_SCyx.float(), dim=1).flatten(2)
    before_SCN = functional.normalize(before_SCyx.float(), dim=1).flatten(2)
    # All pairs, of which few are kept: a product of matrices is faster than as many shifted sums.
    pairs_SNM = functional.pad(x_SCN.mT @ before_SCN, (0, 1))
    places_NR = neighbourhood(rows, columns, reach, x_SCyx.device)
    likeness_SNR = torch.gather(pairs_SNM, 2, places_NR.expand(len(pairs_SNM), -1, -1))
    return math.sqrt(x_SCyx.shape[1]) * likeness_SNR.mT.reshape(len(x_SCyx), -1, rows, columns)


def best_of(likeness_SRyx: Tensor, reach: int) -> Tensor:
    """Mean columns and rows (S, 3, y, x) to the likeliest cell and its neighbours, and their share of the total."""
    shares_SRyx = functional.softmax(likeness_SRyx, dim=1)
    steps_R2 = _steps(reach, shares_SRyx)
    best_Syx2 = steps_R2[shares_SRyx.argmax(1)]
    beside_SRyx = (steps_R2[:, None, None] - best_Syx2[:, None]).abs().amax(-1) <= 1
    near_SRyx = shares_SRyx * beside_SRyx
    share_S1yx = near_SRyx.sum(1, keepdim=True)
    mean_S2yx = torch.einsum("srij,rk->skij", near_SRyx, steps_R2) / share_S1yx
    return torch.cat((mean_S2yx, share_S1yx), dim=1)


def warp(before_SCyx: Tensor, moved_S2yx: Tensor) -> Tensor:
    """`before` warped: its value `moved` columns and rows away from each cell, 0 outside."""
    rows, columns = before_SCyx.shape[-2:]
    down_y = torch.arange(rows, dtype=moved_S2yx.dtype, device=moved_S2yx.device)
    across_x = torch.arange(columns, dtype=moved_S2yx.dtype, device=moved_S2yx.device)
    column_Syx = (across_x + moved_S2yx[:, 0]) * (2 / (columns - 1)) - 1
    row_Syx = (down_y[:, None] + moved_S2yx[:, 1]) * (2 / (rows - 1)) - 1
    grid_Syx2 = torch.stack((column_Syx, row_Syx), dim=-1)
    return functional.grid_sample(before_SCyx, grid_Syx2, mode="bilinear", align_corners=True)


def shifted_products(x_SCyx: Tensor, other_SCyx: Tensor, reach: int) -> Tensor:
    """Cosines (S, (2 · reach + 1)², y, x) with the cells around the same place in `other`, 0 outside of it."""
    rows, columns = x_SCyx.shape[-2:]
    x_SyxC = functional.normalize(x_SCyx, dim=1).permute(0, 2, 3, 1)
    other_SyxC = functional.normalize(other_SCyx, dim=1).permute(0, 2, 3, 1)
    padded = functional.pad(other_SyxC, (0, 0, reach, reach, reach, reach))
    span = range(2 * reach + 1)
    products = [(x_SyxC * padded[:, i : i + rows, j : j + columns]).sum(-1) for i in span for j in span]
    return torch.stack(products, dim=1)


def places_of(x_SCyx: Tensor) -> Tensor:
    """Column and row (1, 2, y, x) of each cell about the middle, in half widths of the map."""
    rows, columns = x_SCyx.shape[-2:]
    down_y = torch.arange(rows, dtype=x_SCyx.dtype, device=x_SCyx.device) - (rows - 1) / 2
    across_x = torch.arange(columns, dtype=x_SCyx.dtype, device=x_SCyx.device) - (columns - 1) / 2
    grid = torch.stack(torch.meshgrid(across_x, down_y, indexing="xy"))
    return grid[None] / (columns / 2)


def _places(x_SCyx: Tensor) -> Tensor:
    return places_of(x_SCyx).expand(len(x_SCyx), -1, -1, -1)


def neighbourhood(rows: int, columns: int, reach: int, device: torch.device) -> Tensor:
    """Numbers (N, R) of the cells at most `reach` rows and columns from each cell; N where there is none."""
    row_N, column_N = torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).unbind(1)
    steps = torch.arange(-reach, reach + 1)
    down_R, across_R = torch.cartesian_prod(steps, steps).unbind(1)
    row_NR, column_NR = row_N[:, None] + down_R, column_N[:, None] + across_R
    inside_NR = (row_NR >= 0) & (row_NR < rows) & (column_NR >= 0) & (column_NR < columns)
    return torch.where(inside_NR, row_NR * columns + column_NR, rows * columns).to(device)


def _steps(reach: int, like: Tensor) -> Tensor:
    """Columns and rows (R, 2) to the cells around a place, row by row."""
    steps = torch.arange(-reach, reach + 1, dtype=like.dtype, device=like.device)
    return torch.cartesian_prod(steps, steps).flip(-1)


def _mean_step(shares_SRyx: Tensor, reach: int) -> Tensor:
    return torch.einsum("srij,rk->skij", shares_SRyx, _steps(reach, shares_SRyx))
