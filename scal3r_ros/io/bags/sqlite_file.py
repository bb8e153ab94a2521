"""A file of a rosbag2 in SQLite, whole, cut off, or with a write-ahead log that a killed recorder left behind.

The reader of rosbags takes `#`, `?` and `%` of a path for parts of a URI, and passes over write-ahead logs.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

from scal3r_ros.io.bags.messages import RawMessage, TopicKey, scan
from scal3r_ros.io.bags.sqlite_pages import SqlitePages

SUMMARY = "SELECT topic_id, COUNT(*), MIN(timestamp), MAX(timestamp) FROM messages GROUP BY topic_id"
MESSAGES = "SELECT id, topic_id, timestamp, data FROM messages"
MESSAGE_COLUMNS = 4
TOPIC_COLUMNS = (5, 6)
"""Of both tables by their number of columns: id, topic_id, timestamp and data; id, name, type and others."""
UNREADABLE_LOG = "its write-ahead log cannot be read where it lies; copy the bag to a folder that can be written to"


class SqliteFile:
    """See `BagPart`. Of a damaged file the rows that are whole are read, in the order of writing.

    Raises:
        OSError: the file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        with path.open("rb"):
            pass  # SQLite does not say why a file cannot be opened
        self._path = path
        self.damage: str | None = None
        self.counts: dict[TopicKey, int] = {}
        self.first_ns: int | None = None
        self.last_ns: int | None = None
        self._topics: dict[int, TopicKey] = {}
        self._connection: sqlite3.Connection | None = None
        self._side_file = path.with_name(path.name + "-shm")
        self._side_file_existed = self._side_file.exists()
        self._open()

    def close(self) -> None:
        """Closes the file, and removes what SQLite needed beside it to read a write-ahead log."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if not self._side_file_existed:
            with suppress(OSError):
                self._side_file.unlink(missing_ok=True)

    def messages(self, topics: Collection[str] | None) -> Iterator[RawMessage]:
        """See `BagPart`."""
        if self._connection is None:
            yield from (message for message in self._salvaged() if topics is None or message.topic in topics)
            return
        keys = [key for key, (name, _) in self._topics.items() if topics is None or name in topics]
        marks = ",".join("?" * len(keys))
        last: tuple[int, int] | None = None
        try:
            rows = self._connection.execute(f"{MESSAGES} WHERE topic_id IN ({marks}) ORDER BY timestamp, id", keys)
            for row, key, stamp_ns, data in rows:
                last = (stamp_ns, row)
                yield RawMessage(*self._topics[key], stamp_ns, data)
        except sqlite3.Error as error:
            self.damage = self.damage or str(error)
            yield from (message for message in self._salvaged(last) if topics is None or message.topic in topics)

    def _open(self) -> None:
        log = self._path.with_name(self._path.name + "-wal")
        modes = ("", "&immutable=1") if log.exists() and log.stat().st_size else ("&immutable=1",)
        reason = ""
        for mode in modes:
            try:
                self._connection = self._connect(mode)
                if len(modes) == 1:
                    self._check_length(self._connection)
                self._summarize(self._connection)
            except sqlite3.Error as error:
                reason = reason or str(error)
                if self._connection is not None:
                    self._connection.close()
                    self._connection = None
            else:
                self.damage = None if mode == modes[0] else UNREADABLE_LOG
                return
        self.damage = reason
        self.counts, self.first_ns, self.last_ns = scan(self._salvaged())

    def _connect(self, mode: str) -> sqlite3.Connection:
        uri = f"{self._path.absolute().as_uri()}?mode=ro{mode}"
        return sqlite3.connect(uri, uri=True, check_same_thread=False)

    def _check_length(self, connection: sqlite3.Connection) -> None:
        """SQLite notices a missing page, but not that the last one is short."""
        (pages,), (page_bytes,) = (connection.execute(f"PRAGMA page_{name}").fetchone() for name in ("count", "size"))
        present = self._path.stat().st_size
        if present < pages * page_bytes:
            raise sqlite3.DatabaseError(f"{present} of {pages * page_bytes} bytes are there")

    def _summarize(self, connection: sqlite3.Connection) -> None:
        rows = connection.execute("SELECT id, name, type FROM topics").fetchall()
        self._topics = {key: (name, kind) for key, name, kind in rows}
        self.counts = dict.fromkeys(self._topics.values(), 0)
        spans = []
        for key, number, first, last in connection.execute(SUMMARY):
            if key in self._topics:
                self.counts[self._topics[key]] += number
                spans.append((first, last))
        if spans:
            self.first_ns, self.last_ns = min(first for first, _ in spans), max(last for _, last in spans)

    def _salvaged(self, after: tuple[int, int] | None = None) -> Iterator[RawMessage]:
        """The messages whose rows are whole, in the order of writing: all, or those `after` a stamp and row number."""
        with SqlitePages(self._path) as pages:
            topics: dict[int, TopicKey] = {}
            for columns in TOPIC_COLUMNS:
                for key, (_, name, kind, *_) in pages.rows(columns):
                    if isinstance(name, str) and isinstance(kind, str):
                        topics[key] = (name, kind)
            for row, (_, topic, stamp_ns, data) in pages.rows(MESSAGE_COLUMNS):
                if not (isinstance(topic, int) and isinstance(stamp_ns, int) and isinstance(data, bytes)):
                    continue
                if topic in topics and (after is None or (stamp_ns, row) > after):
                    yield RawMessage(*topics[topic], stamp_ns, data)
