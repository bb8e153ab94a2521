"""The Adaptive Memory Unit: a small SwiGLU network inside the large one, trained during the drive.

Shapes: H memory heads, L patch tokens of a chunk, C channels = H · D, D channels of a head, M = expansion · D hidden
channels, S frames, P tokens of a frame. Fast weights W = (w0, w1, w2): (H, D, M), (H, M, D), (H, D, M).

    f_W(x)  = (silu(x w0) ⊙ (x w2)) w1                     the memory
    L_inner = − Σ_i f_W(k_i) · v_i                         the inner loss: the value of every key
    G       = Σ_i diag(lr_i) ∂(−L_inner)/∂W                accumulated gradient, over tokens and chunks
    W(G)    = colnorm(W0 + NS5(G))                         one Muon step from the learnt start

Everything here is float32 or wider, except the Newton-Schulz steps: bfloat16 as released, float32 where the preset sets
`float32_steps`.
Source: Scal3R (CVPR 2026), LaCT, Muon.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from scal3r_ros.model.layers.cpu_kernels import Linear
from scal3r_ros.model.layers.rope import Rotary, rotate

_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
# Bounds the hidden activations of the full preset to a quarter gigabyte each, however long the chunk.
_TOKENS_AT_ONCE = 16384


@dataclass(frozen=True)
class MemoryConfig:
    """Adaptive Memory Units after the global blocks `layers`; `base_lr` is the learning rate of an untrained unit.

    Newton-Schulz steps are bfloat16 as released, or with `float32_steps` what CPUs without such products do faster.
    """

    layers: tuple[int, ...]
    heads: int = 1
    expansion: int = 4
    base_lr: float = 0.01
    newton_schulz_steps: int = 5
    float32_steps: bool = False

    @property
    def step_dtype(self) -> torch.dtype:
        """What Newton-Schulz steps are computed in."""
        return torch.float32 if self.float32_steps else torch.bfloat16


class FastWeights(NamedTuple):
    """Weights of one memory, or a gradient or sum of gradients of the same shape."""

    w0: Tensor
    w1: Tensor
    w2: Tensor

    def plus(self, other: FastWeights) -> FastWeights:
        """Elementwise sum: merges the gradients of chunks, GPUs and robots."""
        return FastWeights(*(a + b for a, b in zip(self, other, strict=True)))

    def times(self, factor: float) -> FastWeights:
        """Every weight times `factor`."""
        return FastWeights(*(a * factor for a in self))


class Projections(NamedTuple):
    """Projections of a chunk for one memory unit; q and k are normalised and rotated.

    `q`, `k`, `v` (H, L, D); `lr` (3, H, L, 1) learning rate of each token for w0, w1, w2.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    lr: Tensor


def apply(q_HLD: Tensor, W: FastWeights) -> Tensor:
    """f_W(q): what the memory answers (H, L, D)."""
    answers = [(functional.silu(q @ W.w0) * (q @ W.w2)) @ W.w1 for q in torch.split(q_HLD, _TOKENS_AT_ONCE, dim=-2)]
    return torch.cat(answers, dim=-2)


def gradient(projections: Projections, W: FastWeights) -> FastWeights:
    """g_t: the closed-form gradient of −L_inner at `W`, each token weighted by its learning rates."""
    _, k_HLD, v_HLD, lr_3HL1 = projections
    blocks = zip(*(torch.split(t, _TOKENS_AT_ONCE, dim=-2) for t in (k_HLD, v_HLD, lr_3HL1)), strict=True)
    return functools.reduce(FastWeights.plus, (_gradient_of_tokens(k, v, lr, W) for k, v, lr in blocks))


def _gradient_of_tokens(k_HLD: Tensor, v_HLD: Tensor, lr_3HL1: Tensor, W: FastWeights) -> FastWeights:
    a_HLM, b_HLM = k_HLD @ W.w0, k_HLD @ W.w2
    s_HLM, sigma_HLM = functional.silu(a_HLM), torch.sigmoid(a_HLM)
    dh_HLM = v_HLD @ W.w1.mT
    da_HLM = dh_HLM * b_HLM * sigma_HLM * (1 + a_HLM * (1 - sigma_HLM))
    lr0, lr1, lr2 = lr_3HL1.unbind(0)
    return FastWeights(
        w0=(k_HLD * lr0).mT @ da_HLM,
        w1=(s_HLM * b_HLM * lr1).mT @ v_HLD,
        w2=(k_HLD * lr2).mT @ (dh_HLM * s_HLM),
    )


