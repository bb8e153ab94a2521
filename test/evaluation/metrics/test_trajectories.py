from __future__ import annotations

import numpy as np
import pytest

from scal3r_ros.errors import EvaluationError
from scal3r_ros.evaluation.metrics.alignment import align_cameras, align_positions
from scal3r_ros.evaluation.metrics.trajectories import compare_trajectories, round_length
from scal3r_ros.geometry import se3
from scal3r_ros.geometry.sim3 import Sim3
from scal3r_ros.geometry.trajectory import Trajectory

GAUGE = Sim3.from_log([3.0, -1.0, 2.0, 0.4, -0.3, 0.8, np.log(0.3)])


def drive(count: int = 400, bend: float = 1.0) -> Trajectory:
    """A camera that looks where it drives, on a road of about `count` / 2 metres; straight where `bend` is 0."""
    heading = bend * 0.8 * np.sin(np.arange(count) / 40)
    forward = np.stack([np.cos(heading), np.sin(heading), np.zeros(count)], axis=1)
    right = np.stack([np.sin(heading), -np.cos(heading), np.zeros(count)], axis=1)
    R = np.stack([right, np.tile([0.0, 0.0, -1.0], (count, 1)), forward], axis=2)
    stamps = 1_700_000_000 * 10**9 + 100_000_000 * np.arange(count, dtype=np.int64)
    return Trajectory(stamps, se3.se3(R, np.cumsum(0.5 * forward, axis=0)))


def in_gauge(trajectory: Trajectory, S_map_world: Sim3 = GAUGE) -> Trajectory:
    return Trajectory(trajectory.stamps_ns, S_map_world.apply_pose(trajectory.T_ref_cam))


def moved(trajectory: Trajectory, centres: np.ndarray) -> Trajectory:
    return Trajectory(trajectory.stamps_ns, se3.se3(trajectory.T_ref_cam[:, :3, :3], centres))


@pytest.mark.parametrize("bend", [1.0, 0.0])
def test_a_similar_trajectory_has_no_error_but_its_scale(bend: float) -> None:
    truth = drive(bend=bend)
    metrics = compare_trajectories(truth, in_gauge(truth)).metrics
    assert metrics.ate_sim3_max_m < 1e-9
    assert metrics.scale == pytest.approx(1 / GAUGE.scale)
    assert metrics.ate_se3_rmse_m > 1.0
    assert metrics.rpe_translation_percent == pytest.approx(0.0, abs=1e-6)
    assert metrics.rpe_rotation_deg_per_m == pytest.approx(0.0, abs=1e-6)
    assert metrics.scale_drift == pytest.approx(1.0)
    assert metrics.scale_spread == pytest.approx(0.0, abs=1e-9)
    assert metrics.coverage == 1.0


def test_noise_of_known_size_is_the_error() -> None:
    truth = drive(2000)
    noise = np.random.default_rng(1).normal(0.0, 0.1, (2000, 3))
    estimate = in_gauge(moved(truth, truth.T_ref_cam[:, :3, 3] + noise))
    metrics = compare_trajectories(truth, estimate).metrics
    assert metrics.ate_sim3_rmse_m == pytest.approx(np.sqrt(np.mean(np.sum(noise**2, axis=1))), rel=0.01)
    # Two independent errors of 0.1 m per axis, over the distance: their mean length is that of a Maxwell distribution.
    assert metrics.rpe_distance_m is not None
    expected = 100 * 0.1 * np.sqrt(2) * 2 * np.sqrt(2 / np.pi) / metrics.rpe_distance_m
    assert metrics.rpe_translation_percent == pytest.approx(expected, rel=0.05)


def test_a_constant_yaw_rate_error_is_the_relative_rotation_error() -> None:
    truth = drive()
    drift_deg = 0.2 * 0.5 * np.arange(len(truth))
    turned = truth.T_ref_cam.copy()
    turned[:, :3, :3] = se3.rotation_exp(np.radians(drift_deg)[:, None] * [0.0, 0.0, 1.0]) @ turned[:, :3, :3]
    metrics = compare_trajectories(truth, Trajectory(truth.stamps_ns, turned)).metrics
    assert metrics.rpe_rotation_deg_per_m == pytest.approx(0.2, rel=0.01)


