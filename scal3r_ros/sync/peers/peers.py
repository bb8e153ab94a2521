"""Memory shared between mapping nodes: each sends every other what it has learned, and none waits for another.

G_total = own G + the latest G of each peer, and of each earlier start of any

chunks ──► own G ──► Link ═══ Wire ═══ Link of another node ──► Shares ──► its chunks
                      ▲
       Rendezvous ────┘ which nodes there are, and how to reach them
"""

from __future__ import annotations

import atexit
import logging
import threading
import time
import uuid
from collections.abc import Callable, Collection, Mapping

import torch

from scal3r_ros.errors import ConfigurationError
from scal3r_ros.model import FastWeights
from scal3r_ros.sync.exchange.layout import SharedNetwork
from scal3r_ros.sync.exchange.receiver import ReceivedRound
from scal3r_ros.sync.exchange.shares import ShareId, Shares
from scal3r_ros.sync.peers.access import Access
from scal3r_ros.sync.peers.config import MemoryPeersConfig, check_name, parse_address, tidy_name
from scal3r_ros.sync.peers.heartbeats import Heartbeats
from scal3r_ros.sync.peers.link import Link
from scal3r_ros.sync.peers.links import Links
from scal3r_ros.sync.peers.member import Member
from scal3r_ros.sync.peers.registry import PeerBook
from scal3r_ros.sync.peers.rendezvous import Board, Rendezvous, RendezvousError
from scal3r_ros.sync.transport.connecting import backends_of

_BEAT_S = 1.0
_BEATS_TO_MEET = 3
"""After so many heartbeats a node knows which others there are."""
_SILENCE_S = 15.0
"""How long the rendezvous may keep a heartbeat waiting before the node logs it."""
_CLOSE_S = 2.0
"""How long `close` waits for threads to end after the farewell; one that waits for a stopped peer is left behind."""

_log = logging.getLogger(__name__)


