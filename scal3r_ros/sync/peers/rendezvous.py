"""Where nodes that share a memory find each other: a TCPStore, hosted by the node that can bind its address.

Its content may be lost with its host, and every heartbeat writes it again. A call may hang for as long as the host is
stopped, so all calls belong on one thread for which no other waits.

    scal3r/names               all names that were ever used, one a line
    scal3r/member/NAME         the node that has a name
    scal3r/beat/NAME           changes while it is alive
    scal3r/offer/LOWER/HIGHER  a connection that the node with the lower name offers to the other
    scal3r/link/TOKEN/…        what the two need to connect, see transport/connecting.py

Everything but the names is signed with the key that the nodes share: whoever can write to the store without it can
hinder nodes from meeting, but cannot join them.
"""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import quote, unquote

from torch._C._distributed_c10d import TCPStore
from torch.distributed import DistStoreError

from scal3r_ros.errors import Scal3rError
from scal3r_ros.sync.peers.member import Member
from scal3r_ros.sync.transport.connecting import address_key
from scal3r_ros.sync.transport.handshake import opened, sign
from scal3r_ros.sync.transport.interfaces import Address

_ROOT = "scal3r"
_NAMES = f"{_ROOT}/names"
_STORE_TIMEOUT_S = 5.0
_MOST_NAMES = 256
"""So that nobody can keep a node busy with names."""


class RendezvousError(Scal3rError):
    """The rendezvous cannot be reached, or was lost."""


@dataclass(frozen=True)
class Offer:
    """A connection offered by one session to another under a prefix of the store."""

    token: str
    sessions: tuple[str, str]


@dataclass(frozen=True)
class Board:
    """The content of the rendezvous: `members` and `beats` by name, `offers` by the name of the node that offers.

    `unsigned` are names whose entry was not signed with this node's key.
    """

    members: Mapping[str, Member]
    beats: Mapping[str, bytes]
    offers: Mapping[str, Offer]
    unsigned: frozenset[str]


