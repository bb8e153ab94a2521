"""What every format of a bag gives: topics, and messages in the order in which they were recorded."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import NamedTuple, Protocol

TopicKey = tuple[str, str]
"""Name and message type of a topic."""


class RawMessage(NamedTuple):
    """One message of a bag: `kind` as `package/msg/Type`, `stamp_ns` is when it was recorded, `data` is its CDR."""

    topic: str
    kind: str
    stamp_ns: int
    data: bytes


class BagPart(Protocol):
    """One file of a bag.

    `counts` are the messages of each topic, `first_ns` and `last_ns` the times of recording that they span, None where
    there are none. `damage` describes what is wrong with the file; None where nothing was seen so far.
    """

    counts: dict[TopicKey, int]
    first_ns: int | None
    last_ns: int | None
    damage: str | None

    def messages(self, topics: Collection[str] | None) -> Iterator[RawMessage]:
        """Messages of the named topics, of all where None, in the order of recording."""

    def close(self) -> None:
        """Closes the file."""


def scan(messages: Iterator[RawMessage]) -> tuple[dict[TopicKey, int], int | None, int | None]:
    """Messages by topic, and the first and last time of recording, of a file that keeps no such summary."""
    counts: dict[TopicKey, int] = {}
    first, last = None, None
    for message in messages:
        key = (message.topic, message.kind)
        counts[key] = counts.get(key, 0) + 1
        first = message.stamp_ns if first is None else min(first, message.stamp_ns)
        last = message.stamp_ns if last is None else max(last, message.stamp_ns)
    return counts, first, last
