"""Counts what went wrong by kind, and says the first of each kind."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable


class FaultLog:
    """Counters of faults by kind; `log` gets the sentence of the first of each kind. Safe to use from any thread."""

    def __init__(self, log: Callable[[str], object]) -> None:
        self._log = log
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    def report(self, kind: str, sentence: str, number: int = 1) -> None:
        """Counts `number` faults of a kind; `sentence` says what is wrong with which input and what to do."""
        with self._lock:
            first = not self._counts[kind]
            self._counts[kind] += number
        if first:
            self._log(f"{sentence} (reported once, then counted as '{kind}')")

    def counts(self) -> dict[str, int]:
        """Faults so far by kind."""
        with self._lock:
            return dict(self._counts)
