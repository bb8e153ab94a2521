"""Who lives, told by beats that change; when they do is told by this node's own clock alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

DEAD_AFTER_S = 6.0
"""Without a new beat for so long, a member counts as gone and its name as free."""


@dataclass
class _Pulse:
    beat: bytes
    since_s: float
    changed: bool


class Heartbeats:
    """The last beat of every member; `now` is a clock in seconds that does not jump."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._pulses: dict[str, _Pulse] = {}

    def feel(self, beats: Mapping[str, bytes]) -> None:
        """Takes note of the beats as they are now."""
        for name, beat in beats.items():
            pulse = self._pulses.get(name)
            if pulse is None or pulse.beat != beat:
                self._pulses[name] = _Pulse(beat, self._now(), changed=pulse is not None)

    def recent(self, name: str) -> bool:
        """Whether a member may live: its beat is new, or was not watched for long yet."""
        return name in self._pulses and self._now() - self._pulses[name].since_s < DEAD_AFTER_S

    def alive(self, name: str) -> bool:
        """Whether a member was seen to live just now."""
        return self.recent(name) and self._pulses[name].changed