def newton_schulz(G_HIO: Tensor, steps: int, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    """The nearest semi-orthogonal matrix of each head, roughly: singular values near one, direction kept.

    Computed in `dtype`; the released code's is bfloat16.
    """
    a, b, c = _NEWTON_SCHULZ
    tall = G_HIO.shape[-2] > G_HIO.shape[-1]
    X = G_HIO.to(dtype)
    X = X.mT if tall else X
    X = X / (X.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        A = X @ X.mT
        X = a * X + (b * A + (c * A) @ A) @ X
    return X.mT if tall else X


def step(
    W: FastWeights, G: FastWeights, norms_of: FastWeights, steps: int, dtype: torch.dtype = torch.bfloat16
) -> FastWeights:
    """colnorm(W + NS5(G)), every column (dim −2) with the norm it has in `norms_of`."""

    def one(w: Tensor, g: Tensor, reference: Tensor) -> Tensor:
        moved = w + newton_schulz(g, steps, dtype)
        return moved / (moved.norm(dim=-2, keepdim=True) + 1e-5) * reference.norm(dim=-2, keepdim=True)

    return FastWeights(*(one(w, g, n) for w, g, n in zip(W, G, norms_of, strict=True)))


def fast_weights(W0: FastWeights, G: FastWeights, steps: int = 5, dtype: torch.dtype = torch.bfloat16) -> FastWeights:
    """W(G): the memory after the accumulated gradient `G` at `W0`; see `newton_schulz` for `dtype`."""
    return step(W0, G, W0, steps, dtype)


class AdaptiveMemoryUnit(nn.Module):
    """The slow part around one memory: projections in, modulated gate out, and the learnt start W0."""

    def __init__(self, channels: int, config: MemoryConfig) -> None:
        super().__init__()
        H, D = config.heads, channels // config.heads
        M = config.expansion * D
        self.config = config
        self.w0 = nn.Parameter(torch.randn(H, D, M) * math.sqrt(2 / D))
        self.w1 = nn.Parameter(torch.randn(H, M, D) * math.sqrt(2 / M))
        self.w2 = nn.Parameter(torch.randn(H, D, M) * math.sqrt(2 / D))
        self.qkv = Linear(channels, 3 * channels)
        self.q_norm = nn.RMSNorm(D, eps=torch.finfo(torch.float32).eps)
        self.k_norm = nn.RMSNorm(D, eps=torch.finfo(torch.float32).eps)
        self.lrs = Linear(channels, 3 * H)
        self.lr_offset = math.log(math.expm1(config.base_lr))  # softplus⁻¹(base_lr)
        self.o_norm = nn.RMSNorm(D, eps=1e-5)
        self.proj = Linear(channels, 3 * channels)
        # An untrained unit adds a tenth of its normalised answer and does not modulate it.
        nn.init.zeros_(self.proj.weight)
        nn.init.zeros_(self.proj.bias)
        nn.init.constant_(self.proj.bias[2 * channels :], 0.1)

    @property
    def initial(self) -> FastWeights:
        """W0, the learnt start."""
        return FastWeights(self.w0, self.w1, self.w2)

    def project(self, x_SNC: Tensor, rotary: Rotary) -> Projections:
        """Queries, keys, values and learning rates of the patch tokens of a chunk."""
        H = self.config.heads
        x_LC = x_SNC.to(self.qkv.weight.dtype).flatten(0, 1)
        q_HLD, k_HLD, v_HLD = self.qkv(x_LC).unflatten(-1, (3, H, -1)).permute(1, 2, 0, 3).unbind(0)
        q_HLD, k_HLD = rotate(self.q_norm(q_HLD), rotary), rotate(self.k_norm(k_HLD), rotary)
        lr_3HL1 = functional.softplus(self.lrs(x_LC) + self.lr_offset).mT.reshape(3, H, -1, 1)
        return Projections(q_HLD, k_HLD, v_HLD, lr_3HL1)

    def read(self, q_HLD: Tensor, W: FastWeights) -> Tensor:
        """gate · (a_norm(o) · (1 + scale) + shift) with o = rms(f_W(q)), (L, C): what the memory adds to the tokens."""
        o_LC = self.o_norm(apply(q_HLD, W)).transpose(-3, -2).flatten(-2)
        shift, scale, gate = self.proj(o_LC).chunk(3, dim=-1)
        return gate * (functional.layer_norm(o_LC, o_LC.shape[-1:], eps=1e-6) * (1 + scale) + shift)
