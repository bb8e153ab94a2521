"""Memory shared between mapping nodes: every node tells every other what it has learnt, and nobody waits for anybody.

G_total = own G + the latest G of each peer

camera, chunks ──► own evidence ──► Link ═══ Gloo ═══ Link ──► PeerStates ──► camera, chunks
                                      ▲    of another node
                    Rendezvous ───────┘ who is there, and how to reach it
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
"""Who else is there is known after so many beats."""
_SILENCE_S = 15.0
"""How long the rendezvous may keep a beat waiting before the node says so."""
_LONGEST_BACK_OFF_S = 30.0
_CLOSE_S = 2.0
"""How long `close` waits for threads to end after the last words; one that waits for a stopped peer is left behind."""

_log = logging.getLogger(__name__)


class MemoryPeers:
    """What the other nodes have learnt (a `model.Peers`); runs from `start` until `close`.

    Args:
        config: where the nodes meet, and how often they exchange.
        name: this node's name where `config.name` is empty.
        model: the network whose memory is shared; the others need the same.

    Raises:
        ConfigurationError: no rendezvous, or a name, that can be used.
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
        self._shares = PeerStates(model.aggregator.camera_token.device)
        self._book = PeerBook()
        self._rendezvous = Rendezvous(self._address, self._me.name)
        self._own: Callable[[], Mapping[int, FastWeights]] = dict
        self._links: dict[str, Link] = {}
        self._pulses = Heartbeats()
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
            threading.Thread(target=self._look_on, name="memory peers watch", daemon=True),
        ]
        self._final: dict[str, int | float] | None = None

    def start(self, evidence: Callable[[], Mapping[int, FastWeights]]) -> None:
        """Begins to share `evidence`, which must not wait and whose tensors are never changed."""
        self._own = evidence
        self._last_beat_s = time.monotonic()
        atexit.register(self._end)
        for thread in self._threads:
            thread.start()

    def evidence(self, layer: int) -> FastWeights | None:
        """The sum of the peers' latest evidence for the unit after `layer`, on its device; never waits."""
        return self._shares.total(layer)

    def metrics(self) -> Mapping[str, int | float]:
        """Peers connected and known, and of each its age, rounds and bytes; after `close`, as they were then."""
        return self._book.metrics() if self._final is None else self._final

    def close(self) -> None:
        """Tells the peers the last that was learnt, those that are just coming, too, and leaves them.

        Each of the two takes no longer than the deadline; without any peer it takes the first few beats at most.
        """
        if self._final is not None:
            return
        self._wait_for_awaited(time.monotonic() + self._config.deadline_s)
        self._closing.set()
        links = list(self._links.values())
        for link in links:
            link.say_farewell()
        end_s = time.monotonic() + self._config.deadline_s
        for link in links:
            if link.was_connected and not link.broken:
                link.wait_told(end_s)
        self._final = self._book.metrics()
        self._join(_CLOSE_S)
        if not self._running():
            atexit.unregister(self._end)

    def _end(self) -> None:
        """At the end of the process: what still waits for a peer must not wake while the interpreter ends and abort it.

        Registered from the start, as Python calls nothing that is registered only while it ends.
        """
        self.close()
        self._join(max((link.longest_wait_s for link in list(self._links.values())), default=_CLOSE_S))

    def _running(self) -> list[threading.Thread]:
        links = list(self._links.values())
        return [t for t in (*self._threads, *(t for link in links for t in link.threads)) if t.is_alive()]

    def _join(self, longest_s: float) -> None:
        """Waits for all threads, also those that others of them start meanwhile."""
        end_s = time.monotonic() + longest_s
        while (running := self._running()) and time.monotonic() < end_s:
            running[0].join(max(0.0, end_s - time.monotonic()))

    def _wait_for_awaited(self, until_s: float) -> None:
        """Lets the peers come that are just coming: a drive may be shorter than it takes to meet."""
        while time.monotonic() < until_s and self._threads[0].is_alive():
            missing = [name for name in self._awaited if name not in self._links or self._links[name].coming]
            if self._beats > _BEATS_TO_MEET and not missing:
                return
            time.sleep(0.02)

    def on_connected(self, link: Link) -> None:
        """See `LinkEvents`."""
        self._back_off_s.pop(link.peer.name, None)
        self._book.connected(link.peer.name)

    def on_heard(self, link: Link, heard: ReceivedGradients) -> None:
        """See `LinkEvents`."""
        self._shares.put(link.peer.name, heard.evidence)
        self._book.heard(link.peer.name, heard.bytes)

    def on_told(self, link: Link, sent: int) -> None:
        """See `LinkEvents`."""
        self._book.os_errors_as(link.peer.name, sent)

    def on_ended(self, link: Link, why: str) -> None:
        """See `LinkEvents`."""
        if link.farewell_heard:
            self._ended_sessions.add(link.peer.session)
            self._book.left(link.peer.name)
        else:
            self._book.lost(link.peer.name, why)

    def _run(self) -> None:
        """The one thread that talks to the rendezvous; it may hang with it, so nobody waits for it for long."""
        beat_s = min(_BEAT_S, self._config.period_s)
        while not self._closing.wait(beat_s if self._beats else 0.0):
            self._beats += 1
            try:
                self._beat()
                self._book.may_say_again("rendezvous")
            except RendezvousError as error:
                self._book.say_once("rendezvous", logging.WARNING, f"{error}; trying again until it can")
            except Exception:
                _log.exception("sharing memory with peers failed by a defect; it goes on")
            self._last_beat_s = time.monotonic()
        self._rendezvous.leave(self._me)

    def _look_on(self) -> None:
        """What has to be noticed even while the rendezvous hangs."""
        while not self._closing.wait(_BEAT_S):
            if time.monotonic() - self._last_beat_s > _SILENCE_S:
                self._book.say_once(
                    "silence",
                    logging.WARNING,
                    f"the rendezvous {self._address} does not answer: links that exist go on, new ones have to wait",
                )
            else:
                self._book.may_say_again("silence")
            if self._config.forget_after_s > 0:
                for name in self._book.silent_for(self._config.forget_after_s):
                    self._shares.put(name, {})

    def _beat(self) -> None:
        board = self._rendezvous.read()
        self._pulses.feel(board.beats)
        if not self._hold_name(board):
            return
        self._rendezvous.beat(self._me, self._beats)
        others = [peer for peer in board.members.values() if peer.name != self._me.name]
        for peer in others:
            self._tend(peer, board)
        self._awaited = frozenset(peer.name for peer in others if self._welcome(peer))

    def _hold_name(self, board: Board) -> bool:
        """Whether this node has its name, or takes it now; two nodes that live can not have the same."""
        holder = board.members.get(self._me.name)
        if holder is None or holder.session != self._me.session:
            # What a node that ended without a word has left behind does not beat any more.
            if holder is not None and self._pulses.recent(self._me.name):
                if self._pulses.alive(self._me.name):
                    self._book.say_once(
                        "name",
                        logging.ERROR,
                        f"another node shares its memory under the name {self._me.name!r}: set memory_peers.name to "
                        "another one; until then this node learns alone",
                    )
                return False
            self._rendezvous.register(self._me)
        self._book.may_say_again("name")
        return True

    def _tend(self, peer: Member, board: Board) -> None:
        """Refuses a peer, or connects with it where there is no connection."""
        self._book.knows(peer.name)
        refusal = self._me.refusal(peer)
        if refusal is not None:
            if self._pulses.alive(peer.name):
                self._book.refused(peer.name, refusal)
            return
        link = self._links.get(peer.name)
        if link is not None:
            if link.peer.session != peer.session:
                link.drop("was started anew")
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
        """Whether a peer lives, has not taken its leave and has the same network."""
        return (
            self._pulses.alive(peer.name)
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
                raise LinkError(f"can not be connected with: {error}") from error
            return GlooWire(store, self._rendezvous.prefix(token), rank, host, timeout_s)

        link = Link(self._me, peer, token, connect, self._layout, self._own, self)
        self._links[peer.name] = link
        link.start()
