"""Memory units that training can use: their initial weights, the limit on W0, and metrics of their use.

A unit with random weights learns associations that no query asks for: W0 outweighs the one step W(G), and queries
have nothing in common with keys.
Shapes: C channels, H memory heads, D channels of a head, N patch tokens.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from scal3r_ros.model import FastWeights, Scal3R
from scal3r_ros.model.memory.unit import AdaptiveMemoryUnit, apply

GATE = 0.4
LARGEST_START = 0.5
"""Norm of a column of W0 at most, as a share of what one step adds to it."""


@torch.no_grad()
def prepare_memory(model: Scal3R) -> None:
    """Initial weights of untrained units: queries equal keys, W0 is small, the gate lets answers through."""
    for _, unit in model.aggregator.units():
        channels = unit.qkv.weight.shape[1]
        queries, keys = slice(0, channels), slice(channels, 2 * channels)
        unit.qkv.weight[queries] = unit.qkv.weight[keys]
        unit.qkv.bias[queries] = unit.qkv.bias[keys]
        unit.q_norm.weight.copy_(unit.k_norm.weight)
        unit.proj.bias[2 * channels :] = GATE
    hold_start_small(model, LARGEST_START)


@torch.no_grad()
def hold_start_small(model: Scal3R, largest: float) -> None:
    """Shortens the columns of W0 that are longer than `largest` times what one step adds to them; 0 leaves all."""
    if not largest:
        return
    for _, unit in model.aggregator.units():
        for w_HIO in unit.initial:
            norm_H1O = w_HIO.norm(dim=-2, keepdim=True)
            w_HIO.mul_((largest * step_norm(w_HIO) / norm_H1O.clamp(min=1e-12)).clamp(max=1.0))


def step_norm(w_HIO: Tensor) -> float:
    """Root mean square norm of a column (dim −2) of a semi-orthogonal matrix of that shape."""
    rows, columns = w_HIO.shape[-2:]
    return math.sqrt(min(rows, columns) / columns)


class MemoryWatch:
    """Metrics of the use of units, averaged over all chunks.

    `same_answer`: cosine between f_W(q) and f_W0(q), one where learning changes no answer; `change`: ‖W − W0‖ / ‖W0‖;
    `answer_share`: length of the answers as a share of that of the tokens they are added to.
    """

    def __init__(self) -> None:
        self._values: dict[str, list[float]] = {}

    @torch.no_grad()
    def see(
        self, layer: int, unit: AdaptiveMemoryUnit, q_THND: Tensor, W: FastWeights, tokens: tuple[Tensor, Tensor]
    ) -> None:
        """Takes in one unit that answers T chunks, whose patch tokens before and after the answer are `tokens`."""
        learnt, start = apply(q_THND, W), apply(q_THND, unit.initial)
        same = torch.cosine_similarity(learnt, start, dim=-1).mean()
        moved = torch.stack([(w - w0).square().sum((-3, -2, -1)) for w, w0 in zip(W, unit.initial, strict=True)]).sum(0)
        size = torch.stack([w0.square().sum() for w0 in unit.initial]).sum()
        before, after = tokens
        share = (after - before).norm(dim=-1).mean() / before.norm(dim=-1).mean()
        values = {"same_answer": same, "change": (moved / size).sqrt().mean(), "answer_share": share}
        for name, value in values.items():
            self._values.setdefault(f"memory_{name}_{layer}", []).append(float(value))

    def metrics(self) -> Iterator[tuple[str, float]]:
        """Means by name and layer."""
        for name, values in self._values.items():
            yield name, sum(values) / len(values)
