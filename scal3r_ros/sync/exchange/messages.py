"""How a node sends another accumulated gradients G: differences in bfloat16, whose rounding the next round corrects.

Both sides keep, in float32, the copy of G that the receiver has. A round sends bfloat16(G − copy) for every layer that
changed, and both add the same numbers to the copy: what rounding left out is part of the next difference, so that the
copy becomes G itself a few rounds after G stops changing. A round in which nothing changed is a header.

    round  =  (header, which shares the sender has)?  share*  final header
    share  =  header, whose it is and its version, (header of a layer, its numbers in pieces)*
    header =  int64 [magic, kind, layer, number, size], SHA-256 of what follows it, HMAC-SHA256 of all before

Headers are numbered from 0 on each connection, and the HMAC has a key of that connection and direction: what is lost,
repeated, out of order, torn or of somebody else is refused before it is used.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from enum import IntEnum

import torch
from torch import Tensor

from scal3r_ros.sync.transport.handshake import MAC
from scal3r_ros.sync.transport.wire import as_bytes

PIECE = 1 << 20
"""Most numbers in one message: two megabytes."""

HUGE = 1e18
"""A norm that no gradient of a working network reaches."""

LONGEST_TEXT = 1 << 17
"""Most bytes of a list that a header announces."""

MAGIC = 0x5CA13
FIELDS = struct.Struct("<5q32s")
HEADER = FIELDS.size + MAC
"""Bytes of a header."""


class Kind(IntEnum):
    """What a header announces."""

    CHANGED = 1
    """Numbers of a layer follow."""
    EMPTIED = 2
    """A layer is empty."""
    END = 3
    FAREWELL = 4
    """The end of the last round."""
    SHARE = 5
    """Owner, session and version follow: of all layers up to the next such header."""
    INVENTORY = 6
    """A list of owner, session and version follows."""


def digest(numbers: Tensor | None) -> bytes:
    """SHA-256 of what follows a header."""
    return hashlib.sha256(b"" if numbers is None else as_bytes(numbers)).digest()


def pieces(flat: Tensor) -> Iterator[Tensor]:
    """The messages in which the numbers of a layer travel."""
    yield from torch.split(flat, PIECE)
