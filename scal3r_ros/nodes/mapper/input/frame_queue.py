"""A bounded queue between two threads in which the newest item wins."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Generic, TypeVar

ItemT = TypeVar("ItemT")


class DropOldestQueue(Generic[ItemT]):
    """Holds at most `limit` items; a further one pushes the oldest out. An item taken is in hand until `done`."""

    def __init__(self, limit: int) -> None:
        self._items: deque[ItemT] = deque()
        self._limit = limit
        self._in_hand = False
        self._changed = threading.Condition()

    def __len__(self) -> int:
        with self._changed:
            return len(self._items)

    def put(self, item: ItemT) -> int:
        """Appends an item; the number of older ones dropped for it, 0 or 1."""
        with self._changed:
            full = len(self._items) >= self._limit
            if full:
                self._items.popleft()
            self._items.append(item)
            self._changed.notify_all()
            return int(full)

    def take(self, timeout_s: float) -> ItemT | None:
        """The oldest item, which is in hand from now on; None where none came in time."""
        with self._changed:
            if not self._changed.wait_for(lambda: bool(self._items), timeout_s):
                return None
            self._in_hand = True
            return self._items.popleft()

    def done(self) -> None:
        """The item taken last is dealt with."""
        with self._changed:
            self._in_hand = False
            self._changed.notify_all()

    def clear(self) -> int:
        """Drops what waits; how many that were."""
        with self._changed:
            dropped = len(self._items)
            self._items.clear()
            self._changed.notify_all()
            return dropped

    def wait_until_done(self, deadline_s: float) -> bool:
        """Whether nothing waited and nothing was in hand before `deadline_s` on the monotonic clock."""
        with self._changed:
            left = max(0.0, deadline_s - time.monotonic())
            return self._changed.wait_for(lambda: not self._items and not self._in_hand, left)
