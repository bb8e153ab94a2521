"""Figures of validation: nothing for the truth, and the right number for a known error."""

import dataclasses

import numpy as np
import pytest

from scal3r_ros.geometry import se3
from scal3r_ros.training.records.errors import chunk_errors, summary


@pytest.fixture
def truth():
    rng = np.random.default_rng(0)
    T = np.stack([se3.exp(np.array([0, 0, 0.3 * i, 0.0, 0.02 * i, 0.0])) for i in range(4)])
    return T, rng.uniform(1, 5, (4, 6, 8))


def test_the_truth_in_any_scale_is_without_error(truth):
    T, depth = truth
    predicted = T.copy()
    predicted[:, :3, 3] /= 3
    errors = chunk_errors(predicted, depth / 3, T, depth, 1.0)
    assert errors.depth == pytest.approx(0.0, abs=1e-12)
    assert errors.log_scale == pytest.approx(np.log(3))
    assert errors.rotation_deg.max() < 1e-5
    assert errors.translation.max() < 1e-9
    assert len(errors.rotation_deg) == 6
    assert len(errors.neighbour_rotation_deg) == 3


def test_known_errors_are_found(truth):
    T, depth = truth
    predicted = T.copy()
    predicted[:, :3, 3] *= 1.1
    errors = chunk_errors(predicted, depth, T, depth, 0.9)
    np.testing.assert_allclose(errors.translation, 0.1, atol=1e-9)
    assert errors.field_of_view == pytest.approx(0.1)
    still = chunk_errors(np.tile(np.eye(4), (4, 1, 1)), depth, T, depth, 1.0)
    np.testing.assert_allclose(still.rotation_deg, still.still_deg, atol=1e-6)
    np.testing.assert_allclose(still.translation, 1.0)


def test_seams_are_between_chunks_of_one_sequence(truth):
    T, depth = truth
    one = chunk_errors(T, depth, T, depth, 1.0)
    twice = dataclasses.replace(one, log_scale=one.log_scale + 0.2)
    assert summary([[one, one], [one, one]])["seam_spread"] == 0.0
    assert summary([[one, twice, one]])["seam_spread"] == pytest.approx(0.2)


def test_depth_that_is_not_believed_does_not_count_as_sure():
    T, depth = np.tile(np.eye(4), (2, 1, 1)), np.full((2, 4, 6), 2.0)
    predicted = depth.copy()
    predicted[:, 0] *= 3
    sure = np.ones(depth.shape, bool)
    sure[:, 0] = False
    errors = chunk_errors(T, predicted, T, depth, 1.0, sure)
    assert errors.sure_depth == pytest.approx(0.0)
    assert errors.depth == pytest.approx(0.5)
    nothing = chunk_errors(T, predicted, T, depth, 1.0, np.zeros(depth.shape, bool))
    assert nothing.sure_depth is None
    assert summary([[errors, nothing]])["sure_depth"] == pytest.approx(0.0)
