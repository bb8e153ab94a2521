"""A file of a rosbag2 in SQLite, whole, cut off, or with a write-ahead log that a killed recorder left behind.

The reader of rosbags takes `#`, `?` and `%` of a path for parts of a URI, and passes over write-ahead logs.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

from scal3r_ros.io.bags.messages import RawMessage, TopicKey, scan

SUMMARY = "SELECT topic_id, COUNT(*), MIN(timestamp), MAX(timestamp) FROM messages GROUP BY topic_id"
MESSAGES = "SELECT topic_id, timestamp, data FROM messages"
UNREADABLE_LOG = "its write-ahead log cannot be read where it lies; copy the bag to a folder that can be written to"


class SqliteFile:
    """See `BagPart`. Of a file without its end the rows that are whole are read, in the order of writing.

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
        try:
            rows = self._connection.execute(f"{MESSAGES} WHERE topic_id IN ({marks}) ORDER BY timestamp", keys)
            for key, stamp_ns, data in rows:
                yield RawMessage(*self._topics[key], stamp_ns, data)
        except sqlite3.Error as error:
            self.damage = self.damage or str(error)

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

    def _salvaged(self) -> Iterator[RawMessage]:
        connection = self._connect("&immutable=1")
        try:
            # Without it SQLite refuses a file that is shorter than its header says, even where the rows are whole.
            connection.execute("PRAGMA writable_schema=ON")
            topics = {key: (name, kind) for key, name, kind in connection.execute("SELECT id, name, type FROM topics")}
            (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
            waiting: list[RawMessage] = []
            # By row, not by the index on time: an index page that is missing must not cost the rows.
            for key, stamp_ns, data in connection.execute(f"{MESSAGES} NOT INDEXED"):
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
