"""One connection to one session of a peer: a thread that tells it what was learnt here, and one that listens to it.

Whatever goes wrong ends the link, and only the link: a new one starts from nothing told and nothing held.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import torch

from scal3r_ros.model import FastWeights
from scal3r_ros.sync.peers.exchange import (
    GradientLayout,
    GradientReceiver,
    GradientSender,
    LinkError,
    ReceivedGradients,
    Wire,
)
from scal3r_ros.sync.peers.member import Member

_LAST_ROUNDS = 5
"""Rounds in a farewell at most: as many as rounding in bfloat16 needs to be made good."""

_log = logging.getLogger(__name__)


class LinkEvents(Protocol):
    """What a link reports, from its own threads."""

    def on_connected(self, link: Link) -> None:
        """The peer has sent its first round, what came with it is reported next."""

    def on_heard(self, link: Link, heard: ReceivedGradients) -> None:
        """A round of the peer has come."""

    def on_told(self, link: Link, sent: int) -> None:
        """A round has gone to the peer."""

    def on_ended(self, link: Link, why: str) -> None:
        """The link is over, though it had been connected; it is told once and last."""


class Link:
    """Runs from `start` until it has `ended`.

    Args:
        me, peer: this node and the session at the other end.
        token: names the connection; the same at both ends.
        connect: makes the connection, and may take its time.
        layout: of the evidence.
        evidence: this node's own evidence now; must not wait.
        events: are told what happens.
    """

    def __init__(
        self,
        me: Member,
        peer: Member,
        token: str,
        connect: Callable[[], Wire],
        layout: GradientLayout,
        evidence: Callable[[], Mapping[int, FastWeights]],
        events: LinkEvents,
    ) -> None:
        self.peer = peer
        self.token = token
        self.was_connected = False
        self.farewell_heard = False
        self._period_s = me.period_s
        self._deadline_s = max(me.deadline_s, peer.deadline_s)
        self._connect = connect
        self._layout = layout
        self._evidence = evidence
        self._events = events
        self._lock = threading.Lock()
        self._why: str | None = None
        self._wake = threading.Event()
        self._ending = threading.Event()
        self._told_all = threading.Event()
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
    def coming(self) -> bool:
        """Whether the connection may still come about."""
        return not self.was_connected and not self.broken

    def start(self) -> None:
        """Connects and exchanges, on threads of its own."""
        self._threads[0].start()

    def say_farewell(self) -> None:
        """Tells the peer the last there is to tell, and ends; returns at once."""
        self._ending.set()
        self._wake.set()

    def wait_told(self, until_s: float) -> None:
        """Waits until the farewell has been said or can not be, but not longer than `time.monotonic()` is `until_s`."""
        self._told_all.wait(max(0.0, until_s - time.monotonic()))

    @property
    def threads(self) -> Sequence[threading.Thread]:
        """What runs for the link."""
        return tuple(self._threads)

    @property
    def longest_wait_s(self) -> float:
        """How long a thread may be held by a peer that does not answer."""
        return self.peer.period_s + self._deadline_s

    def drop(self, why: str) -> None:
        """Ends the link without another word; returns at once."""
        self._fail(why)

    def _run(self) -> None:
        with torch.no_grad():
            try:
                wire = self._connect()
                listener = threading.Thread(target=self._listen, args=(wire,), name=self._threads[0].name, daemon=True)
                self._threads.append(listener)
                listener.start()
                self._tell(wire)
            except LinkError as error:
                self._fail(str(error))
            except Exception as error:  # a link must not die unseen
                _log.exception("the link to memory peer %s failed by a defect", self.peer.name)
                self._fail(f"could not be told ({type(error).__name__})")
            finally:
                self._told_all.set()

    def _tell(self, wire: Wire) -> None:
        teller = GradientSender(self._layout)
        while not self.broken:
            if self._ending.is_set():
                for _ in range(_LAST_ROUNDS):
                    sent = teller.tell(wire, self._evidence(), self._deadline_s)
                    self._events.on_told(self, sent)
                    if not sent:
                        break
                teller.tell(wire, self._evidence(), self._deadline_s, farewell=True)
                return
            self._events.on_told(self, teller.tell(wire, self._evidence(), self._deadline_s))
            self._wake.wait(self._period_s)

    def _listen(self, wire: Wire) -> None:
        hearer = GradientReceiver(self._layout)
        with torch.no_grad():
            try:
                while not self.broken:
                    heard = hearer.hear(wire, self.longest_wait_s, self._deadline_s)
                    if self._why is not None:
                        return
                    if not self.was_connected:
                        self.was_connected = True
                        self._events.on_connected(self)
                    self._events.on_heard(self, heard)
                    if heard.farewell:
                        self.farewell_heard = True
                        self._fail("has ended")
            except LinkError as error:
                self._fail(str(error))
            except Exception as error:  # a link must not die unseen
                _log.exception("the link to memory peer %s failed by a defect", self.peer.name)
                self._fail(f"could not be understood ({type(error).__name__})")

    def _fail(self, why: str) -> None:
        with self._lock:
            if self._why is not None:
                return
            self._why = why
        self._wake.set()
        if self.was_connected and not self._ending.is_set():
            self._events.on_ended(self, why)
