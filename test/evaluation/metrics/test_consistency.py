from __future__ import annotations

import numpy as np
import pytest

from scal3r_ros.evaluation.metrics.consistency import seam_scales, yaw_correlation
from scal3r_ros.geometry import se3
from scal3r_ros.geometry.sim3 import Sim3
from scal3r_ros.geometry.trajectory import Trajectory

STEP_NS = 100_000_000


def drive(steps: np.ndarray, yaw: np.ndarray) -> Trajectory:
    """A camera that goes forward by `steps` and turns by `yaw` (radians) after each."""
    T = [np.eye(4)]
    for step, turn in zip(steps, yaw, strict=True):
        T.append(T[-1] @ se3.se3(se3.rotation_exp([0.0, turn, 0.0]), [0.0, 0.0, step]))
    return Trajectory(10**18 + STEP_NS * np.arange(len(T)), np.stack(T))


@pytest.fixture
def yaw() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.02, 60)


def test_a_drive_turns_as_itself_in_any_gauge(yaw: np.ndarray) -> None:
    truth = drive(np.ones(60), yaw)
    S = Sim3.from_log([1.0, 2.0, 3.0, 0.3, -0.4, 0.5, 1.0])
    assert yaw_correlation(truth, Trajectory(truth.stamps_ns, S.apply_pose(truth.T_ref_cam))) == pytest.approx(1.0)


def test_turns_that_are_noise_or_mirrored_are_told(yaw: np.ndarray) -> None:
    truth = drive(np.ones(60), yaw)
    noise = np.random.default_rng(1).normal(0, 0.02, 60)
    half = yaw_correlation(truth, drive(np.ones(60), yaw + noise))
    assert half == pytest.approx(np.corrcoef(yaw, yaw + noise)[0, 1])
    assert yaw_correlation(truth, drive(np.ones(60), -yaw)) == pytest.approx(-1.0)
    assert yaw_correlation(truth, drive(np.ones(60), np.zeros(60))) is None
    assert yaw_correlation(drive(np.ones(2), yaw[:2]), drive(np.ones(2), yaw[:2])) is None


def test_seams_are_the_steps_of_the_scale_between_chunks(yaw: np.ndarray) -> None:
    scale = np.repeat([1.0, 1.2, 0.9], 20)
    truth, estimate = drive(np.ones(60), yaw), drive(scale, yaw)
    stamps = truth.stamps_ns
    spans = np.array([[stamps[0], stamps[20]], [stamps[20], stamps[40]], [stamps[40], stamps[60]]])
    np.testing.assert_allclose(seam_scales(truth, estimate, spans), np.log([1.2, 0.9 / 1.2]), atol=1e-9)
    np.testing.assert_allclose(seam_scales(truth, truth, spans), 0.0, atol=1e-12)


def test_chunks_that_stand_still_or_hold_no_poses_are_passed_over(yaw: np.ndarray) -> None:
    steps = np.repeat([1.0, 1e-3, 2.0], 20)
    truth, estimate = drive(steps, yaw), drive(steps * np.repeat([1.0, 7.0, 1.5], 20), yaw)
    stamps = truth.stamps_ns
    spans = np.array([[stamps[0], stamps[20]], [stamps[21], stamps[40]], [stamps[40], stamps[60]], [0, 1]])
    np.testing.assert_allclose(seam_scales(truth, estimate, spans), [np.log(1.5)], atol=1e-9)
    assert seam_scales(truth, estimate, spans[:0]).shape == (0,)
    assert seam_scales(truth, estimate, spans[3:]).shape == (0,)
