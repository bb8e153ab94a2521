"""How a node sends another its accumulated gradient G: differences in bfloat16, whose rounding the next round corrects.

Both sides keep, in float32, the copy of G that the receiver has. A round sends bfloat16(G − copy) for every layer that
changed, and both add the same numbers to the copy: what rounding left out is part of the next difference, so that the
copy becomes G itself a few rounds after G stops changing. A round in which nothing changed is a header.

    round  =  (header of a layer, its numbers in pieces)*  final header
    header =  int64 [magic, kind, layer, round]
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

import torch
from torch import Tensor

from scal3r_ros.errors import Scal3rError
from scal3r_ros.model import FastWeights, Scal3R

PIECE = 1 << 20
"""Most numbers in one message: two megabytes."""

_MAGIC = 0x5CA13
_HEADER = 4


class LinkError(Scal3rError):
    """A connection to a peer that is of no more use; the message follows the peer's name in a sentence."""


class Wire(Protocol):
    """One end of a connection to a peer. All methods raise `LinkError`; one thread may send while another receives."""

    def send(self, tensor: Tensor, timeout_s: float) -> None:
        """Returns when the peer has taken `tensor`."""

    def receive(self, tensor: Tensor, timeout_s: float) -> None:
        """Fills `tensor` with what the peer sends."""


class _Kind(IntEnum):
    CHANGED = 1
    EMPTIED = 2
    END = 3
    FAREWELL = 4


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


class GradientSender:
    """Sends this node's accumulated gradient to one peer, and knows the copy that the peer has of it."""

    def __init__(self, layout: GradientLayout) -> None:
        self._layout = layout
        self._copy: dict[int, Tensor] = {}
        self._exact: dict[int, FastWeights] = {}
        self._rounds = 0

    def send(self, wire: Wire, gradients: Mapping[int, FastWeights], timeout_s: float, farewell: bool = False) -> int:
        """Sends one round and returns how many bytes of numbers it took: 0 when the peer's copy is exact.

        A layer that is not finite is left out: the peer keeps its copy.
        """
        sent = 0
        for layer in self._layout.shapes:
            G = gradients.get(layer)
            if G is None:
                self._exact.pop(layer, None)
                if self._copy.pop(layer, None) is not None:
                    self._send_header(wire, _Kind.EMPTIED, layer, timeout_s)
            elif self._exact.get(layer) is not G:
                sent += self._send_layer(wire, layer, G, timeout_s)
        self._send_header(wire, _Kind.FAREWELL if farewell else _Kind.END, 0, timeout_s)
        self._rounds += 1
        return sent

    def _send_layer(self, wire: Wire, layer: int, G: FastWeights, timeout_s: float) -> int:
        flat, copy = self._layout.flatten(G), self._copy.get(layer)
        change = (flat if copy is None else flat - copy).bfloat16()
        if not change.isfinite().all():
            return 0
        if not change.any() and copy is not None:
            self._exact[layer] = G
            return 0
        self._send_header(wire, _Kind.CHANGED, layer, timeout_s)
        for piece in _pieces(change):
            wire.send(piece, timeout_s)
        self._copy[layer] = change.float() if copy is None else copy + change.float()
        return change.numel() * change.element_size()

    def _send_header(self, wire: Wire, kind: _Kind, layer: int, timeout_s: float) -> None:
        wire.send(torch.tensor([_MAGIC, kind, layer, self._rounds], dtype=torch.int64), timeout_s)


@dataclass(frozen=True)
class ReceivedGradients:
    """A peer's accumulated gradient after a round, by layer; bytes of numbers received; whether it was the last."""

    gradients: Mapping[int, FastWeights]
    bytes: int
    farewell: bool


class GradientReceiver:
    """Receives the accumulated gradient of one peer."""

    def __init__(self, layout: GradientLayout) -> None:
        self._layout = layout
        self._flat: dict[int, Tensor] = {}
        self._gradients: dict[int, FastWeights] = {}
        self._rounds = 0

    def receive(self, wire: Wire, first_within_s: float, timeout_s: float) -> ReceivedGradients:
        """Receives one round, whose first header comes within `first_within_s`; raises `LinkError`."""
        received, layers = 0, set[int]()
        while True:
            kind, layer = self._receive_header(wire, timeout_s if layers else first_within_s)
            if kind in (_Kind.END, _Kind.FAREWELL):
                self._rounds += 1
                return ReceivedGradients(dict(self._gradients), received, kind is _Kind.FAREWELL)
            if layer not in self._layout.shapes or layer in layers:
                raise LinkError(f"sent layer {layer}, which is not due")
            layers.add(layer)
            if kind is _Kind.EMPTIED:
                self._flat.pop(layer, None)
                self._gradients.pop(layer, None)
            else:
                received += self._receive_layer(wire, layer, timeout_s)

    def _receive_layer(self, wire: Wire, layer: int, timeout_s: float) -> int:
        change = torch.empty(self._layout.size(layer), dtype=torch.bfloat16)
        for piece in _pieces(change):
            wire.receive(piece, timeout_s)
        if not change.isfinite().all():
            raise LinkError("sent numbers that are not finite")
        copy = self._flat.get(layer)
        self._flat[layer] = change.float() if copy is None else copy + change.float()
        self._gradients[layer] = self._layout.unflatten(layer, self._flat[layer])
        return change.numel() * change.element_size()

    def _receive_header(self, wire: Wire, timeout_s: float) -> tuple[_Kind, int]:
        header = torch.zeros(_HEADER, dtype=torch.int64)
        wire.receive(header, timeout_s)
        magic, kind, layer, number = header.tolist()
        if magic != _MAGIC or kind not in set(_Kind) or number != self._rounds:
            raise LinkError("sent what is no message of this protocol")
        return _Kind(kind), layer


def _pieces(flat: Tensor) -> Iterator[Tensor]:
    yield from torch.split(flat, PIECE)
