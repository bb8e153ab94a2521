"""What many windows say together of what all images of a camera share."""

from __future__ import annotations

import numpy as np
import pytest

from scal3r_ros.reconstruction.geometric.window.coefficient import SharedCoefficient


def test_one_turn_counts_more_than_many_straight_ways() -> None:
    together = SharedCoefficient(0.02, 4.0)
    for _ in range(10):
        together.add(-0.004, 1 / 0.003**2)
    for _ in range(3):
        together.add(0.017, 1 / 0.0004**2)
    assert together.value == pytest.approx(0.017, abs=0.003)


def test_windows_that_contradict_each_other_leave_the_calibration_as_it_is() -> None:
    rng = np.random.default_rng(0)
    together = SharedCoefficient(0.02, 4.0)
    values = []
    for _ in range(60):
        together.add(rng.normal(0.0, 0.03), 1 / 0.0005**2)
        values.append(abs(together.value))
    assert max(values[5:]) < 0.02
    assert values[-1] < 0.006


@pytest.mark.parametrize(("value", "information"), [(np.nan, 1e6), (0.1, 0.0), (0.1, np.inf), (0.1, -1.0)])
def test_a_window_that_says_nothing_changes_nothing(value: float, information: float) -> None:
    together = SharedCoefficient(0.02, 4.0)
    together.add(value, information)
    assert together.value == 0.0


def test_without_doubt_the_calibration_stays() -> None:
    exact = SharedCoefficient(0.0, 4.0)
    exact.add(0.05, 1e9)
    assert exact.value == 0.0
