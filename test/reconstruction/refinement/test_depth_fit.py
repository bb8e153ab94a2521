"""Depth drawn to points: what a smooth error, a local one, an edge and wrong points make of it."""

from __future__ import annotations

import numpy as np
import pytest

from scal3r_ros.reconstruction.refinement.depth_fit import fitted_depth

HEIGHT, WIDTH = 60, 100


@pytest.fixture
def pixels() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.integers(0, WIDTH, 300), rng.integers(0, HEIGHT, 300)


def truth() -> np.ndarray:
    """A floor that comes nearer, and a box on it."""
    depth = np.repeat(np.linspace(8.0, 2.0, HEIGHT)[:, None], WIDTH, axis=1)
    depth[20:45, 30:60] = 2.5
    return depth.astype(np.float32)


def error(depth: np.ndarray) -> float:
    return float(np.median(np.abs(depth / truth() - 1.0)))


def test_one_factor_is_taken_out_everywhere(pixels) -> None:
    column, row = pixels
    fit = fitted_depth(truth() * np.float32(1.7), column, row, truth()[row, column].astype(np.float64))
    np.testing.assert_allclose(fit.depth, truth(), rtol=1e-5)
    assert fit.spread.max() < 1e-3


def test_a_local_error_is_taken_out_where_points_are_and_believed_less(pixels) -> None:
    column, row = pixels
    wrong = truth()
    wrong[:, 70:] *= np.float32(1.5)
    fit = fitted_depth(wrong, column, row, truth()[row, column].astype(np.float64))
    assert np.median(np.abs(fit.depth[:, 80:] / truth()[:, 80:] - 1)) < 0.05
    assert np.median(np.abs(fit.depth[:, :50] / truth()[:, :50] - 1)) < 0.01
    assert np.median(fit.spread[:, 62:78]) > 5 * np.median(fit.spread[:, :40])


def test_a_few_wrong_points_change_little(pixels) -> None:
    column, row = pixels
    z = truth()[row, column].astype(np.float64)
    z[::20] *= 4.0
    assert error(fitted_depth(truth(), column, row, z).depth) < 0.01


def test_unknown_depth_stays_unknown_and_too_few_points_change_nothing(pixels) -> None:
    column, row = pixels
    holes = truth()
    holes[:10] = 0.0
    z = truth()[row, column].astype(np.float64)
    assert (fitted_depth(holes, column, row, z).depth[:10] == 0).all()
    few = fitted_depth(truth(), column[:7], row[:7], 3.0 * z[:7])
    np.testing.assert_array_equal(few.depth, truth())
    assert few.spread is None
