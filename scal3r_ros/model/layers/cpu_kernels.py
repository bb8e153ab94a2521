"""Matrix products and attention on a CPU: torch's own, or oneDNN's, which is faster on many CPUs.

For float32 torch uses MKL, which leaves half of the vector units of a CPU that is not Intel's idle, and its fused
attention computes bfloat16 in float32. oneDNN comes with torch and does better at both. It is for inference only: its
linear layer has no gradient. Results differ by rounding, so tests against reference numbers run without it.

Shapes: B sequences, H heads, L queries, K keys, D channels of a head.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

_QUERIES_AT_ONCE = 256
_FEW_KEYS = 512


def has_onednn() -> bool:
    """Whether this build of torch brings oneDNN and its linear layer."""
    return hasattr(torch.ops.mkldnn, "_linear_pointwise")


class Linear(nn.Linear):
    """A linear layer that uses oneDNN on the CPU once `by_onednn` is set."""

    by_onednn = False

    def forward(self, x: Tensor) -> Tensor:
        # torch gives bfloat16 to oneDNN by itself.
        if self.by_onednn and x.dtype == torch.float32 and x.device.type == "cpu":
            return _product(x, self.weight, self.bias)
        return super().forward(x)


class DotProductAttention(nn.Module):
    """softmax(q kᵀ / √D) v, without storing the attention matrix.

    On the CPU by oneDNN once `by_onednn` is set, or as plain products once `by_products` is: the fused kernel's
    backward pass is slower there than the stored matrix.
    """

    by_onednn = False
    by_products = False

    def forward(self, q_BHLD: Tensor, k_BHKD: Tensor, v_BHKD: Tensor) -> Tensor:
        if self.by_products and q_BHLD.device.type == "cpu":
            return torch.softmax((q_BHLD * q_BHLD.shape[-1] ** -0.5) @ k_BHKD.mT, dim=-1) @ v_BHKD
        if self.by_onednn and q_BHLD.device.type == "cpu":
            if q_BHLD.dtype == torch.bfloat16:
                return _in_bfloat16(q_BHLD, k_BHKD, v_BHKD)
            if q_BHLD.dtype == torch.float32 and k_BHKD.shape[-2] >= _FEW_KEYS:
                return _in_float32(q_BHLD, k_BHKD, v_BHKD)
        return functional.scaled_dot_product_attention(q_BHLD, k_BHKD, v_BHKD)


def ask_onednn(model: nn.Module) -> None:
    """Sets all linear layers and attentions of `model` to oneDNN: from then on for inference only."""
    for module in model.modules():
        if isinstance(module, Linear | DotProductAttention):
            module.by_onednn = True


def attend_by_products(model: nn.Module) -> None:
    """Sets all attentions of `model` to plain products where they are on the CPU: for training there."""
    for module in model.modules():
        if isinstance(module, DotProductAttention):
            module.by_products = True


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return product


def _in_bfloat16(q_BHLD: Tensor, k_BHKD: Tensor, v_BHKD: Tensor) -> Tensor:
    blocks = torch.split(q_BHLD * q_BHLD.shape[-1] ** -0.5, _QUERIES_AT_ONCE, dim=-2)
    return torch.cat([torch.softmax(block @ k_BHKD.mT, dim=-1) @ v_BHKD for block in blocks], dim=-2)


def _in_float32(q_BHLD: Tensor, k_BHKD: Tensor, v_BHKD: Tensor) -> Tensor:
    y_BHLD = torch.empty_like(q_BHLD, memory_format=torch.contiguous_format)
    scale = q_BHLD.shape[-1] ** -0.5
    for sequence in range(q_BHLD.shape[0]):
        for head in range(q_BHLD.shape[1]):
            k_KD = k_BHKD[sequence, head].contiguous()
            v_DK = v_BHKD[sequence, head].mT.contiguous()
            queries = torch.split(q_BHLD[sequence, head] * scale, _QUERIES_AT_ONCE)
            answers = torch.split(y_BHLD[sequence, head], _QUERIES_AT_ONCE)
            for place, block in zip(answers, queries, strict=True):
                place.copy_(_product(torch.softmax(_product(block, k_KD), dim=-1), v_DK))
    return y_BHLD
