"""Reads what is left of a bag file that was cut off by a killed recorder, a full disk or a broken copy.

The readers of rosbags need the end of a file. These need its beginning: they give the messages in the order they were
written, until the first one that is not whole.
"""

from __future__ import annotations

import io
import logging
import sqlite3
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from rosbags.rosbag2.storage_mcap import decompress

logger = logging.getLogger(__name__)


class RawMessage(NamedTuple):
    """One message of a bag: `stamp_ns` is when it was recorded, `data` is its CDR."""

    topic: str
    kind: str
    stamp_ns: int
    data: bytes


MCAP_MAGIC = b"\x89MCAP0\r\n"
MCAP_SCHEMA, MCAP_CHANNEL, MCAP_MESSAGE, MCAP_CHUNK = 0x03, 0x04, 0x05, 0x06
LARGEST_RECORD = 1 << 32


def salvage(path: Path) -> Iterator[RawMessage]:
    """The whole messages at the beginning of a `.mcap` or `.db3` file; none where not even its head can be read."""
    if path.suffix == ".mcap":
        with path.open("rb") as file:
            if file.read(len(MCAP_MAGIC)) == MCAP_MAGIC:
                yield from _mcap_messages(file, {}, {})
    elif path.suffix == ".db3":
        yield from _sqlite_messages(path)


def _sqlite_messages(path: Path) -> Iterator[RawMessage]:
    connection = sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)
    try:
        # Without it SQLite refuses a file that is shorter than its header says, even where the rows at hand are whole.
        connection.execute("PRAGMA writable_schema=ON")
        topics = {key: (name, kind) for key, name, kind in connection.execute("SELECT id, name, type FROM topics")}
        (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
        waiting: list[RawMessage] = []
        # By row, not by the index on time: an index page that is missing must not cost the rows.
        for key, stamp_ns, data in connection.execute("SELECT topic_id, timestamp, data FROM messages NOT INDEXED"):
            if key not in topics:
                continue
            # SQLite reads a missing page as zeros, and notices only where another should follow. So a message of
            # several pages is known to be whole once the next such has been read; the last one never is.
            if len(data) > page_bytes:
                yield from waiting
                waiting.clear()
            waiting.append(RawMessage(*topics[key], stamp_ns, data))
    except sqlite3.Error:
        return
    finally:
        connection.close()


def _mcap_messages(
    file: BinaryIO, schemas: dict[int, str], channels: dict[int, tuple[str, str]]
) -> Iterator[RawMessage]:
    """Messages of a run of MCAP records (https://mcap.dev/spec); `schemas` and `channels` gather what they refer to."""
    while (record := _next_record(file)) is not None:
        opcode, body = record
        try:
            if opcode == MCAP_SCHEMA:
                schemas[struct.unpack_from("<H", body)[0]] = _string(body, 2)
            elif opcode == MCAP_CHANNEL:
                channel, schema = struct.unpack_from("<HH", body)
                channels[channel] = (_string(body, 4), schemas.get(schema, ""))
            elif opcode == MCAP_MESSAGE:
                channel, _, stamp_ns, _ = struct.unpack_from("<HIQQ", body)
                if channel in channels:
                    yield RawMessage(*channels[channel], stamp_ns, body[22:])
            elif opcode == MCAP_CHUNK:
                yield from _mcap_messages(io.BytesIO(_chunk_records(body)), schemas, channels)
        except (struct.error, UnicodeDecodeError):
            return  # a damaged record: what follows it can not be trusted


def _next_record(file: BinaryIO) -> tuple[int, bytes] | None:
    """Opcode and body of a record; None where it is not whole, unless it is a chunk, of which the beginning may do."""
    head = file.read(9)
    if len(head) < 9:
        return None
    opcode, size = struct.unpack("<BQ", head)
    if size > LARGEST_RECORD:
        return None
    body = file.read(size)
    return (opcode, body) if len(body) == size or opcode == MCAP_CHUNK else None


def _chunk_records(body: bytes) -> bytes:
    """The records of a chunk, or those bytes of them that are there; nothing of one that is damaged."""
    size, crc = struct.unpack_from("<QI", body, 16)
    compression = _string(body, 28)
    begin = 32 + len(compression)
    (packed,) = struct.unpack_from("<Q", body, begin)
    records = body[begin + 8 : begin + 8 + packed]
    if not compression and len(records) < packed:
        return records
    try:
        return decompress(records, compression, size, crc)
    except Exception as error:  # lz4, zstd and rosbags each have errors of their own
        logger.debug("chunk is left out: %s", error)
        return b""


def _string(body: bytes, offset: int) -> str:
    (size,) = struct.unpack_from("<I", body, offset)
    return body[offset + 4 : offset + 4 + size].decode()
