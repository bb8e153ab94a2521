"""KITTI's errors over segments against its own loops, and where the answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from scal3r_ros.errors import EvaluationError
from scal3r_ros.evaluation.metrics.segments import segment_errors


def drive(yaws: np.ndarray, step_m: float = 1.0) -> np.ndarray:
    """Poses of a camera that turns by `yaws` about its y, then goes ahead along its z."""
    poses = [np.eye(4)]
    for yaw in yaws:
        step = np.eye(4)
        step[:3, :3] = Rotation.from_euler("y", yaw).as_matrix()
        step[:3, 3] = step[:3, :3] @ [0, 0, step_m]
        poses.append(poses[-1] @ step)
    return np.stack(poses)


def as_the_development_kit(true: np.ndarray, estimated: np.ndarray) -> tuple[float, float, int]:
    """`calcSequenceErrors` of evaluate_odometry.cpp, line by line."""
    dist = [0.0]
    for i in range(1, len(true)):
        dx, dy, dz = (true[i - 1][k, 3] - true[i][k, 3] for k in range(3))
        dist.append(dist[i - 1] + math.sqrt(dx * dx + dy * dy + dz * dz))
    errors = []
    for first in range(0, len(true), 10):
        for length in (100, 200, 300, 400, 500, 600, 700, 800):
            last = next((i for i in range(first, len(dist)) if dist[i] > dist[first] + length), -1)
            if last == -1:
                continue
            delta_gt = np.linalg.inv(true[first]) @ true[last]
            delta_result = np.linalg.inv(estimated[first]) @ estimated[last]
            error = np.linalg.inv(delta_result) @ delta_gt
            d = 0.5 * (error[0, 0] + error[1, 1] + error[2, 2] - 1.0)
            r_err = math.acos(max(min(d, 1.0), -1.0))
            errors.append((r_err / length, math.sqrt(sum(error[k, 3] ** 2 for k in range(3))) / length))
    r, t = np.mean(errors, axis=0)
    return 100 * t, 100 * math.degrees(r), len(errors)


def test_errors_are_those_of_the_development_kit() -> None:
    rng = np.random.default_rng(0)
    true = drive(rng.normal(0, 0.03, 600), 1.3)
    noise = Rotation.from_rotvec(np.cumsum(rng.normal(0, 2e-3, (601, 3)), axis=0)).as_matrix()
    estimated = true.copy()
    estimated[:, :3, :3] = noise @ true[:, :3, :3]
    estimated[:, :3, 3] = true[:, :3, 3] * 1.03 + np.cumsum(rng.normal(0, 0.05, (601, 3)), axis=0)
    found = segment_errors(true, estimated)
    assert found is not None
    translation, rotation, count = as_the_development_kit(true, estimated)
    assert found.segments == count
    assert found.translation_percent == pytest.approx(translation, rel=1e-9)
    assert found.rotation_deg_per_100_m == pytest.approx(rotation, rel=1e-6)


def test_a_straight_drive_of_two_percent_too_much() -> None:
    """Poses stand a metre apart, so that a segment of 100 m ends after 101 m: too long by 2.02 m in 100 m."""
    true, estimated = drive(np.zeros(150)), drive(np.zeros(150), 1.02)
    found = segment_errors(true, estimated)
    assert found is not None
    assert found.segments == 5  # of 100 m, from 0, 10, … 40
    assert found.translation_percent == pytest.approx(2.02)
    assert found.rotation_deg_per_100_m == pytest.approx(0.0, abs=1e-6)


def test_a_constant_turn_of_a_tenth_of_a_degree_a_metre() -> None:
    true, estimated = drive(np.zeros(101)), drive(np.full(101, np.radians(0.1)))
    found = segment_errors(true, estimated)
    assert found is not None
    assert found.rotation_deg_per_100_m == pytest.approx(10.1)  # over the 101 m that it takes


def test_errors_do_not_depend_on_the_frames_of_the_two() -> None:
    true = drive(np.full(300, 0.01))
    moved = np.linalg.inv(true[77]) @ true
    found = segment_errors(true, moved)
    assert found is not None
    assert found.translation_percent == pytest.approx(0.0, abs=1e-9)


def test_too_short_a_drive_has_no_segments_and_lengths_have_to_be_equal() -> None:
    assert segment_errors(drive(np.zeros(100)), drive(np.zeros(100))) is None  # 100 m are not more than 100 m
    with pytest.raises(EvaluationError, match="3 poses cannot be compared with 4"):
        segment_errors(drive(np.zeros(3)), drive(np.zeros(2)))
