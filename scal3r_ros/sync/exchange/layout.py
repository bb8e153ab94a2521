"""What nodes must have in common to share a memory: the network, and so the shape of its accumulated gradient."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from scal3r_ros.model import FastWeights, Scal3R, weights_fingerprint


@dataclass(frozen=True)
class GradientLayout:
    """Shapes of w0, w1, w2 by layer, which every node with the same network has."""

    shapes: Mapping[int, tuple[torch.Size, ...]]

    @classmethod
    def of(cls, model: Scal3R) -> GradientLayout:
        """The layout of a network's accumulated gradient."""
        return cls({layer: tuple(w.shape for w in unit.initial) for layer, unit in model.aggregator.units()})

    def size(self, layer: int) -> int:
        """How many numbers a layer has."""
        return sum(shape.numel() for shape in self.shapes[layer])

    def flatten(self, G: FastWeights) -> Tensor:
        """All numbers of `G` in one vector, float32 on the CPU."""
        return torch.cat([w.detach().reshape(-1).float().cpu() for w in G])

    def unflatten(self, layer: int, flat: Tensor) -> FastWeights:
        """The gradient of which `flatten` made `flat`, without a copy."""
        parts = torch.split(flat, [shape.numel() for shape in self.shapes[layer]])
        return FastWeights(*(part.view(shape) for part, shape in zip(parts, self.shapes[layer], strict=True)))


@dataclass(frozen=True)
class SharedNetwork:
    """What peers have to know of a network: fingerprints of preset and weights, layout of the gradient, its device."""

    preset: str
    weights: str
    layout: GradientLayout
    device: torch.device

    @classmethod
    def of(cls, model: Scal3R) -> SharedNetwork:
        """A network in this process."""
        device = model.aggregator.camera_token.device
        return cls(model.preset.fingerprint(), weights_fingerprint(model), GradientLayout.of(model), device)
