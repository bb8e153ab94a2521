"""What is known of every peer: heard when, how much; who is here, lost, back or refused, each said once."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

_log = logging.getLogger(__name__)


class Presence(Enum):
    """How a peer stands to this node."""

    KNOWN = "known"
    CONNECTED = "connected"
    LOST = "lost"
    LEFT = "left"
    REFUSED = "refused"


@dataclass
class _Entry:
    presence: Presence = Presence.KNOWN
    why: str = ""
    heard_s: float | None = None
    rounds: int = 0
    received: int = 0
    sent: int = 0


class PeerBook:
    """Safe to use from any thread; never waits. `now` is a clock in seconds that does not jump."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._entries: dict[str, _Entry] = {}
        self._said: set[str] = set()

    def knows(self, name: str) -> None:
        """A peer stands on the rendezvous."""
        with self._lock:
            self._entries.setdefault(name, _Entry())

    def connected(self, name: str) -> None:
        """A peer is there, for the first time or again."""
        with self._lock:
            before = self._change(name, Presence.CONNECTED, "")
        if before in (Presence.LOST, Presence.LEFT):
            _log.info("memory peer %s is back", name)
        else:
            _log.info("memory peer %s joined: what it learns is used here, too", name)

    def lost(self, name: str, why: str) -> None:
        """A peer that was there is no more."""
        with self._lock:
            self._change(name, Presence.LOST, why)
        _log.warning("memory peer %s is lost: it %s; what it has taught stays, and it may come back", name, why)

    def left(self, name: str) -> None:
        """A peer has said that it ends."""
        with self._lock:
            self._change(name, Presence.LEFT, "")
        _log.info("memory peer %s has ended; what it has taught stays", name)

    def refused(self, name: str, why: str) -> None:
        """A peer can not be shared with; said once for each reason."""
        with self._lock:
            entry = self._entries.setdefault(name, _Entry())
            if entry.presence is Presence.REFUSED and entry.why == why:
                return
            entry.presence, entry.why = Presence.REFUSED, why
        _log.error("memory peer %s is refused: %s; until then each learns alone", name, why)

    def say_once(self, topic: str, level: int, sentence: str) -> None:
        """A notice that is not about one peer, said once until `may_say_again`."""
        with self._lock:
            if topic in self._said:
                return
            self._said.add(topic)
        _log.log(level, "%s", sentence)

    def may_say_again(self, topic: str) -> None:
        """What `say_once` has said of a topic is over: should it come again, it is news."""
        with self._lock:
            self._said.discard(topic)

    def heard(self, name: str, received: int) -> None:
        """A round of a peer has come."""
        with self._lock:
            entry = self._entries.setdefault(name, _Entry())
            entry.heard_s, entry.rounds, entry.received = self._now(), entry.rounds + 1, entry.received + received

    def os_errors_as(self, name: str, sent: int) -> None:
        """A round has gone to a peer."""
        with self._lock:
            self._entries.setdefault(name, _Entry()).sent += sent

    def silent_for(self, seconds: float) -> list[str]:
        """Peers that were heard once, but not in the last `seconds`."""
        with self._lock:
            limit = self._now() - seconds
            return [name for name, item in self._entries.items() if item.heard_s is not None and item.heard_s < limit]

    def metrics(self) -> dict[str, int | float]:
        """Numbers for the diagnostics: peers, and of each that was heard its age in seconds, rounds and bytes."""
        with self._lock:
            entries = sorted(self._entries.items())
            here = sum(entry.presence is Presence.CONNECTED for _, entry in entries)
            figures: dict[str, int | float] = {"peers": here, "peers_known": len(entries)}
            for name, entry in entries:
                if entry.heard_s is not None:
                    figures |= {
                        f"peer_age_s_{name}": round(self._now() - entry.heard_s, 3),
                        f"peer_rounds_{name}": entry.rounds,
                        f"peer_bytes_in_{name}": entry.received,
                        f"peer_bytes_out_{name}": entry.sent,
                    }
        return figures

    def _change(self, name: str, presence: Presence, why: str) -> Presence:
        entry = self._entries.setdefault(name, _Entry())
        before, entry.presence, entry.why = entry.presence, presence, why
        return before
