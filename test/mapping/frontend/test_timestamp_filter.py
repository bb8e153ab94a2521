"""Stamps as cameras send them: one bad stamp costs one image, a clock that jumps costs a few."""

from __future__ import annotations

import pytest

from scal3r_ros.mapping.frontend.timestamp_filter import CONFIRMATIONS, StampVerdict, TimestampFilter

NEXT, NEW_CLOCK = StampVerdict.NEXT, StampVerdict.NEW_CLOCK
S = 10**9
STEADY = [1000 * S + S // 10 * number for number in range(40)]


def verdicts(stamps: list[int], jump_back_s: float = 3.0) -> list[StampVerdict]:
    judge = TimestampFilter(jump_back_s).judge
    return [judge(stamp) for stamp in stamps]


@pytest.mark.parametrize(
    ("start", "step_s"), [(0, 1 / 200), (0, 8.0), (5, 0.1), (5, 60.0), (1_700_000_000 * S, 1 / 30)]
)
def test_a_steady_camera_loses_nothing_from_whatever_start(start: int, step_s: float) -> None:
    assert set(verdicts([start + round(step_s * S * number) for number in range(50)])) == {NEXT}


@pytest.mark.parametrize("at", [5, 20, 39])
@pytest.mark.parametrize(
    ("bad", "verdict"),
    [
        (0, StampVerdict.NOT_SET),
        (1, StampVerdict.JUMPED),
        (STEADY[0] + 3600 * S, StampVerdict.JUMPED),
        (2**62, StampVerdict.JUMPED),
        (STEADY[0] - 3600 * S, StampVerdict.JUMPED),
    ],
)
def test_one_bad_stamp_costs_one_image(at: int, bad: int, verdict: StampVerdict) -> None:
    found = verdicts([*STEADY[:at], bad, *STEADY[at + 1 :]])
    assert found[at] is verdict
    assert found[:at] + found[at + 1 :] == [NEXT] * (len(STEADY) - 1)


def test_a_repeated_stamp_and_one_that_goes_back_a_little_cost_one_image_each() -> None:
    stamps = [*STEADY[:10], STEADY[9], STEADY[7], *STEADY[10:]]
    found = verdicts(stamps)
    assert found[10:12] == [StampVerdict.REPEATED, StampVerdict.NOT_LATER]
    assert found[:10] + found[12:] == [NEXT] * len(STEADY)


def test_two_bad_stamps_in_a_row_are_no_clock() -> None:
    later = [STEADY[10] + 3600 * S, STEADY[11] + 3600 * S]
    assert verdicts([*STEADY[:10], *later, *STEADY[12:]])[12:] == [NEXT] * 28


@pytest.mark.parametrize("shift_s", [-3600, -5])
def test_a_clock_that_is_set_back_is_taken_for_a_new_one(shift_s: int) -> None:
    found = verdicts([*STEADY[:20], *(stamp + shift_s * S for stamp in STEADY[20:])])
    lost = CONFIRMATIONS - 1
    assert found[:20] == [NEXT] * 20
    assert not any(verdict.accepted for verdict in found[20 : 20 + lost])
    assert found[20 + lost :] == [NEW_CLOCK] + [NEXT] * (19 - lost)


def test_a_clock_that_is_set_ahead_goes_on_from_there() -> None:
    found = verdicts([*STEADY[:20], *(stamp + 10**6 * S for stamp in STEADY[20:])])
    assert found.count(StampVerdict.JUMPED) == CONFIRMATIONS - 1
    assert found[-10:] == [NEXT] * 10


def test_a_clock_set_back_by_less_than_the_limit_is_waited_for() -> None:
    found = verdicts([*STEADY[:20], *(stamp - 15 * S // 10 for stamp in STEADY[20:])])
    assert NEW_CLOCK not in found
    assert found[-1] is NEXT


def test_a_first_stamp_of_zero_that_was_not_set_is_forgotten() -> None:
    assert verdicts([0, *STEADY])[1:] == [NEW_CLOCK] + [NEXT] * (len(STEADY) - 1)


def test_images_of_two_clocks_in_turns_follow_the_first() -> None:
    stamps = [stamp for pair in zip(STEADY, (s + 7200 * S for s in STEADY), strict=True) for stamp in pair]
    found = verdicts(STEADY[:5] + stamps[10:])
    assert NEW_CLOCK not in found
    assert found.count(NEXT) == len(STEADY)


def test_refused_images_are_counted_by_reason_also_after_forgetting() -> None:
    filter_ = TimestampFilter(3.0)
    for stamp in [*STEADY[:10], STEADY[9], 0, 17, STEADY[8], STEADY[10]]:
        filter_.judge(stamp)
    filter_.forget()
    assert filter_.judge(1) is NEXT
    assert filter_.counters() == {
        "frames_dropped_stamp_repeated": 1,
        "frames_dropped_stamp_not_later": 1,
        "frames_dropped_stamp_not_set": 1,
        "frames_dropped_stamp_jumped": 1,
    }
