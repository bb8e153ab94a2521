"""Transformer blocks shared by the encoder, the aggregator and the camera head.

Shapes: B independent sequences, L tokens of one, C channels, H heads, D channels of a head.
The residual stream and all norms are float32; each linear layer computes in the type of its own weights.
Source: DINOv2 and VGGT (pre-norm blocks with LayerScale, QK-norm).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from scal3r_ros.model.layers.cpu_kernels import DotProductAttention, Linear
from scal3r_ros.model.layers.rope import Rotary, rotate

GatherKeys = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Keys and values (1, H, K, D) of all processes that share a sequence, from those (1, H, L, D) of this one."""


class LayerScale(nn.Module):
    """A learnt factor per channel on a residual branch."""

    def __init__(self, channels: int, initial: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((channels,), initial))

    def forward(self, x_BLC: Tensor) -> Tensor:
        return x_BLC * self.gamma


class Mlp(nn.Module):
    """Two linear layers around an exact GELU."""

    def __init__(self, channels: int, hidden: int, out: int) -> None:
        super().__init__()
        self.fc1 = Linear(channels, hidden)
        self.fc2 = Linear(hidden, out)

    def forward(self, x_BLC: Tensor) -> Tensor:
        return self.fc2(functional.gelu(self.fc1(x_BLC.to(self.fc1.weight.dtype))))


class Attention(nn.Module):
    """Multi-head self-attention, with normalised and rotated queries and keys where `qk_norm` and `rotary` say so."""

    def __init__(self, channels: int, heads: int, qk_norm: bool) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = Linear(channels, 3 * channels)
        self.q_norm = nn.LayerNorm(channels // heads) if qk_norm else None
        self.k_norm = nn.LayerNorm(channels // heads) if qk_norm else None
        self.attend = DotProductAttention()
        self.proj = Linear(channels, channels)

    def forward(self, x_BLC: Tensor, rotary: Rotary | None, gather: GatherKeys | None = None) -> Tensor:
        compute = self.qkv.weight.dtype
        qkv_3BHLD = self.qkv(x_BLC.to(compute)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        q_BHLD, k_BHLD, v_BHLD = qkv_3BHLD.unbind(0)
        if self.q_norm is not None and self.k_norm is not None:
            q_BHLD = self.q_norm(q_BHLD.to(self.q_norm.weight.dtype))
            k_BHLD = self.k_norm(k_BHLD.to(self.k_norm.weight.dtype))
        if rotary is not None:
            q_BHLD, k_BHLD = rotate(q_BHLD, rotary), rotate(k_BHLD, rotary)
        k_BHLD = k_BHLD.to(compute)
        k_BHKD, v_BHKD = (k_BHLD, v_BHLD) if gather is None else gather(k_BHLD, v_BHLD)
        y_BHLD = self.attend(q_BHLD.to(compute), k_BHKD, v_BHKD)
        return self.proj(y_BHLD.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Attention and MLP, each behind a LayerNorm and a LayerScale."""

    def __init__(
        self, channels: int, heads: int, *, qk_norm: bool = False, layer_scale: float = 0.01, norm_eps: float = 1e-5
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels, eps=norm_eps)
        self.attn = Attention(channels, heads, qk_norm)
        self.ls1 = LayerScale(channels, layer_scale)
        self.norm2 = nn.LayerNorm(channels, eps=norm_eps)
        self.mlp = Mlp(channels, 4 * channels, channels)
        self.ls2 = LayerScale(channels, layer_scale)

    def forward(self, x_BLC: Tensor, rotary: Rotary | None = None, gather: GatherKeys | None = None) -> Tensor:
        """`gather` where other processes have the rest of the sequence: queries see the keys of all of it."""
        x_BLC = x_BLC + self.ls1(self.attn(self.norm1(x_BLC), rotary, gather))
        return x_BLC + self.ls2(self.mlp(self.norm2(x_BLC)))
