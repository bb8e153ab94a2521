"""The state of every peer: connected, lost, back or refused, each logged once; how much it sent, and when last."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

_log = logging.getLogger(__name__)


class Presence(Enum):
    """The connection of a peer with this node."""

    KNOWN = "known"
    CONNECTED = "connected"
    LOST = "lost"
    LEFT = "left"
    REFUSED = "refused"


@dataclass
class _Entry:
    presence: Presence = Presence.KNOWN
    why: str = ""
    received_s: float | None = None
    rounds: int = 0
    received: int = 0
    sent: int = 0
    refusals: int = 0


class PeerBook:
    """Safe to use from any thread; never waits. `now` is a clock in seconds that does not jump."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._entries: dict[str, _Entry] = {}
        self._logged: set[str] = set()

    def knows(self, name: str) -> None:
        """The rendezvous lists a peer."""
        with self._lock:
            self._entries.setdefault(name, _Entry())

    def connected(self, name: str) -> None:
        """A peer is connected, for the first time or again."""
        with self._lock:
            before = self._change(name, Presence.CONNECTED, "")
        if before in (Presence.LOST, Presence.LEFT):
            _log.info("memory peer %s is back", name)
        else:
            _log.info("memory peer %s joined: its memory is used here, too", name)

    def lost(self, name: str, why: str) -> None:
        """A connected peer is gone."""
        with self._lock:
            self._change(name, Presence.LOST, why)
        _log.warning("memory peer %s is lost: it %s; what it has taught stays, and it may come back", name, why)

    def left(self, name: str) -> None:
        """A peer has announced its end."""
        with self._lock:
            self._change(name, Presence.LEFT, "")
        _log.info("memory peer %s has ended; what it has taught stays", name)

    def refused(self, name: str, why: str) -> None:
        """A peer cannot be shared with, as it is now; counted and logged once for each reason."""
        with self._lock:
            entry = self._entries.setdefault(name, _Entry())
            if entry.presence is Presence.REFUSED and entry.why == why:
                return
            entry.presence, entry.why, entry.refusals = Presence.REFUSED, why, entry.refusals + 1
        _log.error("memory peer %s is refused: %s; until then each learns alone", name, why)

    def message_refused(self, name: str, why: str) -> None:
        """A message, or a handshake, was not used; each is counted, and each reason logged once for each peer."""
        with self._lock:
            entry = self._entries.setdefault(name, _Entry())
            entry.refusals += 1
        self.log_once(
            f"{name} {why}", logging.WARNING, f"a message in the name of memory peer {name} is refused: it {why}"
        )

    def log_once(self, topic: str, level: int, sentence: str) -> None:
        """Logs what is not about one peer; again only after `log_again`."""
        with self._lock:
            if topic in self._logged:
                return
            self._logged.add(topic)
        _log.log(level, "%s", sentence)

    def log_again(self, topic: str) -> None:
        """The matter of a topic is over: should it come again, `log_once` logs it."""
        with self._lock:
            self._logged.discard(topic)

    def received(self, name: str, size: int) -> None:
        """A round of a peer was received, of `size` bytes."""
        with self._lock:
            entry = self._entries.setdefault(name, _Entry())
            entry.received_s, entry.rounds, entry.received = self._now(), entry.rounds + 1, entry.received + size

    def sent(self, name: str, size: int) -> None:
        """A round was sent to a peer, of `size` bytes."""
        with self._lock:
            self._entries.setdefault(name, _Entry()).sent += size

    def silent_for(self, seconds: float) -> list[str]:
        """Peers that have sent something, but nothing in the last `seconds`."""
        with self._lock:
            limit = self._now() - seconds
            return [
                name for name, item in self._entries.items() if item.received_s is not None and item.received_s < limit
            ]

    def metrics(self) -> dict[str, int | float]:
        """Numbers for the diagnostics: peers, and for each that has sent something its age in s, rounds and bytes."""
        with self._lock:
            entries = sorted(self._entries.items())
            connected = sum(entry.presence is Presence.CONNECTED for _, entry in entries)
            refusals = sum(entry.refusals for _, entry in entries)
            metrics: dict[str, int | float] = {
                "peers": connected, "peers_known": len(entries), "peer_refusals": refusals
            }  # fmt: skip
            for name, entry in entries:
                if entry.received_s is not None:
                    metrics |= {
                        f"peer_age_s_{name}": round(self._now() - entry.received_s, 3),
                        f"peer_rounds_{name}": entry.rounds,
                        f"peer_bytes_in_{name}": entry.received,
                        f"peer_bytes_out_{name}": entry.sent,
                    }
        return metrics

    def _change(self, name: str, presence: Presence, why: str) -> Presence:
        entry = self._entries.setdefault(name, _Entry())
        before, entry.presence, entry.why = entry.presence, presence, why
        return before
