"""Corrections fade in: no step, no trace afterwards."""

from __future__ import annotations

import numpy as np
import pytest

from scal3r_ros.geometry import se3
from scal3r_ros.mapping.frontend.smoothing import SmoothPose

STEP_NS = 100_000_000


def at(x: float, yaw: float = 0.0) -> np.ndarray:
    return se3.se3(se3.rotation_exp([0.0, 0.0, yaw]), [x, 0.0, 0.0])


def test_without_corrections_poses_pass_unchanged() -> None:
    smooth = SmoothPose(0.7)
    for number in range(5):
        np.testing.assert_allclose(
            smooth.give(at(number, 0.1 * number), number * STEP_NS), at(number, 0.1 * number), atol=1e-12
        )


def test_a_correction_makes_no_step_larger_than_its_fading_share() -> None:
    smooth = SmoothPose(0.7)
    given = [smooth.give(at(0.1 * number), number * STEP_NS) for number in range(10)]
    smooth.correct(at(0.9 + 1.0, 0.2))
    given += [smooth.give(at(1.0 + 0.1 * number, 0.2), number * STEP_NS) for number in range(10, 60)]
    steps = np.linalg.norm(np.diff([T[:3, 3] for T in given], axis=0), axis=1)
    share = 1.0 - np.exp(-0.1 / 0.7)
    assert steps.max() < 0.1 + 1.1 * share
    np.testing.assert_allclose(given[-1], at(1.0 + 5.9, 0.2), atol=2e-3)


def test_the_correction_halves_as_the_time_constant_says() -> None:
    smooth = SmoothPose(2.0)
    smooth.give(at(0.0), 0)
    smooth.correct(at(1.0))
    left = [1.0 - smooth.give(at(1.0), round(t * 1e9))[0, 3] for t in (1.0, 2.0, 6.0)]
    np.testing.assert_allclose(left, np.exp([-0.5, -1.0, -3.0]), rtol=1e-6)


def test_a_correction_while_one_fades_makes_no_step() -> None:
    smooth = SmoothPose(0.7)
    smooth.give(at(0.0), 0)
    smooth.correct(at(1.0))
    before = smooth.give(at(1.0), STEP_NS)
    smooth.correct(at(-1.0))
    after = smooth.give(at(-1.0), STEP_NS + 1)
    assert np.linalg.norm(after[:3, 3] - before[:3, 3]) < 1e-6


def test_time_that_goes_back_does_not_undo_the_fading() -> None:
    smooth = SmoothPose(0.7)
    smooth.give(at(0.0), 10 * STEP_NS)
    smooth.correct(at(1.0))
    given = smooth.give(at(1.0), 5 * STEP_NS)
    assert given[0, 3] == pytest.approx(0.0, abs=1e-9)


def test_a_correction_before_the_first_pose_and_a_reset_leave_nothing() -> None:
    smooth = SmoothPose(0.7)
    smooth.correct(at(5.0))
    np.testing.assert_allclose(smooth.give(at(1.0), 0), at(1.0))
    smooth.correct(at(9.0))
    smooth.reset()
    np.testing.assert_allclose(smooth.give(at(2.0), STEP_NS), at(2.0))
