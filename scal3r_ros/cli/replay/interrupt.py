"""Ctrl-C, or the signal to end, while a recording is mapped: the first ends the drive, and what was mapped is written;
the second ends all.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

INTERRUPTED = 130
"""Exit code after either."""

T = TypeVar("T")


@contextmanager
def first_interrupt() -> Iterator[threading.Event]:
    """An event that is set by the first Ctrl-C or SIGTERM, by which containers and services are stopped.

    The next ones do what they do outside of the context. On another thread than the main one, which hears no signals,
    it is never set.
    """
    pressed = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield pressed
        return

    def note(number: int, frame: FrameType | None) -> None:
        pressed.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield pressed
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def until(pressed: threading.Event, items: Iterable[T]) -> Iterator[T]:
    """`items` up to the one during which the event is set."""
    for item in items:
        yield item
        if pressed.is_set():
            return