class MemoryPeers:
    """What the other nodes have learned (a `MemoryExchange`); runs from `start` until `close`.

    Args:
        config: where the nodes meet, and how often they exchange.
        name: this node's name where `config.name` is empty.
        network: the network whose memory is shared; the others need the same.
        sums_on: where sums of the peers are kept; by default the network's device.

    Raises:
        ConfigurationError: the rendezvous, the name, the key, the interface or the transport cannot be used.
    """

    def __init__(
        self, config: MemoryPeersConfig, name: str, network: SharedNetwork, sums_on: str | None = None
    ) -> None:
        self.network = network
        self._address = parse_address(config.rendezvous)
        self._config = config
        self._access = Access.of(config, self._address)
        self._excluded = frozenset(name for name in config.excluded if name)
        backends = backends_of(network.device)
        if config.backend not in ("auto", *backends):
            raise ConfigurationError(
                f"memory_peers.backend is {config.backend}, but the network is on {network.device}, which can use "
                f"{', '.join(backends)}: set auto"
            )
        self._me = Member(
            name=check_name(config.name) if config.name else tidy_name(name),
            session=f"{time.time_ns():016x}{uuid.uuid4().hex[:16]}",
            preset=network.preset,
            weights=network.weights,
            period_s=config.period_s,
            deadline_s=config.deadline_s,
            backends=backends,
            wanted=config.backend,
        )
        self._shares = Shares(
            ShareId(self._me.name, self._me.session), torch.device(sums_on) if sums_on else network.device
        )
        self._returned: set[str] = set()
        self.changed = threading.Event()
        """Set when the sums have changed."""
        self._book = PeerBook()
        self._rendezvous = Rendezvous(self._address, self._me.name, self._access.key)
        self._heartbeats = Heartbeats()
        self._links = Links(
            self._me,
            self._access,
            self._rendezvous,
            self._heartbeats,
            network.layout,
            self._shares,
            network.device,
            self._book,
            self,
        )
        self._awaited: frozenset[str] = frozenset()
        self._beats = 0
        self._closing = threading.Event()
        self._last_beat_s = time.monotonic()
        self._threads = [
            threading.Thread(target=self._run, name="memory peers", daemon=True),
            threading.Thread(target=self._watch, name="memory peers watch", daemon=True),
        ]
        self._final: Mapping[str, int | float] | None = None

    def start(self, gradients: Callable[[], Mapping[int, FastWeights]]) -> None:
        """Begins to share the accumulated gradient, by layer; it must not wait, and its tensors must not change."""
        self._shares.gradients = gradients
        _log.info("memory is shared at %s: %s", self._address, self._access)
        self._last_beat_s = time.monotonic()
        atexit.register(self._end)
        for thread in self._threads:
            thread.start()

    def accumulated_gradient(self, layer: int) -> FastWeights | None:
        """What peers and earlier starts have learned for the unit after `layer`, on its device; never waits."""
        return self._shares.total(layer)

    def totals(self) -> Mapping[int, FastWeights]:
        """All sums that `accumulated_gradient` gives, by layer; never waits."""
        return self._shares.totals()

    def sessions(self) -> Collection[str]:
        """The starts of this node whose learning its accumulated gradient contains: this one, and those contained."""
        return self._shares.sessions()

    def contain(self, sessions: Collection[str]) -> None:
        """This node's accumulated gradient now contains what it had learned in earlier `sessions`, as a map had it."""
        if self._shares.contain(sessions):
            self.changed.set()

    def reset(self) -> None:
        """Forgets, here and at all peers, what earlier starts of this node have learned."""
        self.contain(self._shares.earlier())

    def _take_out(self, name: str) -> None:
        if self._shares.forget(name):
            self.changed.set()

    def metrics(self) -> Mapping[str, int | float]:
        """Peers known, of each its rounds and bytes, and what chunks have waited; after `close`, as they were then."""
        if self._final is not None:
            return self._final
        return {**self._book.metrics(), "peer_wait_s": round(self._shares.waited_s, 6)}

    def close(self) -> None:
        """Sends the peers the last that was learned, also those that are still connecting, and leaves them.

        Both, connecting and sending, take no longer than the deadline; without peers, no longer than a few heartbeats.
        """
        if self._final is not None:
            return
        self._wait_for_awaited(time.monotonic() + self._config.deadline_s)
        self._closing.set()
        links = list(self._links)
        for link in links:
            link.finish()
        end_s = time.monotonic() + self._config.deadline_s
        for link in links:
            if link.was_connected and not link.broken:
                link.wait_finished(end_s)
        self._final = self.metrics()
        self._join(_CLOSE_S)
        if not self._running():
            atexit.unregister(self._end)

    def _end(self) -> None:
        """At the end of the process: a thread that waits for a peer would abort the interpreter if it woke then.

        Registered from the start, as Python ignores what is registered while it ends.
        """
        self.close()
        self._join(max((link.longest_wait_s for link in list(self._links)), default=_CLOSE_S))

    def _running(self) -> list[threading.Thread]:
        links = list(self._links)
        return [t for t in (*self._threads, *(t for link in links for t in link.threads)) if t.is_alive()]

    def _join(self, longest_s: float) -> None:
        """Waits for all threads, also for those that they start meanwhile."""
        end_s = time.monotonic() + longest_s
        while (running := self._running()) and time.monotonic() < end_s:
            running[0].join(max(0.0, end_s - time.monotonic()))

    def _wait_for_awaited(self, until_s: float) -> None:
        """Lets peers finish connecting: a drive may be shorter than that takes."""
        while time.monotonic() < until_s and self._threads[0].is_alive():
            missing = [name for name in self._awaited if self._links.connecting(name)]
            if self._beats > _BEATS_TO_MEET and not missing:
                return
            time.sleep(0.02)

    def on_connected(self, link: Link) -> None:
        """See `LinkEvents`."""
        self._links.met(link.peer.name)
        self._book.connected(link.peer.name)

    def on_received(self, link: Link, received: ReceivedRound) -> None:
        """See `LinkEvents`."""
        for name, share in received.shares.items():
            if name.owner not in self._excluded and self._shares.take(name, share, link.peer.name):
                self.changed.set()
                if name.owner == self._me.name and name.session not in self._returned:
                    self._returned.add(name.session)
                    _log.info("memory peer %s has returned what this node had learned earlier", link.peer.name)
        self._book.received(link.peer.name, received.bytes)

    def on_sent(self, link: Link, sent: int) -> None:
        """See `LinkEvents`."""
        self._book.sent(link.peer.name, sent)

    def on_refused(self, link: Link, why: str) -> None:
        """See `LinkEvents`."""
        if link.peer_is_broken:
            self._links.not_again(link.peer.session)
            if self._config.forget_broken:
                self._take_out(link.peer.name)
            earlier = "is taken out" if self._config.forget_broken else "stays (memory_peers.forget_broken)"
            self._book.refused(link.peer.name, f"it {why}; what it has taught before {earlier}")
        else:
            self._book.message_refused(link.peer.name, why)

    def on_ended(self, link: Link, why: str) -> None:
        """See `LinkEvents`."""
        if link.farewell_received:
            self._links.not_again(link.peer.session)
            self._book.left(link.peer.name)
        elif not link.peer_is_broken:
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
                    self._take_out(name)

    def _beat(self) -> None:
        board = self._rendezvous.read()
        self._heartbeats.update(board.beats)
        if not self._hold_name(board):
            return
        self._rendezvous.beat(self._me, self._beats)
        others = [peer for peer in board.members.values() if peer.name != self._me.name]
        for name in board.unsigned - {self._me.name}:
            self._book.refused(name, "it has another key: give all nodes the same memory_peers.key_file")
        others = [peer for peer in others if peer.name not in self._excluded]
        for peer in others:
            self._links.maintain(peer, board, self._closing.is_set())
        self._awaited = frozenset(peer.name for peer in others if self._links.welcome(peer))

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
