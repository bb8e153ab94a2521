"""Parameters of memory shared between mapping nodes, and their parsing."""

from __future__ import annotations

import re
from dataclasses import dataclass

from scal3r_ros.configuration import parameter
from scal3r_ros.errors import ConfigurationError
from scal3r_ros.sync.transport.interfaces import Address

_NAME = re.compile(r"[A-Za-z0-9_./-]{1,100}")
_INVALID = re.compile(r"[^A-Za-z0-9_./-]+")


@dataclass(frozen=True)
class MemoryPeersConfig:
    """The nodes with which a network's memory is shared, and how often."""

    rendezvous: str = parameter(
        "", "host:port where mapping nodes that share their memory find each other, the same for all; empty shares none"
    )
    key_file: str = parameter(
        "", "file with a key of 16 bytes or more, the same for all nodes and readable by its owner only: who does not "
        "know it cannot join; without one, only this machine or memory_peers.interface can be shared on",
    )  # fmt: skip
    interface: str = parameter(
        "", "name or address of the network interface over which memory is shared; empty takes the one that leads to "
        "the rendezvous",
    )  # fmt: skip
    backend: str = parameter(
        "auto", "how memory travels: nccl between GPUs on a wire, tcp, or gloo where all peers are trusted; auto takes "
        "nccl where both ends can, else tcp",
        choices=("auto", "nccl", "tcp", "gloo"),
    )  # fmt: skip
    excluded: tuple[str, ...] = parameter(("",), "names of peers that are not to be shared with")
    forget_broken: bool = parameter(
        False, "take all that a peer has taught out of the memory when it sends numbers that are not finite, or huge"
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
