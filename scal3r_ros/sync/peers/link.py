"""One connection to one session of a peer: a thread that sends what was learned here, and one that receives.

Any fault ends the link, and only the link: a new one starts from empty copies on both sides.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import torch

from scal3r_ros.sync.exchange.layout import GradientLayout
from scal3r_ros.sync.exchange.messages import HUGE
from scal3r_ros.sync.exchange.receiver import GradientReceiver, ReceivedRound
from scal3r_ros.sync.exchange.sender import GradientSender
from scal3r_ros.sync.exchange.shares import ShareId, Shares
from scal3r_ros.sync.peers.member import Member
from scal3r_ros.sync.transport.handshake import Seal
from scal3r_ros.sync.transport.wire import BrokenGradientError, LinkError, RefusedError, Wire

_LAST_ROUNDS = 5
"""Most rounds in a farewell: as many as correct the rounding in bfloat16."""

_HUGE_RATIO = 1e6
"""A peer's gradient this much larger than this node's own is no matter of more chunks."""

_log = logging.getLogger(__name__)


class LinkEvents(Protocol):
    """What a link reports, from its threads."""

    def on_connected(self, link: Link) -> None:
        """The peer has sent its first round, which is reported next."""

    def on_received(self, link: Link, received: ReceivedRound) -> None:
        """A round of the peer was received."""

    def on_sent(self, link: Link, sent: int) -> None:
        """A round was sent to the peer."""

    def on_refused(self, link: Link, why: str) -> None:
        """Something that came over the link must not be used; the link ends."""

    def on_ended(self, link: Link, why: str) -> None:
        """The link was connected and is over; reported once and last."""


class Link:
    """Runs from `start` until it has `ended`.

    Args:
        me, peer: this node and the session at the other end.
        token: names the connection; the same at both ends.
        connect: makes the connection, with a handshake, and may be slow.
        layout: of the accumulated gradient.
        shares: what this node has; asking it must not wait.
        absent: whether a node, by its name, is not there to send its share itself.
        events: receives what happens.
    """

    def __init__(
        self,
        me: Member,
        peer: Member,
        token: str,
        connect: Callable[[], tuple[Wire, Seal]],
        layout: GradientLayout,
        shares: Shares,
        absent: Callable[[str], bool],
        events: LinkEvents,
    ) -> None:
        self.peer = peer
        self.token = token
        self.was_connected = False
        self.farewell_received = False
        self.peer_is_broken = False
        """Whether the peer has sent a gradient that no working network has."""
        self._period_s = me.period_s
        self._deadline_s = max(me.deadline_s, peer.deadline_s)
        self._connect = connect
        self._layout = layout
        self._shares = shares
        self._absent = absent
        self._theirs: Mapping[ShareId, int] | None = None
        self._events = events
        self._lock = threading.Lock()
        self._why: str | None = None
        self._wire: Wire | None = None
        self._wake = threading.Event()
        self._ending = threading.Event()
        self._finished = threading.Event()
        self._threads = [threading.Thread(target=self._run, name=f"peer {peer.name}", daemon=True)]

    @property
    def ended(self) -> bool:
        """Whether nothing of the link runs any more."""
        return not any(thread.is_alive() for thread in self._threads)

    @property
    def broken(self) -> bool:
        """Whether the link is of no more use, though a thread may still be waiting for its deadline."""
        return self._why is not None

    @property
    def connecting(self) -> bool:
        """Whether the connection is still being made."""
        return not self.was_connected and not self.broken

    def start(self) -> None:
        """Connects and exchanges, on separate threads."""
        self._threads[0].start()

    def finish(self) -> None:
        """Sends the peer what it does not have yet, then ends; returns at once."""
        self._ending.set()
        self._wake.set()

    def wait_finished(self, until_s: float) -> None:
        """Waits until the farewell was sent or failed, but not longer than until `time.monotonic()` is `until_s`."""
        self._finished.wait(max(0.0, until_s - time.monotonic()))

    @property
    def threads(self) -> Sequence[threading.Thread]:
        """The threads of the link."""
        return tuple(self._threads)

    @property
    def longest_wait_s(self) -> float:
        """How long a peer that does not answer may block a thread."""
        return self.peer.period_s + self._deadline_s

    def drop(self, why: str) -> None:
        """Ends the link without a farewell; returns at once."""
        self._fail(why)

    def _run(self) -> None:
        with torch.no_grad():
            try:
                wire, seal = self._connect()
                self._wire = wire
                if self.broken:
                    wire.close()
                name = self._threads[0].name
                listener = threading.Thread(target=self._listen, args=(wire, seal.receiving), name=name, daemon=True)
                self._threads.append(listener)
                listener.start()
                self._send(wire, seal.sending)
            except LinkError as error:
                self._fail_by(error)
            except Exception as error:  # a link must not die unseen
                _log.exception("the link to memory peer %s failed by a defect", self.peer.name)
                self._fail(f"could not be sent to ({type(error).__name__})")
            finally:
                self._finished.set()

    def _send(self, wire: Wire, key: bytes) -> None:
        sender = GradientSender(self._layout, key)
        while not self.broken:
            if self._ending.is_set():
                for _ in range(_LAST_ROUNDS):
                    if not self._send_round(wire, sender):
                        break
                self._send_round(wire, sender, farewell=True)
                return
            self._send_round(wire, sender)
            self._wake.wait(self._period_s)

    def _send_round(self, wire: Wire, sender: GradientSender, farewell: bool = False) -> int:
        shares = self._shares.for_peer(self.peer.name, self._theirs, sender.begun, self._absent)
        inventory = self._shares.inventory()
        sent = sender.send(wire, shares, self._deadline_s, inventory=inventory, farewell=farewell)
        self._events.on_sent(self, sent)
        return sent

    def _listen(self, wire: Wire, key: bytes) -> None:
        receiver = GradientReceiver(self._layout, key, self._largest_plausible)
        with torch.no_grad():
            try:
                while not self.broken:
                    received = receiver.receive(wire, self.longest_wait_s, self._deadline_s)
                    if self._why is not None:
                        return
                    if received.inventory is not None:
                        self._theirs = received.inventory
                    if not self.was_connected:
                        self.was_connected = True
                        self._events.on_connected(self)
                    self._events.on_received(self, received)
                    if received.farewell:
                        self.farewell_received = True
                        self._fail("has ended")
            except LinkError as error:
                self._fail_by(error)
            except Exception as error:  # a link must not die unseen
                _log.exception("the link to memory peer %s failed by a defect", self.peer.name)
                self._fail(f"could not be received from ({type(error).__name__})")

    def _largest_plausible(self, layer: int) -> float:
        """The largest norm that a peer's gradient may have, by this node's own; any but a senseless one without."""
        own = self._shares.own().gradients.get(layer)
        norm = 0.0 if own is None else float(torch.stack([w.detach().float().norm() for w in own]).norm())
        return _HUGE_RATIO * norm if 0 < norm < HUGE else HUGE

    def _fail_by(self, error: LinkError) -> None:
        if isinstance(error, RefusedError) and not self.broken:
            self.peer_is_broken = isinstance(error, BrokenGradientError)
            self._events.on_refused(self, str(error))
        self._fail(str(error))

    def _fail(self, why: str) -> None:
        with self._lock:
            if self._why is not None:
                return
            self._why = why
        self._wake.set()
        if self._wire is not None:
            self._wire.close()
        if self.was_connected and not self._ending.is_set():
            self._events.on_ended(self, why)
