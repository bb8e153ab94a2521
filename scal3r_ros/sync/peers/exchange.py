"""How a node sends another its accumulated gradient G: differences in bfloat16, whose rounding the next round corrects.

Both sides keep, in float32, the copy of G that the receiver has. A round sends bfloat16(G − copy) for every layer that
changed, and both add the same numbers to the copy: what rounding left out is part of the next difference, so that the
copy becomes G itself a few rounds after G stops changing. A round in which nothing changed is a header.

    round  =  (header of a layer, its numbers in pieces)*  final header
    header =  int64 [magic, kind, layer, number, size], SHA-256 of the numbers, HMAC-SHA256 of all before

Headers are numbered from 0 on each connection, and the HMAC has a key of that connection and direction: what is lost,
repeated, out of order, torn or of somebody else is refused before it is used.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import torch
from torch import Tensor

from scal3r_ros.model import FastWeights, Scal3R
from scal3r_ros.sync.transport.handshake import MAC, mac
from scal3r_ros.sync.transport.wire import BrokenGradientError, RefusedError, Wire, as_bytes

PIECE = 1 << 20
"""Most numbers in one message: two megabytes."""

HUGE = 1e18
"""A norm that no gradient of a working network reaches."""

_MAGIC = 0x5CA13
_FIELDS = struct.Struct("<5q32s")


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
    """Sends this node's accumulated gradient to one peer, and knows the copy that the peer has of it.

    `key` signs the headers; see `handshake.Seal`.
    """

    def __init__(self, layout: GradientLayout, key: bytes = b"") -> None:
        self._layout = layout
        self._key = key
        self._copy: dict[int, Tensor] = {}
        self._exact: dict[int, FastWeights] = {}
        self._headers = 0

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
        return sent

    def _send_layer(self, wire: Wire, layer: int, G: FastWeights, timeout_s: float) -> int:
        flat, copy = self._layout.flatten(G), self._copy.get(layer)
        change = (flat if copy is None else flat - copy).bfloat16()
        if not change.isfinite().all():
            return 0
        if not change.any() and copy is not None:
            self._exact[layer] = G
            return 0
        self._send_header(wire, _Kind.CHANGED, layer, timeout_s, change)
        for piece in _pieces(change):
            wire.send(piece, timeout_s)
        self._copy[layer] = change.float() if copy is None else copy + change.float()
        return change.numel() * change.element_size()

    def _send_header(
        self, wire: Wire, kind: _Kind, layer: int, timeout_s: float, numbers: Tensor | None = None
    ) -> None:
        size = 0 if numbers is None else numbers.numel()
        fields = _FIELDS.pack(_MAGIC, kind, layer, self._headers, size, _digest(numbers))
        self._headers += 1
        wire.send(torch.frombuffer(bytearray(fields + mac(self._key, fields)), dtype=torch.uint8), timeout_s)


@dataclass(frozen=True)
class ReceivedGradients:
    """A peer's accumulated gradient after a round, by layer; bytes of numbers received; whether it was the last."""

    gradients: Mapping[int, FastWeights]
    bytes: int
    farewell: bool


class _Header(NamedTuple):
    kind: _Kind
    layer: int
    digest: bytes


class GradientReceiver:
    """Receives the accumulated gradient of one peer.

    Args:
        layout: of the gradient, as this node has it.
        key: signs the peer's headers.
        largest: the largest norm of a layer that is plausible.
    """

    def __init__(
        self, layout: GradientLayout, key: bytes = b"", largest: Callable[[int], float] = lambda layer: HUGE
    ) -> None:
        self._layout = layout
        self._key = key
        self._largest = largest
        self._flat: dict[int, Tensor] = {}
        self._gradients: dict[int, FastWeights] = {}
        self._headers = 0

    def receive(self, wire: Wire, first_within_s: float, timeout_s: float) -> ReceivedGradients:
        """Receives one round, whose first header comes within `first_within_s`.

        Raises:
            RefusedError: something that is not the peer's next message.
            BrokenGradientError: a gradient that is not finite, or larger than is plausible.
            LinkError: nothing comes any more.
        """
        received, layers = 0, set[int]()
        while True:
            header = self._receive_header(wire, timeout_s if layers else first_within_s)
            kind, layer = header.kind, header.layer
            if kind in (_Kind.END, _Kind.FAREWELL):
                return ReceivedGradients(dict(self._gradients), received, kind is _Kind.FAREWELL)
            if layer not in self._layout.shapes or layer in layers:
                raise RefusedError(f"sent layer {layer}, which is not due")
            layers.add(layer)
            if kind is _Kind.EMPTIED:
                self._flat.pop(layer, None)
                self._gradients.pop(layer, None)
            else:
                received += self._receive_layer(wire, layer, header.digest, timeout_s)

    def _receive_layer(self, wire: Wire, layer: int, digest: bytes, timeout_s: float) -> int:
        change = torch.empty(self._layout.size(layer), dtype=torch.bfloat16)
        for piece in _pieces(change):
            wire.receive(piece, timeout_s)
        if _digest(change) != digest:
            raise RefusedError("sent numbers that were changed on the way")
        copy = self._flat.get(layer)
        flat = change.float() if copy is None else copy + change.float()
        if not flat.isfinite().all():
            raise BrokenGradientError("sent numbers that are not finite")
        norm, largest = float(flat.norm()), self._largest(layer)
        if norm > largest:
            raise BrokenGradientError(f"sent a gradient of norm {norm:.2g} at layer {layer}, above {largest:.2g}")
        self._flat[layer] = flat
        self._gradients[layer] = self._layout.unflatten(layer, flat)
        return change.numel() * change.element_size()

    def _receive_header(self, wire: Wire, timeout_s: float) -> _Header:
        buffer = torch.zeros(_FIELDS.size + MAC, dtype=torch.uint8)
        wire.receive(buffer, timeout_s)
        content = buffer.numpy().tobytes()
        fields, signature = content[: _FIELDS.size], content[_FIELDS.size :]
        magic, kind, layer, number, size, digest = _FIELDS.unpack(fields)
        if not hmac.compare_digest(signature, mac(self._key, fields)):
            raise RefusedError("sent a message that it has not signed")
        if magic != _MAGIC or kind not in set(_Kind):
            raise RefusedError("sent what is no message of this protocol")
        if number != self._headers:
            raise RefusedError(f"sent message {number} where {self._headers} was due")
        if size != (self._layout.size(layer) if kind == _Kind.CHANGED and layer in self._layout.shapes else 0):
            raise RefusedError(f"sent {size} numbers for layer {layer}, which it does not have")
        self._headers += 1
        return _Header(_Kind(kind), layer, digest)


def _digest(numbers: Tensor | None) -> bytes:
    return hashlib.sha256(b"" if numbers is None else as_bytes(numbers)).digest()


def _pieces(flat: Tensor) -> Iterator[Tensor]:
    yield from torch.split(flat, PIECE)