class Rendezvous:
    """The rendezvous seen from one node; the first call connects, and the next one after it was lost."""

    def __init__(self, address: Address, name: str, key: bytes = b"") -> None:
        self._address = address
        self._name = name
        self._key = key
        self._store: TCPStore | None = None

    def read(self) -> Board:
        """Its content, with the offers to this node; raises `RendezvousError`."""
        me = quote(self._name, safe="")
        members: dict[str, Member] = {}
        beats: dict[str, bytes] = {}
        offers: dict[str, Offer] = {}
        unsigned: set[str] = set()
        with self._connected() as store:
            names = sorted(set((_get(store, _NAMES) or b"").decode(errors="replace").split()))
            for key in names[:_MOST_NAMES]:
                name = unquote(key)
                entry = _get(store, f"{_ROOT}/member/{key}")
                text = opened(self._key, f"member/{name}", entry or b"")
                member = Member.from_json((text or "").encode())
                if member is None or member.name != name:
                    if entry:
                        unsigned.add(name)
                    continue
                members[name] = member
                beat = opened(self._key, f"beat/{name}", _get(store, f"{_ROOT}/beat/{key}") or b"") or ""
                beats[name] = beat.encode() if beat.rpartition(" ")[0] == member.session else b""
                offer = opened(self._key, f"offer/{name}/{self._name}", _get(store, f"{_ROOT}/offer/{key}/{me}") or b"")
                made = _offer((offer or "").encode())
                if made is not None:
                    offers[name] = made
        return Board(members, beats, offers, frozenset(unsigned))

    def register(self, member: Member) -> None:
        """Gives `member` its name."""
        name = quote(member.name, safe="")
        with self._connected() as store:
            if name not in (_get(store, _NAMES) or b"").decode(errors="replace").split():
                untyped: Any = store  # its types lack `append`
                untyped.append(_NAMES, f"{name}\n")
        self._set(f"member/{name}", sign(self._key, f"member/{member.name}", member.to_json()))

    def beat(self, member: Member, count: int) -> None:
        """Shows that `member` is alive."""
        text = sign(self._key, f"beat/{member.name}", f"{member.session} {count}")
        self._set(f"beat/{quote(member.name, safe='')}", text)

    def leave(self, member: Member) -> None:
        """Frees the name of `member`, where it has it, and disconnects."""
        with contextlib.suppress(RendezvousError):
            holder = None if self._store is None else self.read().members.get(member.name)
            if self._store is not None and holder is not None and holder.session == member.session:
                for kind in ("member", "beat"):
                    self._store.delete_key(f"{_ROOT}/{kind}/{quote(member.name, safe='')}")
        self._close()

    def offer(self, to: str, offer: Offer) -> None:
        """Offers a connection to the node called `to`."""
        key = f"offer/{quote(self._name, safe='')}/{quote(to, safe='')}"
        text = json.dumps({"token": offer.token, "sessions": offer.sessions})
        self._set(key, sign(self._key, f"offer/{self._name}/{to}", text))

    def forget_offer(self, to: str, token: str) -> None:
        """Removes what two nodes needed to connect."""
        with self._connected() as store:
            store.delete_key(f"{_ROOT}/offer/{quote(self._name, safe='')}/{quote(to, safe='')}")
            for rank in (0, 1):
                store.delete_key(address_key(self.prefix(token), rank))

    def link_store(self, timeout_s: float) -> TCPStore:
        """A separate client for a new connection, on another thread; raises `RuntimeError`."""
        return self._client(timeout_s)

    @staticmethod
    def prefix(token: str) -> str:
        """The prefix of a connection's keys."""
        return f"{_ROOT}/link/{token}"

    def _close(self) -> None:
        self._store = None

    def _set(self, key: str, value: str) -> None:
        with self._connected() as store:
            store.set(f"{_ROOT}/{key}", value)

    @contextlib.contextmanager
    def _connected(self) -> Iterator[TCPStore]:
        try:
            if self._store is None:
                self._store = self._host() or self._join()
            yield self._store
        except (RuntimeError, OSError) as error:
            self._close()
            reason = str(error).strip().partition("\n")[0]
            raise RendezvousError(f"the rendezvous {self._address} cannot be reached ({reason})") from error

    def _host(self) -> TCPStore | None:
        """The store, hosted here; None where the address is taken, or belongs to another machine."""
        family = socket.AF_INET6 if ":" in self._address.host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind(tuple(self._address))
            except OSError:
                return None
            listener.listen(64)
            return TCPStore(
                self._address.host,
                self._address.port,
                is_master=True,
                timeout=timedelta(seconds=_STORE_TIMEOUT_S),
                wait_for_workers=False,
                master_listen_fd=listener.detach(),
            )

    def _join(self) -> TCPStore:
        # Where nobody listens, TCPStore writes many lines to the log; this does not.
        socket.create_connection(self._address, timeout=_STORE_TIMEOUT_S).close()
        return self._client(_STORE_TIMEOUT_S)

    def _client(self, timeout_s: float) -> TCPStore:
        return TCPStore(
            self._address.host,
            self._address.port,
            is_master=False,
            timeout=timedelta(seconds=timeout_s),
            wait_for_workers=False,
        )


def _get(store: TCPStore, key: str) -> bytes | None:
    """The value of a key, None where it is not there.

    Neither list_keys nor multi_get: they keep the interpreter's lock while they wait, which stops the node.
    """
    try:
        return store.get(key) if store.check([key]) else None
    except DistStoreError:  # it went away in between
        return None


def _offer(text: bytes) -> Offer | None:
    try:
        content = json.loads(text)
        first, second = content["sessions"]
        return Offer(str(content["token"]), (str(first), str(second)))
    except (ValueError, TypeError, KeyError):
        return None
