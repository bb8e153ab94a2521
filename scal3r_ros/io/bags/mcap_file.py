"""A file of a rosbag2 in MCAP (https://mcap.dev/spec), whole or cut off, by the library of that format."""

from __future__ import annotations

import io
import struct
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO

from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.reader import SeekingReader
from mcap.records import Channel, Chunk, McapRecord, Message, Schema, Statistics
from mcap.stream_reader import StreamReader, breakup_chunk
from mcap.summary import Summary

from scal3r_ros.io.bags.messages import RawMessage, TopicKey, scan
from scal3r_ros.io.bags.ros1 import as_ros2_kind, cdr_of_ros1

DAMAGES = (McapError, struct.error, UnicodeDecodeError, ValueError, MemoryError, RuntimeError, KeyError, OverflowError)
"""What the library, and the decompressors below it, raise where a file is not what its format requires."""
CDR, ROS1 = "cdr", "ros1"
CHUNK_TIMES = 16
"""Bytes of a chunk's record before the size of its contents: the times of its first and last message."""


class McapFile:
    """See `BagPart`. Of a file without its end the records up to there are read, also those of a chunk cut in half.

    Raises:
        OSError: the file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.damage: str | None = None
        self.counts: dict[TopicKey, int] = {}
        self.first_ns: int | None = None
        self.last_ns: int | None = None
        with path.open("rb") as file:
            summary = self._summary(file)
        statistics = None if summary is None else summary.statistics
        self._indexed = summary is not None and statistics is not None and bool(summary.chunk_indexes)
        if summary is not None and statistics is not None:
            self._count(summary, statistics)
        else:
            self.counts, self.first_ns, self.last_ns = scan(self._in_order_of_file(None))

    def close(self) -> None:
        """See `BagPart`; each reading of the messages has the file open for itself."""

    def messages(self, topics: Collection[str] | None) -> Iterator[RawMessage]:
        """See `BagPart`; of a file without an index in the order in which they were written."""
        if not self._indexed:
            yield from self._in_order_of_file(topics)
            return
        names = None if topics is None else list(topics)
        with self._path.open("rb") as file:
            try:
                for schema, channel, message in SeekingReader(file, validate_crcs=True).iter_messages(names):
                    raw = _raw(schema, channel, message)
                    if raw is not None:
                        yield raw
            except DAMAGES as error:
                self.damage = self.damage or _reason(error)

    def _summary(self, file: IO[bytes]) -> Summary | None:
        try:
            return SeekingReader(file, validate_crcs=True).get_summary()
        except DAMAGES as error:
            self.damage = _reason(error)
            return None

    def _count(self, summary: Summary, statistics: Statistics) -> None:
        for channel in summary.channels.values():
            kind = _kind(summary.schemas.get(channel.schema_id), channel)
            if kind is not None:
                key = (channel.topic, kind)
                number = statistics.channel_message_counts.get(channel.id, 0)
                self.counts[key] = self.counts.get(key, 0) + number
        if statistics.message_count:
            self.first_ns, self.last_ns = statistics.message_start_time, statistics.message_end_time

    def _in_order_of_file(self, topics: Collection[str] | None) -> Iterator[RawMessage]:
        schemas: dict[int, Schema] = {}
        channels: dict[int, Channel] = {}
        for record in self._records():
            if isinstance(record, Schema):
                schemas[record.id] = record
            elif isinstance(record, Channel):
                channels[record.id] = record
            elif isinstance(record, Message):
                channel = channels.get(record.channel_id)
                if channel is not None and (topics is None or channel.topic in topics):
                    raw = _raw(schemas.get(channel.schema_id), channel, record)
                    if raw is not None:
                        yield raw

    def _records(self) -> Iterator[McapRecord]:
        """Every record up to the first that is damaged or cut off."""
        begin = 0
        with self._path.open("rb") as file:
            try:
                for record in StreamReader(file, emit_chunks=True, validate_crcs=True).records:
                    if isinstance(record, Chunk):
                        yield from breakup_chunk(record, validate_crc=True)
                    else:
                        yield record
                    begin = file.tell()
            except DAMAGES as error:
                self.damage = self.damage or _reason(error)
                file.seek(begin)
                yield from _begun_chunk(file)


def _begun_chunk(file: IO[bytes]) -> Iterator[McapRecord]:
    """The whole records at the beginning of a chunk that is cut off, where it is not compressed."""
    stream = ReadDataStream(file)
    try:
        opcode, size = stream.read1(), stream.read8()
        if opcode != Opcode.CHUNK or size < CHUNK_TIMES:
            return
        stream.read(CHUNK_TIMES)
        stream.read8()
        stream.read4()
        if stream.read_prefixed_string():
            return
        length = stream.read8()
        records = file.read(min(length, size))
        if len(records) < length:
            yield from StreamReader(io.BytesIO(records), skip_magic=True).records
    except DAMAGES:
        return


def _raw(schema: Schema | None, channel: Channel, message: Message) -> RawMessage | None:
    kind = _kind(schema, channel)
    if kind is None:
        return None
    data = message.data if channel.message_encoding == CDR else cdr_of_ros1(message.data, kind)
    return RawMessage(channel.topic, kind, message.log_time, data)


def _kind(schema: Schema | None, channel: Channel) -> str | None:
    """The ROS 2 type of a channel; None where it holds other messages than ROS's."""
    if schema is None or channel.message_encoding not in (CDR, ROS1):
        return None
    return schema.name if channel.message_encoding == CDR else as_ros2_kind(schema.name)


def _reason(error: BaseException) -> str:
    return str(error) or type(error).__name__
