"""What is left of a damaged file of SQLite is read, wherever SQLite put the pages that lead to it."""

from __future__ import annotations

import itertools
import sqlite3
from pathlib import Path

import pytest

from scal3r_ros.io.bags.file import BagFile
from scal3r_ros.io.bags.messages import RawMessage

COUNT = 2000
PAGE_BYTES = 512
TOPIC_PAGES = 30
NEAR_THE_CUT = 20
"""Messages that share a page with the last one: the chain of one may end behind the cut, that of the next before it."""
TABLES = (
    "CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT NOT NULL, type TEXT NOT NULL, "
    "serialization_format TEXT NOT NULL, offered_qos_profiles TEXT NOT NULL{more})",
    "CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER NOT NULL, timestamp INTEGER NOT NULL, "
    "data BLOB NOT NULL)",
    "CREATE INDEX timestamp_idx ON messages (timestamp ASC)",
)


def data_of(index: int) -> bytes:
    """Short and long ones in turn: within a page, and with a chain of pages behind it."""
    return bytes([0, 1, index % 251, index // 251]) * (20, 500)[index % 2]


@pytest.fixture(scope="module", params=["", ", type_description_hash TEXT NOT NULL DEFAULT ''"], ids=["older", "newer"])
def bag(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As rosbag2 writes it, with pages so small that the table has several levels above its rows."""
    path = tmp_path_factory.mktemp("bag") / "drive.db3"
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA page_size={PAGE_BYTES}")
        for statement in TABLES:
            connection.execute(statement.format(more=request.param))
        qos = "- history: 1\n" * 100  # longer than a page
        for key in (1, 2):
            row = (key, f"/topic{key}", "std_msgs/msg/String", "cdr", qos)
            names = "id, name, type, serialization_format, offered_qos_profiles"
            connection.execute(f"INSERT INTO topics({names}) VALUES (?,?,?,?,?)", row)
        for index in range(COUNT):
            row = (1 + index % 2, index - 5, data_of(index))  # stamps of every size, below and above zero
            connection.execute("INSERT INTO messages(topic_id, timestamp, data) VALUES (?,?,?)", row)
    connection.close()
    return path


def messages(path: Path) -> tuple[list[RawMessage], str | None]:
    with BagFile(path) as opened:
        counts = sum(topic.count for topic in opened.topics)
        found = list(opened.messages())
        assert counts >= len(found)
        return found, opened.damage


EXPECTED = [
    RawMessage(f"/topic{1 + index % 2}", "std_msgs/msg/String", index - 5, data_of(index)) for index in range(COUNT)
]


@pytest.mark.parametrize("part", [0.05, 0.3, 0.7, 0.99])
def test_a_cut_file_gives_every_message_before_the_cut(bag: Path, tmp_path: Path, part: float) -> None:
    content = bag.read_bytes()
    cut = tmp_path / "cut.db3"
    cut.write_bytes(content[: int(part * len(content))])
    found, damage = messages(cut)
    assert damage is not None
    near = len(found) - NEAR_THE_CUT
    assert found[:near] == EXPECTED[:near]
    assert set(found) <= set(EXPECTED)
    assert len(found) > 0.95 * part * COUNT - NEAR_THE_CUT


def test_a_lost_page_costs_its_own_messages_alone(bag: Path, tmp_path: Path) -> None:
    content = bag.read_bytes()
    pages = len(content) // PAGE_BYTES
    lost = tmp_path / "lost.db3"
    for page in itertools.chain(range(TOPIC_PAGES, pages, pages // 10), [pages - 1]):
        begin = page * PAGE_BYTES
        lost.write_bytes(content[:begin] + bytes(PAGE_BYTES) + content[begin + PAGE_BYTES :])
        found, damage = messages(lost)
        # A page of zeros within the last link of a chain cannot be told from data: the message is there, with zeros.
        changed = [message for message in found if EXPECTED[message.stamp_ns + 5] != message]
        missing = COUNT - len(found)
        assert missing + len(changed) <= 6, page
        assert not missing or damage is not None, page


def test_bytes_at_random_end_in_no_exception(bag: Path, tmp_path: Path) -> None:
    content = bytearray(bag.read_bytes()[: 200 * PAGE_BYTES])
    for index in range(3 * PAGE_BYTES, len(content), 97):
        content[index] = index * 31 % 256
    broken = tmp_path / "broken.db3"
    broken.write_bytes(content)
    found, damage = messages(broken)
    assert damage is not None
    assert found
