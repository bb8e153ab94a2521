"""Who may join: two nodes prove to each other that they have the same key, and every message shows that it is theirs.

HMAC-SHA256 throughout. Nodes without a key use an empty one: the same checks then find accidents, but no attackers.

    0 → 1   nonce0
    1 → 0   nonce1, mac(key, "1" context nonce0 nonce1)
    0 → 1   mac(key, "0" context nonce0 nonce1)

Each direction has a key of its own, made from the shared one and both nonces, so nothing can be replayed from another
connection or sent back.
"""

from __future__ import annotations

import hmac
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

import torch

from scal3r_ros.errors import ConfigurationError
from scal3r_ros.sync.transport.wire import RefusedError, Wire

SHORTEST_KEY = 16
"""Fewest bytes of a key."""
_LONGEST_KEY = 4096
_NONCE = 32
MAC = 32
"""Bytes of an HMAC-SHA256."""


@dataclass(frozen=True)
class Seal:
    """Keys of one connection: for what this end sends, and for what it receives."""

    sending: bytes
    receiving: bytes


NO_SEAL = Seal(b"", b"")
"""For ends that trust each other: tests and programs within one process."""


def read_key(path: str) -> bytes:
    """The shared key in a file, without white space around it; empty where `path` is.

    Raises:
        ConfigurationError: no such file, or a key that is too short, too long, or readable by everybody.
    """
    if not path:
        return b""
    file = Path(path).expanduser()
    try:
        with file.open("rb") as opened:
            key = opened.read(_LONGEST_KEY + 1).strip()
            others = os.fstat(opened.fileno()).st_mode & 0o077
    except OSError as error:
        raise ConfigurationError(f"memory_peers.key_file {file} cannot be read: {error.strerror}") from error
    if not SHORTEST_KEY <= len(key) <= _LONGEST_KEY:
        raise ConfigurationError(
            f"memory_peers.key_file {file} has {len(key)} bytes, but a key has {SHORTEST_KEY} to {_LONGEST_KEY}: make "
            "one with `openssl rand -hex 32`"
        )
    if others:
        raise ConfigurationError(f"memory_peers.key_file {file} is open to other users: chmod 600 it")
    return key


def mac(key: bytes, *parts: bytes) -> bytes:
    """HMAC-SHA256 over `parts`, each with its length, so that no two lists of parts have the same."""
    return hmac.digest(key, b"".join(len(part).to_bytes(8, "little") + part for part in parts), "sha256")


def sign(key: bytes, purpose: str, text: str) -> str:
    """`text` behind its signature; it can be opened for the same purpose only."""
    return f"{mac(key, purpose.encode(), text.encode()).hex()} {text}"


def opened(key: bytes, purpose: str, signed: bytes) -> str | None:
    """The text that `sign` signed, None for anything else."""
    signature, _, text = signed.partition(b" ")
    if not hmac.compare_digest(mac(key, purpose.encode(), text).hex().encode(), signature):
        return None
    try:
        return text.decode()
    except UnicodeDecodeError:
        return None


def shake_hands(wire: Wire, rank: int, key: bytes, context: str, timeout_s: float) -> Seal:
    """Both ends prove that they know `key` and mean the same `context`; raises `LinkError`.

    Args:
        wire: a new connection.
        rank: 0 at one end, 1 at the other.
        key: shared by all nodes; may be empty.
        context: names the connection and both ends of it.
        timeout_s: longest wait for each of the three messages.
    """
    own = secrets.token_bytes(_NONCE)
    if rank == 0:
        _send(wire, own, timeout_s)
        answer = _receive(wire, _NONCE + MAC, timeout_s)
        nonces = own + answer[:_NONCE]
        _check(answer[_NONCE:], mac(key, b"1", context.encode(), nonces))
        _send(wire, mac(key, b"0", context.encode(), nonces), timeout_s)
    else:
        nonces = _receive(wire, _NONCE, timeout_s) + own
        _send(wire, own + mac(key, b"1", context.encode(), nonces), timeout_s)
        _check(_receive(wire, MAC, timeout_s), mac(key, b"0", context.encode(), nonces))
    of_0, of_1 = (mac(key, b"from " + end, context.encode(), nonces) for end in (b"0", b"1"))
    return Seal(of_0, of_1) if rank == 0 else Seal(of_1, of_0)


def _check(received: bytes, expected: bytes) -> None:
    if not hmac.compare_digest(received, expected):
        raise RefusedError("does not know the key: give all nodes the same memory_peers.key_file")


def _send(wire: Wire, content: bytes, timeout_s: float) -> None:
    wire.send(torch.frombuffer(bytearray(content), dtype=torch.uint8), timeout_s)


def _receive(wire: Wire, size: int, timeout_s: float) -> bytes:
    buffer = torch.zeros(size, dtype=torch.uint8)
    wire.receive(buffer, timeout_s)
    return buffer.numpy().tobytes()
