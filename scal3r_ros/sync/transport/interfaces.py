"""Which network interface of this machine leads to an address, and which address it has."""

from __future__ import annotations

import ipaddress
import socket
from typing import NamedTuple

import psutil

from scal3r_ros.errors import ConfigurationError


class Address(NamedTuple):
    """Host and port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def address_towards(address: Address) -> str:
    """The address of the interface that leads to `address`: the host name often stands for the loopback.

    Raises `OSError` where nothing leads there.
    """
    family, kind, protocol, _, where = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.connect(where)  # of a datagram socket: chooses the interface and sends nothing
        return str(probe.getsockname()[0])


def is_loopback(host: str) -> bool:
    """Whether an address of this machine is one that no other machine reaches."""
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


def addresses_of(interface: str) -> list[str]:
    """All IP addresses of an interface, given by its name or by one of its addresses.

    Raises:
        ConfigurationError: this machine has no such interface.
    """
    families = (socket.AF_INET, socket.AF_INET6)
    by_name = {
        name: [entry.address for entry in entries if entry.family in families]
        for name, entries in psutil.net_if_addrs().items()
    }
    for name, addresses in by_name.items():
        if addresses and (interface == name or interface in addresses):
            return addresses
    raise ConfigurationError(
        f"memory_peers.interface is {interface!r}, but this machine has only {', '.join(sorted(by_name))}"
    )
