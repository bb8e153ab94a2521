"""Ctrl-C while a recording is mapped: the first ends the drive, and what was mapped is written; the second ends all."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

INTERRUPTED = 130
"""Exit code after Ctrl-C."""

T = TypeVar("T")


@contextmanager
def first_interrupt() -> Iterator[threading.Event]:
    """An event that is set by the first Ctrl-C; the next raises `KeyboardInterrupt`, as all do outside of the context.

    On another thread than the main one, which hears no signals, it is never set.
    """
    pressed = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield pressed
        return

    def note(number: int, frame: FrameType | None) -> None:
        pressed.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)


def until(pressed: threading.Event, items: Iterable[T]) -> Iterator[T]:
    """`items` up to the one during which the event is set."""
    for item in items:
        yield item
        if pressed.is_set():
            return
