"""Who may join: the key that nodes share, or else the network interface to which the exchange is bound."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from scal3r_ros.errors import ConfigurationError
from scal3r_ros.sync.peers.config import MemoryPeersConfig
from scal3r_ros.sync.transport.handshake import read_key
from scal3r_ros.sync.transport.interfaces import Address, address_towards, addresses_of, is_loopback


@dataclass(frozen=True)
class Access:
    """The shared key, empty without one, and the addresses of the chosen interface, empty for any."""

    key: bytes
    address: Address
    bound_to: tuple[str, ...]

    @classmethod
    def of(cls, config: MemoryPeersConfig, address: Address) -> Access:
        """What `config` allows on the way to the rendezvous at `address`.

        Raises:
            ConfigurationError: a key or an interface that cannot be used; or neither, and others reach the rendezvous.
        """
        key = read_key(config.key_file)
        bound_to = tuple(addresses_of(config.interface)) if config.interface else ()
        access = cls(key, address, bound_to)
        host = address.host
        with contextlib.suppress(OSError):  # no way there yet: it is checked again for each connection
            host = access.own_address()
        if not key and not bound_to and not is_loopback(host):
            raise ConfigurationError(
                f"memory_peers.rendezvous is {address}, which other machines reach, but there is no key: give all "
                "nodes one by memory_peers.key_file, or name the network that only robots reach by"
                " memory_peers.interface"
            )
        return access

    def own_address(self) -> str:
        """This machine's address for peers; raises `OSError` where no way, or not the chosen one, leads to them."""
        towards = address_towards(self.address)
        if self.bound_to and towards not in self.bound_to and not is_loopback(towards):
            raise OSError(f"{self.address} is not reached over memory_peers.interface, but from {towards}")
        if not self.bound_to and not self.key and not is_loopback(towards):
            raise OSError(f"{self.address} is reached over a network, and there is no memory_peers.key_file")
        return towards

    def __str__(self) -> str:
        if self.key:
            return "peers need the key of memory_peers.key_file"
        where = " and ".join(self.bound_to) or "the loopback of this machine"
        return f"there is no memory_peers.key_file, so the exchange is bound to {where}: whoever reaches it can join"
