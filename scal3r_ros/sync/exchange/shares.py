"""What every start of every node has learned, each apart, and the sum of all but one's own that the network reads.

A share belongs to one session, which is one start of one node, and only that start changes it. Its version grows with
every change, so whoever has two of one share keeps the higher: shares may come late, twice, or by way of a third node.
So what a node had learned before it was killed stays with its peers, who hand it back when it starts again.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

import torch

from scal3r_ros.model import FastWeights

FORGOTTEN = 2**62
"""The version of a share that is empty for ever: its node was reset, or has it in another share."""

_MOST_SESSIONS = 5
"""So many starts of one node keep a share; of a node that is started again and again, the oldest are dropped."""


class ShareId(NamedTuple):
    """The node that has learned a share, and which start of it; sessions of a node sort by the time of the start."""

    owner: str
    session: str


class Share(NamedTuple):
    """An accumulated gradient by layer, whose tensors are never changed; empty where nothing was learned."""

    version: int
    gradients: Mapping[int, FastWeights]


class _Kept(NamedTuple):
    share: Share
    source: str


class Shares:
    """Those of this node and of all others; safe to use from any thread, and no sum is ever waited for.

    Args:
        own: of this start.
        device: where the sums are kept.
    """

    def __init__(self, own: ShareId, device: torch.device) -> None:
        self.own_id = own
        self.gradients: Callable[[], Mapping[int, FastWeights]] = dict
        """This start's accumulated gradient now; does not wait."""
        self.waited_s = 0.0
        """How long the chunks so far have waited for sums."""
        self._device = device
        self._lock = threading.Lock()
        self._own = Share(0, {})
        self._kept: dict[ShareId, _Kept] = {}
        self._unwanted: set[ShareId] = set()
        self._totals: dict[int, FastWeights] = {}

    def total(self, layer: int) -> FastWeights | None:
        """The sum of all shares but that of this start, None where there is none. Never waits."""
        begin = time.perf_counter()
        total = self._totals.get(layer)
        self.waited_s += time.perf_counter() - begin
        return total

    def totals(self) -> Mapping[int, FastWeights]:
        """All sums as they are now, by layer. Never waits."""
        return dict(self._totals)

    def own(self) -> Share:
        """What this start has learned."""
        with self._lock:
            gradients = dict(self.gradients())
            before = self._own.gradients
            if gradients.keys() != before.keys() or any(gradients[layer] is not before[layer] for layer in gradients):
                self._own = Share(self._own.version + 1, gradients)
            return self._own

    def inventory(self) -> Mapping[ShareId, int]:
        """The version of every share that this node has, or does not want, but its own."""
        with self._lock:
            return {name: kept.share.version for name, kept in self._kept.items()} | dict.fromkeys(
                self._unwanted, FORGOTTEN
            )

    def for_peer(
        self,
        peer: str,
        theirs: Mapping[ShareId, int] | None,
        begun: Collection[ShareId],
        absent: Callable[[str], bool],
    ) -> Mapping[ShareId, Share]:
        """What a peer is sent: always what this start has learned; besides, what earlier starts of either had, and
        what `absent` nodes had.

        Only of what it has not: `theirs`, None where that is not known yet. Those `begun` go on, for their rounding.
        """
        with self._lock:
            others = {} if theirs is None else {name: kept.share for name, kept in self._kept.items()}
        wanted = {
            name: share
            for name, share in others.items()
            if name.owner in (peer, self.own_id.owner) or absent(name.owner)
            if share.version >= (theirs or {}).get(name, -1) + (name not in begun)
        }
        return {self.own_id: self.own(), **wanted}

    def take(self, name: ShareId, share: Share, source: str) -> bool:
        """Takes a share as the node called `source` sent it, where it is news; whether a sum has changed."""
        if name == self.own_id:
            return False
        with self._lock:
            if name in self._unwanted and source != name.owner:
                return False
            kept = self._kept.get(name)
            if kept is not None and not (
                share.version > kept.share.version
                # The same version from the same source: what rounding had left out.
                or (share.version == kept.share.version and source == kept.source)
            ):
                return False
            self._unwanted.discard(name)
            return self._put({name: _Kept(share, source), **self._surplus(name)})

    def forget(self, owner: str) -> bool:
        """Takes out all that a node has taught, until it sends it again itself; whether a sum has changed."""
        with self._lock:
            gone = [name for name in self._kept if name.owner == owner]
            self._unwanted.update(gone)
            return self._put(dict.fromkeys(gone))

    def earlier(self) -> Collection[str]:
        """Earlier starts of this node whose share is in use."""
        with self._lock:
            return [
                n.session for n, kept in self._kept.items() if n.owner == self.own_id.owner and kept.share.gradients
            ]

    def sessions(self) -> Collection[str]:
        """This start, and earlier ones that `contain` has named."""
        with self._lock:
            contained = [
                name.session
                for name, kept in self._kept.items()
                if name.owner == self.own_id.owner and kept.share.version == FORGOTTEN
            ]
        return [*contained, self.own_id.session]

    def contain(self, sessions: Collection[str]) -> bool:
        """What earlier starts have learned is in this one's share, or not wanted: nobody counts it beside this one."""
        with self._lock:
            empty = _Kept(Share(FORGOTTEN, {}), self.own_id.owner)
            names = [ShareId(self.own_id.owner, session) for session in sessions]
            return self._put({name: empty for name in names if name != self.own_id})

    def _surplus(self, newest: ShareId) -> dict[ShareId, None]:
        of_owner = sorted(
            name
            for name, kept in self._kept.items()
            if name.owner == newest.owner and name != newest and kept.share.gradients
        )
        surplus = of_owner[: max(0, len(of_owner) + 1 - _MOST_SESSIONS)]
        self._unwanted.update(surplus)
        return dict.fromkeys(surplus)

    def _put(self, changes: Mapping[ShareId, _Kept | None]) -> bool:
        changed: set[int] = set()
        for name, kept in changes.items():
            before = self._kept[name].share.gradients if name in self._kept else {}
            after = {} if kept is None else kept.share.gradients
            changed |= {layer for layer in {*before, *after} if before.get(layer) is not after.get(layer)}
            if kept is None:
                self._kept.pop(name, None)
            else:
                self._kept[name] = kept
        for layer in changed:
            self._sum(layer)
        return bool(changed)

    def _sum(self, layer: int) -> None:
        # In the order of names, so that all nodes round alike.
        shares = [self._kept[name].share.gradients for name in sorted(self._kept)]
        parts = [gradients[layer] for gradients in shares if layer in gradients]
        if not parts:
            self._totals.pop(layer, None)
            return
        total = functools.reduce(FastWeights.plus, parts)
        self._totals[layer] = FastWeights(*(w.to(self._device) for w in total))
