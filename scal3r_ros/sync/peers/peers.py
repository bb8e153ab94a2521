"""Memory shared between mapping nodes: each sends every other what it has learned, and none waits for another.

G_total = own G + the latest G of each peer

chunks ──► own G ──► Link ═══ Gloo ═══ Link of another node ──► PeerStates ──► its chunks
                      ▲
       Rendezvous ────┘ which nodes there are, and how to reach them
"""

from __future__ import annotations

import atexit
import logging
import threading
import time
import uuid
from collections.abc import Callable, Mapping

from scal3r_ros.model import FastWeights, Scal3R, weights_fingerprint
from scal3r_ros.sync.peers.config import MemoryPeersConfig, check_name, parse_address, tidy_name
from scal3r_ros.sync.peers.exchange import GradientLayout, LinkError, ReceivedGradients, Wire
from scal3r_ros.sync.peers.gloo_wire import GlooWire, address_towards
from scal3r_ros.sync.peers.heartbeats import Heartbeats
from scal3r_ros.sync.peers.link import Link
from scal3r_ros.sync.peers.member import Member
from scal3r_ros.sync.peers.peer_state import PeerStates
from scal3r_ros.sync.peers.registry import PeerBook
from scal3r_ros.sync.peers.rendezvous import Board, Offer, Rendezvous, RendezvousError

_BEAT_S = 1.0
_BEATS_TO_MEET = 3
"""After so many heartbeats a node knows which others there are."""
_SILENCE_S = 15.0
"""How long the rendezvous may keep a heartbeat waiting before the node logs it."""
_LONGEST_BACK_OFF_S = 30.0
_CLOSE_S = 2.0
"""How long `close` waits for threads to end after the farewell; one that waits for a stopped peer is left behind."""

_log = logging.getLogger(__name__)


