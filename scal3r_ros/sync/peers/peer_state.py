"""The latest accumulated gradient of every peer, and the sum that the network reads without waiting."""

from __future__ import annotations

import functools
import threading
from collections.abc import Mapping

import torch

from scal3r_ros.model import FastWeights


class PeerStates:
    """Accumulated gradients by peer, on the CPU; their sums, on the network's device.

    A sum is replaced, never changed in place, and reading one takes no lock.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._lock = threading.Lock()
        self._by_peer: dict[str, Mapping[int, FastWeights]] = {}
        self._totals: dict[int, FastWeights] = {}

    def total(self, layer: int) -> FastWeights | None:
        """The sum over all peers, None where there is none. Never waits."""
        return self._totals.get(layer)

    def put(self, peer: str, gradients: Mapping[int, FastWeights]) -> bool:
        """Replaces the accumulated gradient of a peer; an empty one takes it out. Whether a sum has changed."""
        with self._lock:
            before = self._by_peer.pop(peer, {})
            if gradients:
                self._by_peer[peer] = gradients
            changed = [layer for layer in {*before, *gradients} if before.get(layer) is not gradients.get(layer)]
            for layer in changed:
                self._sum(layer)
        return bool(changed)

    def totals(self) -> Mapping[int, FastWeights]:
        """All sums as they are now, by layer. Never waits."""
        return dict(self._totals)

    def _sum(self, layer: int) -> None:
        # In the order of names, so that all nodes round alike.
        parts = [self._by_peer[peer][layer] for peer in sorted(self._by_peer) if layer in self._by_peer[peer]]
        if not parts:
            self._totals.pop(layer, None)
            return
        total = functools.reduce(FastWeights.plus, parts)
        self._totals[layer] = FastWeights(*(w.to(self._device) for w in total))
