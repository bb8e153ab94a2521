"""Parameters of memory shared between mapping nodes, and their parsing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from scal3r_ros.configuration import parameter
from scal3r_ros.errors import ConfigurationError

_NAME = re.compile(r"[A-Za-z0-9_./-]{1,100}")
_INVALID = re.compile(r"[^A-Za-z0-9_./-]+")


@dataclass(frozen=True)
class MemoryPeersConfig:
    """The nodes with which a network's memory is shared, and how often."""

    rendezvous: str = parameter(
        "", "host:port where mapping nodes that share their memory find each other, the same for all; empty shares none"
    )
    name: str = parameter("", "name of this node among its peers, unique; empty takes host and node name")
    period_s: float = parameter(
        5.0, "time between two messages of what was learned here", unit="s", minimum=0.05, maximum=3600.0
    )
    deadline_s: float = parameter(
        10.0, "how long a peer may take to accept a message before it counts as lost", unit="s", minimum=0.1,
        maximum=3600.0,
    )  # fmt: skip
    forget_after_s: float = parameter(
        0.0, "how long after a peer's last message its share of the memory is kept; 0 keeps it for ever", unit="s",
        minimum=0.0, maximum=1e9,
    )  # fmt: skip


class Address(NamedTuple):
    """The address of a rendezvous."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """Host and port of `host:port`; raises `ConfigurationError` for anything else."""
    host, _, port = text.strip().rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ConfigurationError(
            f"parameter memory_peers.rendezvous is {text!r}, but it must be host:port, as in 192.168.1.10:29500"
        )
    return Address(host.strip("[]"), int(port))


def tidy_name(name: str) -> str:
    """A valid name of a peer, made of any text."""
    return _INVALID.sub("_", name)[-100:] or "node"


def check_name(name: str) -> str:
    """`name`; raises `ConfigurationError` where it is not a valid name of a peer."""
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"parameter memory_peers.name is {name!r}, but it must be 1 to 100 letters, digits and any of _ . / -"
        )
    return name