def test_scale_drift_is_recovered() -> None:
    truth = drive(2000)
    steps = np.diff(truth.T_ref_cam[:, :3, 3], axis=0)
    growth = np.exp(np.linspace(0.0, np.log(1.3), len(steps)))
    centres = np.concatenate([[[0.0, 0.0, 0.0]], np.cumsum(steps * growth[:, None], axis=0)])
    comparison = compare_trajectories(truth, in_gauge(moved(truth, centres)))
    # First and last window are centred a fortieth of the path from its ends.
    assert comparison.metrics.scale_drift == pytest.approx(1.3**0.95, rel=0.01)
    assert comparison.metrics.scale_spread == pytest.approx(np.log(1.3) / np.sqrt(12), rel=0.05)
    assert np.all(np.diff(comparison.local_scales.ratio) > 0)


def test_missing_poses_lower_the_coverage_and_nothing_else() -> None:
    truth = drive()
    estimate = in_gauge(truth)
    kept = np.arange(100, 400)
    metrics = compare_trajectories(truth, Trajectory(estimate.stamps_ns[kept], estimate.T_ref_cam[kept])).metrics
    assert metrics.coverage == pytest.approx(0.75)
    assert metrics.ate_sim3_max_m < 1e-9


def test_poses_are_matched_only_within_the_time_difference() -> None:
    truth = drive()
    late = Trajectory(truth.stamps_ns + 15_000_000, truth.T_ref_cam)
    assert compare_trajectories(truth, late, max_difference_s=0.02).metrics.poses == 400
    with pytest.raises(EvaluationError, match=r"within 0\.01 s"):
        compare_trajectories(truth, late, max_difference_s=0.01)


def test_on_a_straight_road_the_viewing_direction_settles_the_roll() -> None:
    truth = drive(bend=0.0)
    noise = np.random.default_rng(2).normal(0.0, 0.05, (len(truth), 3))
    S = align_cameras(truth, in_gauge(moved(truth, truth.T_ref_cam[:, :3, 3] + noise)))
    error_deg = np.degrees(se3.rotation_angle((S @ GAUGE).R))
    assert error_deg < 0.5
    assert S.scale == pytest.approx(1 / GAUGE.scale, rel=1e-3)


def test_both_alignments_agree_where_the_path_has_width() -> None:
    truth = drive()
    estimate = in_gauge(truth)
    for S in (align_cameras(truth, estimate), align_positions(truth, estimate, with_scale=True)):
        np.testing.assert_allclose(S.apply_pose(estimate.T_ref_cam), truth.T_ref_cam, atol=1e-9)


def test_an_estimate_that_runs_backwards_still_gets_numbers() -> None:
    truth = drive()
    backwards = moved(truth, -truth.T_ref_cam[:, :3, 3])
    metrics = compare_trajectories(truth, backwards).metrics
    assert np.isfinite(metrics.ate_sim3_rmse_m)
    assert metrics.scale > 0


@pytest.mark.parametrize(("length", "rounded"), [(0.5, 0.5), (0.74, 0.5), (11.7, 10.0), (4.99, 2.0), (1000.0, 1000.0)])
def test_lengths_are_rounded_down_to_1_2_or_5(length: float, rounded: float) -> None:
    assert round_length(length) == pytest.approx(rounded)


def test_no_overlap_in_time_is_one_clear_error() -> None:
    truth = drive()
    with pytest.raises(EvaluationError, match=r"do not overlap in time; .*same clock"):
        compare_trajectories(truth, Trajectory(truth.stamps_ns + 10**12, truth.T_ref_cam))


def test_fewer_than_three_common_poses_are_one_clear_error() -> None:
    truth = drive()
    with pytest.raises(EvaluationError, match="share only 2 poses, but 3 are needed"):
        compare_trajectories(truth, Trajectory(truth.stamps_ns[:2], truth.T_ref_cam[:2]))


def test_an_empty_trajectory_is_one_clear_error() -> None:
    truth = drive()
    with pytest.raises(EvaluationError, match="estimated trajectory is empty"):
        compare_trajectories(truth, Trajectory(np.zeros(0, np.int64), np.zeros((0, 4, 4))))


def test_poses_that_are_not_finite_are_one_clear_error() -> None:
    truth = drive()
    broken = truth.T_ref_cam.copy()
    broken[3, 0, 3] = np.nan
    with pytest.raises(EvaluationError, match="true trajectory holds poses that are not finite"):
        compare_trajectories(Trajectory(truth.stamps_ns, broken), truth)


def test_a_camera_that_never_moves_is_one_clear_error() -> None:
    truth = drive()
    with pytest.raises(EvaluationError, match="never moves"):
        compare_trajectories(truth, moved(truth, np.zeros((400, 3))))
