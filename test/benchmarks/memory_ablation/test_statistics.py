"""Paired comparisons of measurements whose ratio is known."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.memory_ablation.statistics import baseline_of, compare, figures

RNG = np.random.default_rng(3)
BEFORE = np.exp(RNG.normal(0.0, 1.0, 24))
AFTER = BEFORE * 0.8 * np.exp(RNG.normal(0.0, 0.1, 24))


def test_ratio_is_found_in_spite_of_the_spread_over_drives() -> None:
    found = compare(AFTER, BEFORE)
    assert found is not None
    assert found.drives == 24
    assert found.low < found.ratio < found.high
    assert found.low < 0.8 < found.high
    assert found.p < 0.01


def test_comparison_the_other_way_round_is_the_inverse() -> None:
    one, other = compare(AFTER, BEFORE), compare(BEFORE, AFTER)
    assert one is not None
    assert other is not None
    assert one.ratio == pytest.approx(1 / other.ratio)
    assert one.p == pytest.approx(other.p)
    assert one.smaller == 24 - other.smaller


def test_equal_measurements_do_not_differ() -> None:
    found = compare(BEFORE, BEFORE)
    assert found is not None
    assert (found.ratio, found.low, found.high, found.p, found.smaller) == (1.0, 1.0, 1.0, 1.0, 0)


def test_drives_without_a_figure_are_left_out_of_the_pair() -> None:
    holed = AFTER.copy()
    holed[[2, 5]] = np.nan
    rest = np.delete(np.arange(24), [2, 5])
    assert compare(holed, BEFORE) == compare(AFTER[rest], BEFORE[rest])
    assert compare(np.full(24, np.nan), BEFORE) is None


def test_figures_are_of_finite_values() -> None:
    found = figures(np.array([1.0, np.nan, 3.0]))
    assert found is not None
    assert (found.drives, found.mean, found.median, found.std) == (2, 2.0, 2.0, 1.0)
    assert figures(np.array([np.nan])) is None


def test_offline_is_compared_with_chunks_encoded_as_its_own() -> None:
    assert baseline_of("offline", ["frozen", "frozen apart"]) == "frozen apart"
    assert baseline_of("offline", ["frozen"]) == baseline_of("running", ["frozen apart"]) == "frozen"
