"""Bags of ROS 1: their messages become those of ROS 2."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path

from rosbags.convert.converter import migrate_bytes
from rosbags.interfaces import Connection
from rosbags.rosbag1 import Reader, ReaderError
from rosbags.typesys import Stores, get_typestore
from rosbags.typesys.store import Typestore

from scal3r_ros.errors import SequenceError
from scal3r_ros.io.bags.messages import RawMessage, TopicKey
from scal3r_ros.io.bags.topics import typestore

_CACHE: dict[str, object] = {}
"""What the conversion of rosbags keeps between messages."""


class Ros1File:
    """A `.bag` file; see `BagPart`. Topics whose type is not among ROS's own are left out.

    Raises:
        SequenceError: the file has no index, as after a recorder was killed, or is no bag.
        OSError: the file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.damage: str | None = None
        self._reader = Reader(path)
        try:
            self._reader.open()
        except ReaderError as error:
            raise SequenceError(
                f"bag {path} of ROS 1 cannot be opened ({error}); where its recording was cut off, "
                "`rosbag reindex` of ROS 1 mends it"
            ) from error
        self._connections = [item for item in self._reader.connections if _is_known(item.msgtype)]
        self.counts: dict[TopicKey, int] = {}
        for item in self._connections:
            key = (item.topic, item.msgtype)
            self.counts[key] = self.counts.get(key, 0) + item.msgcount
        empty = not self._reader.message_count
        self.first_ns: int | None = None if empty else self._reader.start_time
        self.last_ns: int | None = None if empty else self._reader.end_time - 1  # rosbags counts to one past the end

    def close(self) -> None:
        """Closes the file."""
        self._reader.close()

    def messages(self, topics: Collection[str] | None) -> Iterator[RawMessage]:
        """See `BagPart`."""
        wanted: list[Connection] = [item for item in self._connections if topics is None or item.topic in topics]
        if not wanted:
            return
        stream = self._reader.messages(wanted)
        while True:
            try:
                connection, stamp_ns, data = next(stream)
            except StopIteration:
                return
            except Exception as error:  # of damaged files rosbags lets through whatever struct and decompressors raise
                self.damage = str(error)
                return
            kind = connection.msgtype
            yield RawMessage(connection.topic, kind, stamp_ns, cdr_of_ros1(data, kind))


def as_ros2_kind(name: str) -> str | None:
    """`sensor_msgs/Image` as `sensor_msgs/msg/Image`; None where this package knows no such type."""
    kind = name if "/msg/" in name else name.replace("/", "/msg/")
    return kind if _is_known(kind) else None


def cdr_of_ros1(data: bytes, kind: str) -> bytes:
    """A message of ROS 1 as the CDR of ROS 2's; empty where it is cut off, as no CDR is."""
    try:
        return bytes(migrate_bytes(_ros1(), typestore(), kind, kind, _CACHE, data, src_is2=False, dst_is2=True))
    except Exception:  # the generated readers fail in whatever way a short buffer makes them
        return b""


def _is_known(kind: str) -> bool:
    return kind in _ros1().fielddefs and kind in typestore().fielddefs


@cache
def _ros1() -> Typestore:
    return get_typestore(Stores.ROS1_NOETIC)
