"""map → odom moves by bounded steps, wherever the robot is, and arrives."""

from __future__ import annotations

import numpy as np
import pytest

from scal3r_ros.geometry import se3
from scal3r_ros.nodes.mapper.output.rate_limited_transform import RateLimitedTransform


@pytest.mark.parametrize("seed", range(4))
def test_neither_the_transform_nor_the_robot_moves_further_than_allowed(seed: int) -> None:
    rng = np.random.default_rng(seed)
    here = rng.normal(size=3) * [400.0, 400.0, 3.0]
    correcting = RateLimitedTransform(0.2, 0.5)
    correcting.target = se3.se3(se3.rotation_exp(rng.normal(size=3) * 0.05), rng.normal(size=3) * 10.0)
    before = np.eye(4)
    for _ in range(5000):
        here = here + np.array([0.8, 0.0, 0.0])  # the robot drives on: that is none of the correction's doing
        now = correcting.advance(here)
        assert np.linalg.norm(now[:3, 3] - before[:3, 3]) <= 0.2 + 1e-9
        assert np.linalg.norm((now - before)[:3, :3] @ here + (now - before)[:3, 3]) <= 0.2 + 1e-9
        assert np.rad2deg(se3.rotation_angle(before[:3, :3].T @ now[:3, :3])) <= 0.5 + 1e-6
        if np.array_equal(now, correcting.target):
            break
        before = now
    np.testing.assert_array_equal(now, correcting.target)


def test_a_target_that_changes_on_the_way_is_followed() -> None:
    correcting = RateLimitedTransform(0.1, 1.0)
    correcting.target = se3.se3(np.eye(3), [5.0, 0.0, 0.0])
    for _ in range(10):
        correcting.advance(np.zeros(3))
    correcting.target = np.eye(4)
    given = [correcting.advance(np.zeros(3))[0, 3] for _ in range(12)]
    np.testing.assert_allclose(given[:10], np.linspace(0.9, 0.0, 10), atol=1e-9)
    assert given[-1] == 0.0


def test_after_a_reset_there_is_no_correction() -> None:
    correcting = RateLimitedTransform(0.1, 1.0)
    correcting.target = se3.se3(np.eye(3), [5.0, 0.0, 0.0])
    correcting.advance(np.zeros(3))
    correcting.reset()
    np.testing.assert_array_equal(correcting.advance(np.ones(3)), np.eye(4))


def test_a_jump_is_given_out_at_once() -> None:
    correction = RateLimitedTransform(0.1, 1.0)
    correction.target = se3.se3(se3.rotation_exp([0.0, 0.0, 1.0]), [500.0, -20.0, 3.0])
    correction.jump()
    np.testing.assert_array_equal(correction.advance(np.zeros(3)), correction.target)
