"""Opens a rosbag2, whole or cut off, and gives its messages in order of time."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from rosbags.rosbag2 import Reader

from scal3r_ros.errors import SequenceError
from scal3r_ros.io.bags.salvage import RawMessage, salvage

logger = logging.getLogger(__name__)

BAG_SUFFIXES = (".mcap", ".db3")


@dataclass(frozen=True)
class TopicSummary:
    """One topic of a bag: its message type and how many messages it has."""

    name: str
    kind: str
    count: int


class BagFile:
    """A bag folder, or a single `.mcap` or `.db3` file. Usable as a context; `close` may be called twice.

    A bag whose end is missing gives the messages that are whole; `damage` then says so in one sentence, None otherwise.

    Raises:
        SequenceError: the path is missing or no bag, or the bag holds no readable message.
    """

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise SequenceError(f"bag {path} does not exist; give a rosbag2 folder or its .mcap or .db3 file")
        self.path = path
        self.damage: str | None = None
        self._reader: Reader | None = None
        self._files = _storage_files(path)
        if not self._files:
            raise SequenceError(f"bag {path} is no rosbag2: there is no .mcap or .db3 file in it")
        try:
            self._open()
        except Exception as error:  # of damaged files rosbags lets through whatever struct, sqlite, zstd and YAML raise
            self._scan(error)
        if not sum(topic.count for topic in self.topics):
            self.close()
            raise SequenceError(f"bag {path} holds no messages" + (", and is damaged" if self.damage else ""))

    def __enter__(self) -> BagFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the files."""
        if self._reader is not None and self._reader.is_open:
            self._reader.close()

    def messages(self, topics: Collection[str] | None = None) -> Iterator[RawMessage]:
        """Messages of the named topics, of all where None, ordered by the time they were recorded.

        Where the bag turns out to be damaged on the way, the messages end there and `damage` says so.
        """
        if self._reader is None:
            for path in self._files:
                yield from (message for message in salvage(path) if topics is None or message.topic in topics)
            return
        connections = [item for item in self._reader.connections if topics is None or item.topic in topics]
        if not connections:
            return
        stream = self._reader.messages(connections)
        while True:
            try:
                connection, stamp_ns, data = next(stream)
            except StopIteration:
                return
            except Exception as error:  # as above
                self._report(error)
                return
            yield RawMessage(connection.topic, connection.msgtype, stamp_ns, bytes(data))

    def _open(self) -> None:
        # A folder whose recorder was killed has no metadata.yaml, but its one file may still be whole.
        has_metadata = self.path.is_file() or (self.path / "metadata.yaml").is_file()
        if not has_metadata and len(self._files) > 1:
            raise SequenceError("metadata.yaml is missing")
        self._reader = Reader(self.path if has_metadata else self._files[0])
        self._reader.open()
        counts: Counter[tuple[str, str]] = Counter()
        for item in self._reader.connections:
            counts[item.topic, item.msgtype] += item.msgcount
        self.topics = tuple(TopicSummary(name, kind, count) for (name, kind), count in sorted(counts.items()))
        self.duration_ns = max(0, self._reader.duration - 1)  # rosbags counts to one past the end

    def _scan(self, error: Exception) -> None:
        """Counts what can still be read of a damaged bag."""
        self._reader = None
        counts: Counter[tuple[str, str]] = Counter()
        first, last = None, 0
        try:
            for message in (message for path in self._files for message in salvage(path)):
                counts[message.topic, message.kind] += 1
                first = message.stamp_ns if first is None else min(first, message.stamp_ns)
                last = max(last, message.stamp_ns)
        except OSError as refused:
            raise SequenceError(f"bag {self.path} can not be read: {refused.strerror}") from refused
        self.topics = tuple(TopicSummary(name, kind, count) for (name, kind), count in sorted(counts.items()))
        self.duration_ns = 0 if first is None else last - first
        self._report(error)

    def _report(self, error: Exception) -> None:
        if self.damage is None:
            self.damage = f"bag {self.path} is damaged or cut off ({error}); what comes before the damage is used"
            logger.warning("%s", self.damage)


def _storage_files(path: Path) -> tuple[Path, ...]:
    if path.is_file():
        return (path,) if path.suffix in BAG_SUFFIXES else ()
    return tuple(sorted(item for item in path.iterdir() if item.suffix in BAG_SUFFIXES))