class MemoryPeers:
    """What the other nodes have learned (a `MemoryExchange`); runs from `start` until `close`.

    Args:
        config: where the nodes meet, and how often they exchange.
        name: this node's name where `config.name` is empty.
        model: the network whose memory is shared; the others need the same.

    Raises:
        ConfigurationError: the rendezvous or the name cannot be used.
    """

    def __init__(self, config: MemoryPeersConfig, name: str, model: Scal3R) -> None:
        self._address = parse_address(config.rendezvous)
        self._config = config
        self._me = Member(
            name=check_name(config.name) if config.name else tidy_name(name),
            session=uuid.uuid4().hex,
            preset=model.preset.fingerprint(),
            weights=weights_fingerprint(model),
            period_s=config.period_s,
            deadline_s=config.deadline_s,
        )
        self._layout = GradientLayout.of(model)
        self._states = PeerStates(model.aggregator.camera_token.device)
        self._book = PeerBook()
        self._rendezvous = Rendezvous(self._address, self._me.name)
        self._own: Callable[[], Mapping[int, FastWeights]] = dict
        self._links: dict[str, Link] = {}
        self._heartbeats = Heartbeats()
        self._retry_at_s: dict[str, float] = {}
        self._back_off_s: dict[str, float] = {}
        self._ended_sessions: set[str] = set()
        self._tokens: dict[str, str] = {}
        self._awaited: frozenset[str] = frozenset()
        self._beats = 0
        self._closing = threading.Event()
        self._last_beat_s = time.monotonic()
        self._threads = [
            threading.Thread(target=self._run, name="memory peers", daemon=True),
            threading.Thread(target=self._watch, name="memory peers watch", daemon=True),
        ]
        self._final: dict[str, int | float] | None = None

    def start(self, gradients: Callable[[], Mapping[int, FastWeights]]) -> None:
        """Begins to share the accumulated gradient, by layer; it must not wait, and its tensors must not change."""
        self._own = gradients
        self._last_beat_s = time.monotonic()
        atexit.register(self._end)
        for thread in self._threads:
            thread.start()

    def accumulated_gradient(self, layer: int) -> FastWeights | None:
        """The sum of the peers' latest accumulated gradients for the unit after `layer`, on its device; never waits."""
        return self._states.total(layer)

    def metrics(self) -> Mapping[str, int | float]:
        """Peers connected and known, and of each its age, rounds and bytes; after `close`, as they were then."""
        return self._book.metrics() if self._final is None else self._final

    def close(self) -> None:
        """Sends the peers the last that was learned, also those that are still connecting, and leaves them.

        Both, connecting and sending, take no longer than the deadline; without peers, no longer than a few heartbeats.
        """
        if self._final is not None:
            return
        self._wait_for_awaited(time.monotonic() + self._config.deadline_s)
        self._closing.set()
        links = list(self._links.values())
        for link in links:
            link.finish()
        end_s = time.monotonic() + self._config.deadline_s
        for link in links:
            if link.was_connected and not link.broken:
                link.wait_finished(end_s)
        self._final = self._book.metrics()
        self._join(_CLOSE_S)
        if not self._running():
            atexit.unregister(self._end)

    def _end(self) -> None:
        """At the end of the process: a thread that waits for a peer would abort the interpreter if it woke then.

        Registered from the start, as Python ignores what is registered while it ends.
        """
        self.close()
        self._join(max((link.longest_wait_s for link in list(self._links.values())), default=_CLOSE_S))

    def _running(self) -> list[threading.Thread]:
        links = list(self._links.values())
        return [t for t in (*self._threads, *(t for link in links for t in link.threads)) if t.is_alive()]

    def _join(self, longest_s: float) -> None:
        """Waits for all threads, also for those that they start meanwhile."""
        end_s = time.monotonic() + longest_s
        while (running := self._running()) and time.monotonic() < end_s:
            running[0].join(max(0.0, end_s - time.monotonic()))

    def _wait_for_awaited(self, until_s: float) -> None:
        """Lets peers finish connecting: a drive may be shorter than that takes."""
        while time.monotonic() < until_s and self._threads[0].is_alive():
            missing = [name for name in self._awaited if name not in self._links or self._links[name].connecting]
            if self._beats > _BEATS_TO_MEET and not missing:
                return
            time.sleep(0.02)

    def on_connected(self, link: Link) -> None:
        """See `LinkEvents`."""
        self._back_off_s.pop(link.peer.name, None)
        self._book.connected(link.peer.name)

    def on_received(self, link: Link, received: ReceivedGradients) -> None:
        """See `LinkEvents`."""
        self._states.put(link.peer.name, received.gradients)
        self._book.received(link.peer.name, received.bytes)

    def on_sent(self, link: Link, sent: int) -> None:
        """See `LinkEvents`."""
        self._book.sent(link.peer.name, sent)

    def on_ended(self, link: Link, why: str) -> None:
        """See `LinkEvents`."""
        if link.farewell_received:
            self._ended_sessions.add(link.peer.session)
            self._book.left(link.peer.name)
        else:
            self._book.lost(link.peer.name, why)

    def _run(self) -> None:
        """The only thread that talks to the rendezvous; it may hang with it, so no other waits long for it."""
        beat_s = min(_BEAT_S, self._config.period_s)
        while not self._closing.wait(beat_s if self._beats else 0.0):
            self._beats += 1
            try:
                self._beat()
                self._book.log_again("rendezvous")
            except RendezvousError as error:
                self._book.log_once("rendezvous", logging.WARNING, f"{error}; trying again until it can")
            except Exception:
                _log.exception("sharing memory with peers failed by a defect; it goes on")
            self._last_beat_s = time.monotonic()
        self._rendezvous.leave(self._me)

    def _watch(self) -> None:
        """What must be noticed even while the rendezvous hangs."""
        while not self._closing.wait(_BEAT_S):
            if time.monotonic() - self._last_beat_s > _SILENCE_S:
                self._book.log_once(
                    "silence",
                    logging.WARNING,
                    f"the rendezvous {self._address} does not answer: existing links go on, new ones must wait",
                )
            else:
                self._book.log_again("silence")
            if self._config.forget_after_s > 0:
                for name in self._book.silent_for(self._config.forget_after_s):
                    self._states.put(name, {})

    def _beat(self) -> None:
        board = self._rendezvous.read()
        self._heartbeats.update(board.beats)
        if not self._hold_name(board):
            return
        self._rendezvous.beat(self._me, self._beats)
        others = [peer for peer in board.members.values() if peer.name != self._me.name]
        for peer in others:
            self._maintain(peer, board)
        self._awaited = frozenset(peer.name for peer in others if self._welcome(peer))

    def _hold_name(self, board: Board) -> bool:
        """Whether this node has its name, or takes it now; two nodes that are alive cannot have the same."""
        holder = board.members.get(self._me.name)
        if holder is None or holder.session != self._me.session:
            # The entry of a node that was killed has no heartbeat any more.
            if holder is not None and self._heartbeats.recent(self._me.name):
                if self._heartbeats.alive(self._me.name):
                    self._book.log_once(
                        "name",
                        logging.ERROR,
                        f"another node shares its memory under the name {self._me.name!r}: set memory_peers.name to "
                        "another one; until then this node learns alone",
                    )
                return False
            self._rendezvous.register(self._me)
        self._book.log_again("name")
        return True

    def _maintain(self, peer: Member, board: Board) -> None:
        """Refuses a peer, or connects to it where there is no connection."""
        self._book.knows(peer.name)
        refusal = self._me.refusal(peer)
        if refusal is not None:
            if self._heartbeats.alive(peer.name):
                self._book.refused(peer.name, refusal)
            return
        link = self._links.get(peer.name)
        if link is not None:
            if link.peer.session != peer.session:
                link.drop("was restarted")
            if not link.ended:
                return
            self._clear_away(link)
        if self._closing.is_set() or not self._welcome(peer):
            return
        if self._me.name < peer.name:
            self._offer(peer)
        else:
            self._accept(peer, board.offers.get(peer.name))

    def _welcome(self, peer: Member) -> bool:
        """Whether a peer is alive, has not said farewell and has the same network."""
        return (
            self._heartbeats.alive(peer.name)
            and peer.session not in self._ended_sessions
            and self._me.refusal(peer) is None
        )

    def _clear_away(self, link: Link) -> None:
        name = link.peer.name
        del self._links[name]
        back_off_s = 0.0 if link.was_connected else self._back_off_s.get(name, _BEAT_S / 2)
        self._retry_at_s[name] = time.monotonic() + back_off_s
        self._back_off_s[name] = min(_LONGEST_BACK_OFF_S, max(_BEAT_S, 2 * back_off_s))
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

        def connect() -> Wire:
            try:
                store = self._rendezvous.link_store(timeout_s)
                host = address_towards(self._address)
            except (RuntimeError, OSError) as error:
                raise LinkError(f"cannot be connected with: {error}") from error
            return GlooWire(store, self._rendezvous.prefix(token), rank, host, timeout_s)

        link = Link(self._me, peer, token, connect, self._layout, self._own, self)
        self._links[peer.name] = link
        link.start()
