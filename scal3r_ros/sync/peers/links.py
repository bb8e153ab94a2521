"""The links of a node: one to each peer that is alive, made anew when it ends."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator

import torch

from scal3r_ros.sync.exchange.layout import GradientLayout
from scal3r_ros.sync.exchange.shares import Shares
from scal3r_ros.sync.peers.access import Access
from scal3r_ros.sync.peers.heartbeats import Heartbeats
from scal3r_ros.sync.peers.link import Link, LinkEvents
from scal3r_ros.sync.peers.member import Member
from scal3r_ros.sync.peers.registry import PeerBook
from scal3r_ros.sync.peers.rendezvous import Board, Offer, Rendezvous
from scal3r_ros.sync.transport.connecting import Meeting, connect
from scal3r_ros.sync.transport.handshake import Seal
from scal3r_ros.sync.transport.wire import LinkError, Wire

_FIRST_BACK_OFF_S = 1.0
_LONGEST_BACK_OFF_S = 30.0


class Links:
    """Makes and ends links, on the thread that talks to the rendezvous; the others only read.

    Args:
        me: this node.
        access: who may join.
        rendezvous: where connections are offered.
        heartbeats: who is alive.
        layout: of the accumulated gradient.
        shares: what this node and the others have learned.
        device: where the network is.
        book: what is logged and counted.
        events: receives what happens on each link.
    """

    def __init__(
        self,
        me: Member,
        access: Access,
        rendezvous: Rendezvous,
        heartbeats: Heartbeats,
        layout: GradientLayout,
        shares: Shares,
        device: torch.device,
        book: PeerBook,
        events: LinkEvents,
    ) -> None:
        self._me = me
        self._access = access
        self._rendezvous = rendezvous
        self._heartbeats = heartbeats
        self._layout = layout
        self._shares = shares
        self._device = device
        self._book = book
        self._events = events
        self._by_peer: dict[str, Link] = {}
        self._retry_at_s: dict[str, float] = {}
        self._back_off_s: dict[str, float] = {}
        self._tokens: dict[str, str] = {}
        self._not_again: set[str] = set()

    def __iter__(self) -> Iterator[Link]:
        return iter(list(self._by_peer.values()))

    def connecting(self, name: str) -> bool:
        """Whether a connection to a peer is still being made, or has not been begun."""
        link = self._by_peer.get(name)
        return link is None or link.connecting

    def absent(self, name: str) -> bool:
        """Whether a node shows no sign of life: neither at the rendezvous nor over a link."""
        link = self._by_peer.get(name)
        linked = link is not None and link.was_connected and not link.broken
        return not linked and not self._heartbeats.recent(name)

    def not_again(self, session: str) -> None:
        """A session of a peer has ended, or is broken: it gets no link any more."""
        self._not_again.add(session)

    def met(self, name: str) -> None:
        """A peer is connected: should the link end, the next one is tried at once."""
        self._back_off_s.pop(name, None)

    def welcome(self, peer: Member) -> bool:
        """Whether a peer is alive, may come back and has the same network."""
        return (
            self._heartbeats.alive(peer.name) and peer.session not in self._not_again and self._me.refusal(peer) is None
        )

    def maintain(self, peer: Member, board: Board, closing: bool) -> None:
        """Refuses a peer, or connects to it where there is no connection and this node is not `closing`."""
        self._book.knows(peer.name)
        refusal = self._me.refusal(peer)
        if refusal is not None:
            if self._heartbeats.alive(peer.name):
                self._book.refused(peer.name, refusal)
            return
        link = self._by_peer.get(peer.name)
        if link is not None:
            if link.peer.session != peer.session:
                link.drop("was restarted")
            if not link.ended:
                return
            self._clear_away(link)
        if closing or not self.welcome(peer):
            return
        if self._me.name < peer.name:
            self._offer(peer)
        else:
            self._accept(peer, board.offers.get(peer.name))

    def _clear_away(self, link: Link) -> None:
        name = link.peer.name
        del self._by_peer[name]
        back_off_s = 0.0 if link.was_connected else self._back_off_s.get(name, _FIRST_BACK_OFF_S / 2)
        self._retry_at_s[name] = time.monotonic() + back_off_s
        self._back_off_s[name] = min(_LONGEST_BACK_OFF_S, max(_FIRST_BACK_OFF_S, 2 * back_off_s))
        if self._me.name < name:
            self._rendezvous.forget_offer(name, link.token)

    def _offer(self, peer: Member) -> None:
        if time.monotonic() < self._retry_at_s.get(peer.name, 0.0):
            return
        token = uuid.uuid4().hex
        self._rendezvous.offer(peer.name, Offer(token, (self._me.session, peer.session)))
        self._connect(peer, token, rank=0)

    def _accept(self, peer: Member, offer: Offer | None) -> None:
        if offer is None or offer.sessions != (peer.session, self._me.session):
            return
        if offer.token != self._tokens.get(peer.name):
            self._connect(peer, offer.token, rank=1)

    def _connect(self, peer: Member, token: str, rank: int) -> None:
        timeout_s = max(self._me.deadline_s, peer.deadline_s)
        self._tokens[peer.name] = token
        backend = self._me.backend_with(peer)
        assert backend is not None, "peers without a common transport are refused"
        both = (self._me, peer) if rank == 0 else (peer, self._me)
        context = "\n".join(f"{side.name} {side.session}" for side in both)

        def make() -> tuple[Wire, Seal]:
            try:
                store = self._rendezvous.link_store(timeout_s)
                host = self._access.own_address()
            except (RuntimeError, OSError) as error:
                raise LinkError(f"cannot be connected with: {error}") from error
            prefix = self._rendezvous.prefix(token)
            meeting = Meeting(store, prefix, rank, host, self._access.key, context, timeout_s, self._device)
            return connect(backend, meeting, lambda why: self._book.message_refused(peer.name, why))

        link = Link(self._me, peer, token, make, self._layout, self._shares, self.absent, self._events)
        self._by_peer[peer.name] = link
        link.start()
