"""PnP against true poses, and its covariance against the scatter of many noisy ones."""

from __future__ import annotations

import numpy as np
import pytest

from scal3r_ros.features.pnp import pose_from_points
from scal3r_ros.geometry import se3

SIGMA = 0.7 / 300.0
T_TRUE = se3.se3(se3.rotation_exp([0.1, -0.4, 0.05]), [3.0, -1.0, 2.0])


def seen(count: int, noise: float = 0.0, outliers: float = 0.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    local = np.column_stack([rng.uniform(-4, 4, count), rng.uniform(-2, 2, count), rng.uniform(4, 20, count)])
    xy = local[:, :2] / local[:, 2:] + rng.normal(0, noise, (count, 2))
    wrong = np.arange(count) < outliers * count
    xy[wrong] += rng.uniform(0.05, 0.3, (int(wrong.sum()), 2))
    return local @ T_TRUE[:3, :3].T + T_TRUE[:3, 3], xy


def off(T: np.ndarray) -> tuple[float, float]:
    """Distance of a pose from the true one, and angle in degrees."""
    return float(np.linalg.norm(T[:3, 3] - T_TRUE[:3, 3])), float(
        np.rad2deg(se3.rotation_angle(T_TRUE[:3, :3].T @ T[:3, :3]))
    )


def nearby(step: float = 0.3, turn: float = 0.03) -> np.ndarray:
    return T_TRUE @ se3.exp([step, -step, step, turn, turn, -turn])


@pytest.mark.parametrize("outliers", [0.0, 0.3, 0.5])
def test_the_pose_is_found_under_outliers(outliers: float) -> None:
    found = pose_from_points(*seen(200, SIGMA / 2, outliers), nearby(), SIGMA)
    assert found is not None
    distance, angle = off(found.T_ref_cam)
    assert distance < 0.03
    assert angle < 0.2
    assert not found.inliers[: int(outliers * 200)].any()
    assert found.inliers[int(outliers * 200) :].mean() > 0.95


def test_a_good_guess_is_only_refined() -> None:
    found = pose_from_points(*seen(60), T_TRUE, SIGMA)
    assert found is not None
    assert off(found.T_ref_cam) == pytest.approx((0.0, 0.0), abs=1e-4)


def test_too_few_or_contradicting_points_give_none() -> None:
    points, xy = seen(9)
    assert pose_from_points(points, xy, T_TRUE, SIGMA) is None
    assert pose_from_points(points[:0], xy[:0], T_TRUE, SIGMA) is None
    points, xy = seen(100)
    shuffled = np.random.default_rng(1).permutation(100)
    assert pose_from_points(points, xy[shuffled], nearby(), SIGMA) is None


def test_the_covariance_is_symmetric_positive_definite_and_that_of_the_scatter() -> None:
    errors = []
    for seed in range(60):
        points, xy = seen(80, seed=3)
        xy = xy + np.random.default_rng(seed).normal(0, SIGMA, xy.shape)
        found = pose_from_points(points, xy, T_TRUE, SIGMA)
        assert found is not None
        T = found.T_ref_cam
        errors.append(np.concatenate([T[:3, 3] - T_TRUE[:3, 3], se3.rotation_log(T[:3, :3] @ T_TRUE[:3, :3].T)]))
    covariance = found.covariance
    np.testing.assert_allclose(covariance, covariance.T, rtol=1e-6, atol=1e-15)
    assert np.linalg.eigvalsh(covariance).min() > 0
    spread = np.std(errors, axis=0) / np.sqrt(np.diag(covariance))
    assert np.all((spread > 0.7) & (spread < 1.4))


def test_more_points_make_it_surer() -> None:
    few, many = (pose_from_points(*seen(count), T_TRUE, SIGMA) for count in (20, 500))
    assert few is not None
    assert many is not None
    assert np.all(np.diag(many.covariance) < 0.2 * np.diag(few.covariance))


def test_points_that_hardly_determine_the_pose_still_have_a_finite_covariance() -> None:
    points = np.tile([0.0, 0.0, 10.0], (12, 1)) + np.random.default_rng(0).normal(0, 1e-3, (12, 3))
    xy = points[:, :2] / points[:, 2:]
    found = pose_from_points(points, xy, np.eye(4), SIGMA)
    assert found is None or np.isfinite(found.covariance).all()
