"""A mapping node among those that share a memory, as the rendezvous lists it."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass

PROTOCOL = 1
"""Grows with every change of the messages between nodes."""

_LONGEST_S = 3600.0


@dataclass(frozen=True)
class Member:
    """One start of one node.

    `session` is new at every start; `preset` and `weights` are fingerprints. A node counts as lost after `period_s` +
    `deadline_s` without a message, or `deadline_s` within one.
    """

    name: str
    session: str
    preset: str
    weights: str
    period_s: float
    deadline_s: float
    protocol: int = PROTOCOL

    def refusal(self, other: Member) -> str | None:
        """Why the two cannot share a memory, None where they can; both sides agree."""
        if self.protocol != other.protocol:
            return (
                f"its protocol is {other.protocol} and that of this node {self.protocol}: install one version on both"
            )
        if self.preset != other.preset:
            return "its network has another preset: set network.preset to the same on both"
        if self.weights != other.weights:
            return "its network has other weights: give both the same network.checkpoint"
        return None

    def to_json(self) -> str:
        """As the rendezvous keeps it."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: bytes) -> Member | None:
        """The member that `to_json` wrote, None for anything else: anybody may write to the rendezvous."""
        try:
            content = json.loads(text)
            member = cls(**content)
        except (ValueError, TypeError):
            return None
        words = (member.name, member.session, member.preset, member.weights)
        numbers = (member.period_s, member.deadline_s, member.protocol)
        if not all(isinstance(word, str) for word in words) or not all(isinstance(n, int | float) for n in numbers):
            return None
        times_are_sane = all(math.isfinite(t) and 0 < t <= _LONGEST_S for t in (member.period_s, member.deadline_s))
        return member if times_are_sane else None
