"""The end of a connection that sends shares."""

from __future__ import annotations

import itertools
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from scal3r_ros.model import FastWeights
from scal3r_ros.sync.exchange.layout import GradientLayout
from scal3r_ros.sync.exchange.messages import FIELDS, MAGIC, Kind, digest, pieces
from scal3r_ros.sync.exchange.shares import Share, ShareId
from scal3r_ros.sync.transport.handshake import mac
from scal3r_ros.sync.transport.wire import Wire


@dataclass
class _Sent:
    """The copy that a peer has of a share: by layer the numbers, or the gradient itself once the copy equals it."""

    version: int = -1
    copy: dict[int, Tensor] = field(default_factory=dict)
    exact: dict[int, FastWeights] = field(default_factory=dict)


class GradientSender:
    """Sends shares to one peer, and knows the copies that the peer has of them.

    `key` signs the headers; see `handshake.Seal`.
    """

    def __init__(self, layout: GradientLayout, key: bytes = b"") -> None:
        self._layout = layout
        self._key = key
        self._sent: dict[ShareId, _Sent] = {}
        self._inventory: Mapping[ShareId, int] | None = None
        self._headers = 0

    @property
    def begun(self) -> Collection[ShareId]:
        """The shares of which the peer has a copy from here."""
        return self._sent.keys()

    def send(
        self,
        wire: Wire,
        shares: Mapping[ShareId, Share],
        timeout_s: float,
        *,
        inventory: Mapping[ShareId, int] | None = None,
        farewell: bool = False,
    ) -> int:
        """Sends one round and returns how many bytes of numbers it took: 0 when the peer's copies are exact.

        A layer that is not finite is left out: the peer keeps its copy. `inventory` tells the peer which shares this
        node has; None where that is not for the peer to know.
        """
        if inventory is not None and inventory != self._inventory:
            entries = [[*name, version] for name, version in sorted(inventory.items())]
            self._send_text(wire, Kind.INVENTORY, entries, timeout_s)
            self._inventory = dict(inventory)
        sent = sum(self._send_share(wire, name, share, timeout_s) for name, share in shares.items())
        self._send_header(wire, Kind.FAREWELL if farewell else Kind.END, 0, timeout_s)
        return sent

    def _send_share(self, wire: Wire, name: ShareId, share: Share, timeout_s: float) -> int:
        to_peer, total = self._sent.setdefault(name, _Sent()), 0
        news = self._news(to_peer, share)
        first = next(news, None)
        if first is None and to_peer.version == share.version:
            return 0
        self._send_text(wire, Kind.SHARE, [*name, share.version], timeout_s)
        to_peer.version = share.version
        for layer, change in itertools.chain(() if first is None else (first,), news):
            self._send_header(wire, Kind.EMPTIED if change is None else Kind.CHANGED, layer, timeout_s, change)
            for piece in () if change is None else pieces(change):
                wire.send(piece, timeout_s)
            total += 0 if change is None else change.nbytes
        return total

    def _news(self, to_peer: _Sent, share: Share) -> Iterator[tuple[int, Tensor | None]]:
        """What the peer's copy lacks by layer, None where the layer is empty; it is added to the copy."""
        for layer in self._layout.shapes:
            G, exact = share.gradients.get(layer), to_peer.exact.get(layer)
            if G is not None and exact is G:
                continue
            to_peer.exact.pop(layer, None)
            copy = to_peer.copy.pop(layer, None) if exact is None else self._layout.flatten(exact)
            if G is None:
                if copy is not None:
                    yield layer, None
                continue
            flat = self._layout.flatten(G)
            change = (flat if copy is None else flat - copy).bfloat16()
            if not change.isfinite().all() or (copy is not None and not change.any()):
                if copy is not None and change.any():
                    to_peer.copy[layer] = copy
                elif copy is not None:
                    to_peer.exact[layer] = G
                continue
            to_peer.copy[layer] = change.float() if copy is None else copy + change.float()
            yield layer, change

    def _send_text(self, wire: Wire, kind: Kind, content: object, timeout_s: float) -> None:
        text = torch.frombuffer(bytearray(json.dumps(content).encode()), dtype=torch.uint8)
        self._send_header(wire, kind, 0, timeout_s, text)
        wire.send(text, timeout_s)

    def _send_header(self, wire: Wire, kind: Kind, layer: int, timeout_s: float, numbers: Tensor | None = None) -> None:
        size = 0 if numbers is None else numbers.numel()
        fields = FIELDS.pack(MAGIC, kind, layer, self._headers, size, digest(numbers))
        self._headers += 1
        wire.send(torch.frombuffer(bytearray(fields + mac(self._key, fields)), dtype=torch.uint8), timeout_s)
