"""Judges image stamps, for replay and node alike: one bad stamp costs one image, never the map or a pose."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from enum import Enum
from statistics import median

MAX_STEP_S = 1.0
"""A step forward of up to so much is never a jump of the clock."""
MAX_STEP_RATIO = 10
"""Nor is one of so many usual steps between images."""
MIN_STEPS = 3
"""Steps that have to be known before one of them counts as usual."""
MAX_FIRST_STEP_S = 10.0
"""A first stamp of zero was not set where the second one is later by more."""
CONFIRMATIONS = 3
"""Stamps in a row that show a jump of the clock itself; all but the last of them are refused."""


class StampVerdict(Enum):
    """What the stamp of an image is, and so what becomes of the image; the values name reasons to drop it."""

    NEXT = "next"
    NEW_CLOCK = "new clock"
    REPEATED = "stamp repeated"
    NOT_LATER = "stamp not later"
    NOT_SET = "stamp not set"
    JUMPED = "stamp jumped"

    @property
    def accepted(self) -> bool:
        """Whether the image is to be used."""
        return self in (StampVerdict.NEXT, StampVerdict.NEW_CLOCK)


class TimestampFilter:
    """Accepts stamps that grow.

    A stamp that lies back by more than `jump_back_s`, or ahead by much more than images usually do, is refused. Where
    the next ones follow on from it, the clock itself has jumped: ahead, and the stamps go on from there; or back, as
    for a bag that loops or a simulation that starts again, which is a `NEW_CLOCK`. Stamps that go back by less are
    refused until the clock has caught up.

    State: the newest stamp accepted, a few steps before it, and the stamps refused as a jump since.
    """

    def __init__(self, jump_back_s: float) -> None:
        self._jump_back_ns = round(jump_back_s * 1e9)
        self._counts: Counter[StampVerdict] = Counter()
        self.forget()

    def forget(self) -> None:
        """Accept any stamp next; the counts go on."""
        self._newest_ns: int | None = None
        self._steps_ns: deque[int] = deque(maxlen=15)
        self._jumped_ns: list[int] = []

    @property
    def newest_ns(self) -> int | None:
        """The newest stamp accepted, in nanoseconds; None before the first."""
        return self._newest_ns

    def judge(self, stamp_ns: int) -> StampVerdict:
        """The verdict on the stamp of the next image, in nanoseconds; it is remembered where it is accepted."""
        verdict = self._verdict(stamp_ns)
        self._counts[verdict] += 1
        if verdict is StampVerdict.NEW_CLOCK:
            self.forget()
        if verdict.accepted:
            if self._newest_ns is not None:
                self._steps_ns.append(stamp_ns - self._newest_ns)
            self._newest_ns, self._jumped_ns = stamp_ns, []
        elif verdict in (StampVerdict.NOT_SET, StampVerdict.JUMPED):
            self._jumped_ns = [*self._jumped_ns, stamp_ns] if self._follows_a_jump(stamp_ns) else [stamp_ns]
        return verdict

    def counters(self) -> Mapping[str, int]:
        """Images refused, by reason."""
        return {
            f"frames_dropped_{verdict.value.replace(' ', '_')}": self._counts[verdict]
            for verdict in StampVerdict
            if not verdict.accepted
        }

    def _verdict(self, stamp_ns: int) -> StampVerdict:
        if self._newest_ns is None:
            return StampVerdict.NEXT
        step_ns = stamp_ns - self._newest_ns
        if step_ns == 0:
            return StampVerdict.REPEATED
        if step_ns > 0 and self._newest_ns == 0 and not self._steps_ns and step_ns > MAX_FIRST_STEP_S * 1e9:
            return StampVerdict.NEW_CLOCK
        if 0 < step_ns <= self._max_step_ns():
            return StampVerdict.NEXT
        if -self._jump_back_ns <= step_ns < 0:
            return StampVerdict.NOT_LATER
        if self._follows_a_jump(stamp_ns) and len(self._jumped_ns) == CONFIRMATIONS - 1:
            return StampVerdict.NEXT if step_ns > 0 else StampVerdict.NEW_CLOCK
        return StampVerdict.NOT_SET if stamp_ns == 0 else StampVerdict.JUMPED

    def _follows_a_jump(self, stamp_ns: int) -> bool:
        return bool(self._jumped_ns) and 0 < stamp_ns - self._jumped_ns[-1] <= self._max_step_ns()

    def _max_step_ns(self) -> float:
        """The longest step forward that is none of the clock; unlimited until steps are known."""
        if len(self._steps_ns) < MIN_STEPS:
            return float("inf")
        return max(MAX_STEP_S * 1e9, MAX_STEP_RATIO * median(self._steps_ns))
