"""The end of a connection that receives shares, and refuses whatever is not the peer's next message."""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from scal3r_ros.model import FastWeights
from scal3r_ros.sync.exchange.layout import GradientLayout
from scal3r_ros.sync.exchange.messages import FIELDS, HEADER, HUGE, LONGEST_TEXT, MAGIC, Kind, digest, pieces
from scal3r_ros.sync.exchange.shares import FORGOTTEN, Share, ShareId
from scal3r_ros.sync.transport.handshake import mac
from scal3r_ros.sync.transport.wire import BrokenGradientError, RefusedError, Wire

_MOST_SHARES = 64
"""Of one connection, so that no peer fills this node's memory."""


@dataclass(frozen=True)
class ReceivedRound:
    """`shares` that changed; bytes of numbers; whether it was the last; what the peer has, None if as before."""

    shares: Mapping[ShareId, Share]
    bytes: int
    farewell: bool = False
    inventory: Mapping[ShareId, int] | None = None


@dataclass
class _Received:
    version: int
    flat: dict[int, Tensor] = field(default_factory=dict)
    gradients: dict[int, FastWeights] = field(default_factory=dict)


class _Header(NamedTuple):
    kind: Kind
    layer: int
    size: int
    digest: bytes


class GradientReceiver:
    """Receives the shares that one peer sends.

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
        self._shares: dict[ShareId, _Received] = {}
        self._headers = 0

    def receive(self, wire: Wire, first_within_s: float, timeout_s: float) -> ReceivedRound:
        """Receives one round, whose first header comes within `first_within_s`.

        Raises:
            RefusedError: something that is not the peer's next message.
            BrokenGradientError: a gradient that is not finite, or larger than is plausible.
            LinkError: nothing comes any more.
        """
        numbers, changed, layers = 0, set[ShareId](), set[int]()
        share: _Received | None = None
        inventory: Mapping[ShareId, int] | None = None
        wait_s = first_within_s
        while True:
            header = self._receive_header(wire, wait_s)
            kind, layer = header.kind, header.layer
            wait_s = timeout_s
            if kind in (Kind.END, Kind.FAREWELL):
                shares = {name: self._shares[name] for name in changed}
                return ReceivedRound(
                    {name: Share(share.version, dict(share.gradients)) for name, share in shares.items()},
                    numbers,
                    kind is Kind.FAREWELL,
                    inventory,
                )
            if kind is Kind.INVENTORY:
                inventory = dict(map(_entry, self._receive_text(wire, header, timeout_s)))
            elif kind is Kind.SHARE:
                name, version = _entry(self._receive_text(wire, header, timeout_s))
                if name in changed or len(self._shares.keys() | {name}) > _MOST_SHARES:
                    raise RefusedError(f"sent a share of {name.owner}, which is not due")
                share = self._shares.setdefault(name, _Received(version))
                share.version = version
                changed.add(name)
                layers.clear()
            else:
                if share is None or layer in layers:
                    raise RefusedError(f"sent layer {layer}, which is not due")
                layers.add(layer)
                if kind is Kind.EMPTIED:
                    share.flat.pop(layer, None)
                    share.gradients.pop(layer, None)
                else:
                    numbers += self._receive_layer(wire, share, header, timeout_s)

    def _receive_layer(self, wire: Wire, share: _Received, header: _Header, timeout_s: float) -> int:
        layer = header.layer
        change = torch.empty(self._layout.size(layer), dtype=torch.bfloat16)
        for piece in pieces(change):
            wire.receive(piece, timeout_s)
        if digest(change) != header.digest:
            raise RefusedError("sent numbers that were changed on the way")
        copy = share.flat.get(layer)
        flat = change.float() if copy is None else copy + change.float()
        if not flat.isfinite().all():
            raise BrokenGradientError("sent numbers that are not finite")
        norm, largest = float(flat.norm()), self._largest(layer)
        if norm > largest:
            raise BrokenGradientError(f"sent a gradient of norm {norm:.2g} at layer {layer}, above {largest:.2g}")
        share.flat[layer] = flat
        share.gradients[layer] = self._layout.unflatten(layer, flat)
        return change.nbytes

    def _receive_text(self, wire: Wire, header: _Header, timeout_s: float) -> list[object]:
        text = torch.empty(header.size, dtype=torch.uint8)
        wire.receive(text, timeout_s)
        if digest(text) != header.digest:
            raise RefusedError("sent a list that was changed on the way")
        try:
            content = json.loads(text.numpy().tobytes())
        except (ValueError, RecursionError) as error:
            raise RefusedError("sent what is no list") from error
        if not isinstance(content, list):
            raise RefusedError("sent what is no list")
        return content

    def _receive_header(self, wire: Wire, timeout_s: float) -> _Header:
        buffer = torch.zeros(HEADER, dtype=torch.uint8)
        wire.receive(buffer, timeout_s)
        content = buffer.numpy().tobytes()
        fields, signature = content[: FIELDS.size], content[FIELDS.size :]
        magic, number_of_kind, layer, number, size, sha256 = FIELDS.unpack(fields)
        if not hmac.compare_digest(signature, mac(self._key, fields)):
            raise RefusedError("sent a message that it has not signed")
        if magic != MAGIC or number_of_kind not in set(Kind):
            raise RefusedError("sent what is no message of this protocol")
        if number != self._headers:
            raise RefusedError(f"sent message {number} where {self._headers} was due")
        kind = Kind(number_of_kind)
        if kind in (Kind.CHANGED, Kind.EMPTIED) and layer not in self._layout.shapes:
            raise RefusedError(f"sent layer {layer}, which is not due")
        texts = kind in (Kind.SHARE, Kind.INVENTORY)
        due = self._layout.size(layer) if kind is Kind.CHANGED else 0
        if not 0 < size <= LONGEST_TEXT if texts else size != due:
            raise RefusedError(f"sent {size} numbers for layer {layer}, which it does not have")
        self._headers += 1
        return _Header(kind, layer, size, sha256)


def _entry(content: object) -> tuple[ShareId, int]:
    match content:
        case [str(owner), str(session), int(version)] if 0 <= version <= FORGOTTEN:
            return ShareId(owner, session), version
    raise RefusedError("sent what names no share")
