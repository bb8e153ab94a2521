"""Which members are alive: those whose heartbeat changes, timed by this node's clock alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

DEAD_AFTER_S = 6.0
"""After so long without a new beat a member counts as gone, and its name as free."""


@dataclass
class _Heartbeat:
    beat: bytes
    since_s: float
    changed: bool


class Heartbeats:
    """The last beat of every member; `now` is a clock in seconds that does not jump."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._heartbeats: dict[str, _Heartbeat] = {}

    def update(self, beats: Mapping[str, bytes]) -> None:
        """Takes the current beats."""
        for name, beat in beats.items():
            heartbeat = self._heartbeats.get(name)
            if heartbeat is None or _newer(beat, heartbeat.beat):
                self._heartbeats[name] = _Heartbeat(beat, self._now(), changed=heartbeat is not None)

    def recent(self, name: str) -> bool:
        """Whether a member may be alive: its beat is new, or has not been watched for long."""
        return name in self._heartbeats and self._now() - self._heartbeats[name].since_s < DEAD_AFTER_S

    def alive(self, name: str) -> bool:
        """Whether the beat of a member has changed lately."""
        return self.recent(name) and self._heartbeats[name].changed


def _newer(beat: bytes, before: bytes) -> bool:
    """Whether a beat, `session count`, follows another one: an old one that is shown again does not."""
    if not beat:
        return False
    (session, _, count), (session_before, _, count_before) = beat.rpartition(b" "), before.rpartition(b" ")
    return session != session_before or int(count or b"0") > int(count_before or b"0")
