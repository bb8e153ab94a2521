"""A mapping node among those that share a memory, as the rendezvous lists it."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass

PROTOCOL = 3
"""Grows with every change of the messages between nodes."""

BACKENDS = ("nccl", "tcp", "gloo")
"""Transports between machines, the preferred first."""

_LONGEST_S = 3600.0


@dataclass(frozen=True)
class Member:
    """One start of one node.

    `session` is new at every start; `preset` and `weights` are fingerprints. A node counts as lost after `period_s` +
    `deadline_s` without a message, or `deadline_s` within one. `backends` are the transports it can use, `wanted` the
    one that it insists on, or auto.
    """

    name: str
    session: str
    preset: str
    weights: str
    period_s: float
    deadline_s: float
    backends: tuple[str, ...] = ("tcp",)
    wanted: str = "auto"
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
        if self.backend_with(other) is None:
            return (
                f"it can use {_listed(other)} and this node {_listed(self)}: set memory_peers.backend to the same on"
                " both"
            )
        return None

    def backend_with(self, other: Member) -> str | None:
        """The transport that both take: the first in the order of `BACKENDS` that both can use; None without one."""
        shared = set(self.allowed) & set(other.allowed)
        return next((backend for backend in BACKENDS if backend in shared), None)

    @property
    def allowed(self) -> tuple[str, ...]:
        """The transports that this node may use."""
        if self.wanted == "auto":
            return tuple(backend for backend in self.backends if backend != "gloo")
        return tuple(backend for backend in self.backends if backend == self.wanted)

    def to_json(self) -> str:
        """As the rendezvous keeps it."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: bytes) -> Member | None:
        """The member that `to_json` wrote, None for anything else: anybody may write to the rendezvous."""
        try:
            content = json.loads(text)
            content["backends"] = tuple(map(str, content["backends"]))
            member = cls(**content)
        except (ValueError, TypeError, KeyError):
            return None
        words = (member.name, member.session, member.preset, member.weights, member.wanted)
        numbers = (member.period_s, member.deadline_s, member.protocol)
        if not all(isinstance(word, str) for word in words) or not all(isinstance(n, int | float) for n in numbers):
            return None
        times_are_sane = all(math.isfinite(t) and 0 < t <= _LONGEST_S for t in (member.period_s, member.deadline_s))
        return member if times_are_sane else None


def _listed(member: Member) -> str:
    return " or ".join(member.allowed) or "nothing"
