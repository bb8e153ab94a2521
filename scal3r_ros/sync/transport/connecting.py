"""How two nodes that have agreed on a meeting get a wire, by any of the transports between machines."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch._C._distributed_c10d import Store

from scal3r_ros.sync.transport.gloo import GlooWire
from scal3r_ros.sync.transport.handshake import Seal, shake_hands
from scal3r_ros.sync.transport.nccl import NcclWire, usable
from scal3r_ros.sync.transport.tcp import TcpListener, TcpWire, dial
from scal3r_ros.sync.transport.wire import LinkError, RefusedError, Wire

_STRANGER_S = 2.0
"""How long one that connects may take for each message of its handshake: it keeps the peer waiting."""


@dataclass(frozen=True)
class Meeting:
    """What both ends know of a connection before it is made.

    `store` is where they find each other under `token`, which is new for every connection; `rank` is 0 or 1; `host` is
    this machine's address as the peer knows it; `context` names both ends and is the same at both; `device` is where
    the network of this end is.
    """

    store: Store
    token: str
    rank: int
    host: str
    key: bytes
    context: str
    timeout_s: float
    device: torch.device


def connect(backend: str, meeting: Meeting, on_refused: Callable[[str], None] = lambda why: None) -> tuple[Wire, Seal]:
    """A wire whose other end has proved that it knows the key; raises `LinkError`.

    `on_refused` gets the reason for each stranger who was turned away while the peer was waited for.
    """
    if backend == "tcp":
        return _tcp(meeting, on_refused)
    wire: Wire
    if backend == "nccl":
        wire = NcclWire(meeting.store, meeting.token, meeting.rank, meeting.host, meeting.device)
    else:
        wire = GlooWire(meeting.store, meeting.token, meeting.rank, meeting.host, meeting.timeout_s)
    try:
        return wire, _seal(wire, meeting, meeting.timeout_s)
    except LinkError:
        wire.close()
        raise


def backends_of(device: torch.device) -> tuple[str, ...]:
    """The transports that a network on `device` can use, the fastest first."""
    return ("nccl", "tcp", "gloo") if usable(device) else ("tcp", "gloo")


def address_key(token: str, rank: int) -> str:
    """Where in the store the end with `rank` says how it is reached."""
    return f"{token}/0/{rank}"


def _seal(wire: Wire, meeting: Meeting, timeout_s: float) -> Seal:
    return shake_hands(wire, meeting.rank, meeting.key, f"{meeting.token}\n{meeting.context}", timeout_s)


def _tcp(meeting: Meeting, on_refused: Callable[[str], None]) -> tuple[Wire, Seal]:
    return _dialled(meeting) if meeting.rank else _accepted(meeting, on_refused)


def _accepted(meeting: Meeting, on_refused: Callable[[str], None]) -> tuple[Wire, Seal]:
    """Anybody may connect to an open port, so all are asked for the handshake until one passes it."""
    until_s = time.monotonic() + meeting.timeout_s
    listener = TcpListener(meeting.host)
    try:
        _set(meeting, f"{meeting.host} {listener.port}")
        while True:
            wire = listener.accept(until_s - time.monotonic())
            try:
                return wire, _seal(wire, meeting, _STRANGER_S)
            except RefusedError as error:
                on_refused(str(error))
                wire.close()
            except LinkError:
                wire.close()
    finally:
        listener.close()


def _dialled(meeting: Meeting) -> tuple[TcpWire, Seal]:
    try:
        host, _, port = meeting.store.get(address_key(meeting.token, 0)).decode().rpartition(" ")
        number = int(port)
    except (RuntimeError, ValueError) as error:
        raise LinkError("does not answer") from error
    wire = dial(host, number, meeting.host, meeting.timeout_s)
    try:
        return wire, _seal(wire, meeting, meeting.timeout_s)
    except LinkError:
        wire.close()
        raise


def _set(meeting: Meeting, address: str) -> None:
    try:
        meeting.store.set(address_key(meeting.token, 0), address)
    except RuntimeError as error:
        raise LinkError("cannot be waited for: the rendezvous is gone") from error
