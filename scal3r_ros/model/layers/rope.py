"""Rotary position embedding over the two axes of an image.

Shapes: P tokens of a frame, L tokens attending to each other (a multiple of P), H heads, D channels of a head.
The first half of D turns with the row, the second with the column; channel i of a half turns with channel i + D/4.
Source: VGGT (2-D RoPE, base 100); camera and register tokens sit at (0, 0), patches start at (1, 1).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Rotary(NamedTuple):
    """Cosines and sines of a frame's tokens, each (P, 2, D/4) float32: token, axis (row, column), frequency."""

    cos: Tensor
    sin: Tensor

    def without_first(self, count: int) -> Rotary:
        """The same for a frame whose first `count` tokens are left out."""
        return Rotary(self.cos[count:], self.sin[count:])


def token_positions(rows: int, columns: int, special: int, device: torch.device) -> Tensor:
    """Row and column of every token of a frame: (special + rows · columns, 2) int64."""
    patches = torch.cartesian_prod(torch.arange(rows, device=device), torch.arange(columns, device=device)) + 1
    return torch.cat((patches.new_zeros(special, 2), patches))


def rotary_of(positions_P2: Tensor, head_channels: int, base: float) -> Rotary:
    """Tables for heads of `head_channels` channels (a multiple of four)."""
    exponents = torch.arange(0, head_channels // 2, 2, device=positions_P2.device, dtype=torch.float32)
    frequencies = 1.0 / base ** (exponents / (head_channels // 2))
    angles = positions_P2[..., None].float() * frequencies
    return Rotary(angles.cos(), angles.sin())


def rotate(x_HLD: Tensor, rotary: Rotary) -> Tensor:
    """Tokens turned by their position, in float32 or wider; L holds one or more frames of P tokens after another."""
    frame_tokens = rotary.cos.shape[0]
    x = x_HLD.to(torch.promote_types(x_HLD.dtype, torch.float32))
    first, second = x.reshape(*x.shape[:-2], -1, frame_tokens, 2, 2, x.shape[-1] // 4).unbind(-2)
    turned = torch.stack(
        (first * rotary.cos - second * rotary.sin, second * rotary.cos + first * rotary.sin),
        dim=-2,
    )
    return turned.flatten(-3).flatten(-3, -2)
