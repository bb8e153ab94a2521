"""Judges the order of image stamps: the next one, one that is not later, or a clock that jumped back."""

from __future__ import annotations

from enum import Enum


class StampVerdict(Enum):
    """What the stamp of an image says about its place in time."""

    NEXT = "next"
    NOT_LATER = "not later"
    JUMPED_BACK = "jumped back"


class TimestampFilter:
    """Remembers the newest stamp accepted; a stamp more than `jump_back_s` seconds before it is a jump of the clock."""

    def __init__(self, jump_back_s: float) -> None:
        self._jump_back_ns = round(jump_back_s * 1e9)
        self._newest_ns: int | None = None

    @property
    def newest_ns(self) -> int | None:
        """The newest stamp accepted, in nanoseconds; None before the first."""
        return self._newest_ns

    def judge(self, stamp_ns: int) -> StampVerdict:
        """The verdict on a stamp in nanoseconds, which is remembered where it is the next one."""
        if self._newest_ns is None or stamp_ns > self._newest_ns:
            self._newest_ns = stamp_ns
            return StampVerdict.NEXT
        if self._newest_ns - stamp_ns > self._jump_back_ns:
            return StampVerdict.JUMPED_BACK
        return StampVerdict.NOT_LATER

    def forget(self) -> None:
        """Accepts any stamp next."""
        self._newest_ns = None
