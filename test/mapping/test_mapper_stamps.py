"""Bad stamps in the mapper: an image each, never the map or a pose; a clock set back begins a new map."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from scal3r_ros.mapping import MapperConfig, MapUpdate, OnlineMapper
from scal3r_ros.reconstruction.protocol import Frame

Drain = Callable[[OnlineMapper, list[Frame]], list[MapUpdate]]
S = 10**9


def stamped(frames: list[Frame], changes: dict[int, int]) -> list[Frame]:
    return [replace(frame, stamp_ns=changes.get(number, frame.stamp_ns)) for number, frame in enumerate(frames)]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (lambda own, before: 0, "stamp_not_set"),
        (lambda own, before: before, "stamp_repeated"),
        (lambda own, before: before - S // 20, "stamp_not_later"),
        (lambda own, before: own - 3600 * S, "stamp_jumped"),
        (lambda own, before: own + 3600 * S, "stamp_jumped"),
    ],
)
def test_a_bad_stamp_costs_its_image_and_nothing_else(
    oracle_mapper: OnlineMapper, oracle: Any, street: list[Frame], drain: Drain, bad: Any, reason: str
) -> None:
    at = 30
    drain(oracle_mapper, stamped(street, {at: bad(street[at].stamp_ns, street[at - 1].stamp_ns)}))
    without = OnlineMapper(MapperConfig(), oracle)
    drain(without, street[:at] + street[at + 1 :])
    counters = oracle_mapper.counters()
    assert counters[f"frames_dropped_{reason}"] == 1
    assert counters["frames_in"] == len(street)
    assert counters["frames_posed"] == len(street) - 1
    ours, theirs = oracle_mapper.trajectory(), without.trajectory()
    assert ours.stamps_ns.tolist() == theirs.stamps_ns.tolist()
    np.testing.assert_array_equal(ours.T_ref_cam, theirs.T_ref_cam)


def test_the_frame_that_is_dropped_says_why(oracle_mapper: OnlineMapper, street: list[Frame]) -> None:
    first = replace(street[0], stamp_ns=street[0].stamp_ns + 1)  # a nanosecond, which no double of this size holds
    oracle_mapper.observe(first)
    dropped = oracle_mapper.observe(first).dropped
    assert dropped is not None
    assert dropped.reason == "stamp repeated"
    assert f"{first.stamp_ns // S}.{first.stamp_ns % S:09d} s" in dropped.message
    assert oracle_mapper.observe(street[1]).dropped is None


def test_a_clock_set_back_by_an_hour_begins_a_new_map(
    oracle_mapper: OnlineMapper, oracle: Any, street: list[Frame], drain: Drain, caplog: pytest.LogCaptureFixture
) -> None:
    back = [replace(frame, index=50 + i, stamp_ns=frame.stamp_ns - 3600 * S) for i, frame in enumerate(street)]
    oracle.truth = oracle.truth | {stamp - 3600 * S: seen for stamp, seen in oracle.truth.items()}
    drain(oracle_mapper, [*street, *back])
    trajectory = oracle_mapper.trajectory()
    assert trajectory.stamps_ns.tolist() == [frame.stamp_ns for frame in back[2:]]
    assert np.linalg.norm(trajectory.T_ref_cam[:, :3, 3], axis=1).max() < 1000.0
    assert [record.getMessage() for record in caplog.records if "jumped back" in record.getMessage()]
    assert oracle_mapper.counters()["frames_dropped_stamp_jumped"] == 2


def test_who_observes_is_told_of_the_new_map(oracle_mapper: OnlineMapper, street: list[Frame]) -> None:
    back = [replace(frame, stamp_ns=frame.stamp_ns - 3600 * S) for frame in street[:4]]
    restarts = [oracle_mapper.observe(frame).restarted for frame in [*street[:20], *back]]
    assert restarts == [False] * 22 + [True, False]


def test_time_that_begins_at_zero_loses_no_image(
    oracle_mapper: OnlineMapper, oracle: Any, street: list[Frame], drain: Drain
) -> None:
    start = street[0].stamp_ns
    oracle.truth = {stamp - start: seen for stamp, seen in oracle.truth.items()}
    drain(oracle_mapper, [replace(frame, stamp_ns=frame.stamp_ns - start) for frame in street])
    assert len(oracle_mapper.trajectory()) == len(street)
