"""Covariances along a chain of submaps, against the errors that drawn steps make."""

from __future__ import annotations

import numpy as np
import pytest

from scal3r_ros.geometry import se3
from scal3r_ros.geometry.sim3 import Sim3
from scal3r_ros.mapping.submaps.uncertainty import camera_covariance, chained, with_scale_sigma

STEP = Sim3.from_log([4.0, 0.5, -0.3, 0.02, 0.15, 0.3, 0.05])
SIGMAS = np.array([0.02, 0.01, 0.03, 0.002, 0.003, 0.004, 0.01])
T_SUBMAP_CAM = se3.se3(se3.rotation_exp([0.1, -0.2, 0.4]), [3.0, 0.2, -0.5])


def test_drawn_steps_put_cameras_where_the_covariance_says() -> None:
    rng, count, steps = np.random.default_rng(2), 4000, 6
    true, covariance = Sim3(2.0, np.eye(3), np.zeros(3)), np.zeros((7, 7))
    drawn = [true] * count
    for _ in range(steps):
        true, covariance = true @ STEP, chained(covariance, STEP, np.diag(SIGMAS**2))
        drawn = [S @ STEP @ Sim3.from_log(SIGMAS * rng.normal(size=7)) for S in drawn]
    camera = true.apply_pose(T_SUBMAP_CAM)
    claimed = camera_covariance(covariance, true, camera)
    errors = []
    for S in drawn:
        T = S.apply_pose(T_SUBMAP_CAM)
        turn = se3.rotation_log(T[:3, :3] @ camera[:3, :3].T)
        errors.append(np.concatenate([T[:3, 3] - camera[:3, 3], turn]))
    sample = np.cov(np.array(errors).T)
    spread = np.sqrt(np.outer(np.diag(claimed), np.diag(claimed)))
    np.testing.assert_allclose(sample / spread, claimed / spread, atol=0.1)


def test_a_known_scale_takes_its_part_out_of_all_others() -> None:
    covariance = np.zeros((7, 7))
    for _ in range(8):
        covariance = chained(covariance, STEP, np.diag(SIGMAS**2))
    known = with_scale_sigma(covariance, 0.005)
    assert known[6, 6] == pytest.approx(0.005**2)
    assert np.linalg.eigvalsh(known)[0] >= -1e-12
    correlation = [C[:6, 6] / np.sqrt(np.diag(C)[:6] * C[6, 6]) for C in (covariance, known)]
    np.testing.assert_allclose(correlation[1], correlation[0])
