"""The similarity between two ends of a loop: exact for exact points, robust to wrong ones, honest about its errors."""

from __future__ import annotations

import numpy as np
import pytest

from scal3r_ros.geometry import se3
from scal3r_ros.geometry.sim3 import Sim3
from scal3r_ros.mapping.loops.correspondences import Correspondences, fit_loop

TRUE = Sim3.from_log([0.8, -0.3, 1.5, 0.05, 0.2, -0.03, 0.25])
PIXEL = 1.0 / 300.0


def scene(
    count: int, pixels: float, depth_error: float, wrong: int, seed: int = 0
) -> tuple[Correspondences, Correspondences]:
    """Points of a street seen by the camera at either side's origin, the last `wrong` of them mismatched."""
    rng = np.random.default_rng(seed)
    old = np.column_stack([rng.uniform(-4, 4, count), rng.uniform(-2, 2, count), rng.uniform(5, 20, count)])
    new = TRUE.inverse().apply(old)
    sides = []
    for points in (old, new):
        rays = points[:, :2] / points[:, 2:] + rng.normal(size=(count, 2)) * pixels * PIXEL
        depth = points[:, 2] * np.exp(rng.normal(size=count) * depth_error)
        measured = np.column_stack([rays, np.ones(count)]) * depth[:, None]
        sides.append((measured, rays))
    order = np.arange(count)
    order[count - wrong :] = np.roll(order[count - wrong :], 1)
    result = []
    for (points, rays), rows in zip(sides, (np.arange(count), order), strict=True):
        eye = np.broadcast_to(np.eye(3), (count, 3, 3))
        result.append(
            Correspondences(
                points[rows], eye, np.zeros((count, 3)), rays[rows], np.full(count, max(pixels, 0.5) * PIXEL)
            )
        )
    return result[0], result[1]


def error(S: Sim3) -> np.ndarray:
    return (TRUE.inverse() @ S).log()


def test_exact_points_give_the_exact_similarity() -> None:
    found = fit_loop(*scene(60, 0.0, 0.0, 0))
    assert found is not None
    np.testing.assert_allclose(error(found.S_old_new), 0.0, atol=1e-5)
    assert found.inliers.all()


@pytest.mark.parametrize("seed", range(3))
def test_wrong_matches_have_no_say(seed: int) -> None:
    found = fit_loop(*scene(120, 0.7, 0.03, 70, seed))
    assert found is not None
    assert np.abs(error(found.S_old_new)).max() < 0.05
    assert found.inliers[:50].mean() > 0.8
    assert found.inliers[50:].mean() < 0.2


def test_errors_are_as_large_as_the_covariance_says() -> None:
    ratios = []
    for seed in range(12):
        found = fit_loop(*scene(100, 0.7, 0.03, 20, seed))
        assert found is not None
        delta = error(found.S_old_new)
        ratios.append(delta @ np.linalg.solve(found.covariance, delta) / 7.0)
        assert np.linalg.eigvalsh(found.covariance)[0] > 0
    assert 0.02 < np.mean(ratios) < 2.0


def test_points_that_do_not_belong_together_agree_on_nothing_much() -> None:
    old, new = scene(80, 0.7, 0.03, 80)
    found = fit_loop(old, new)
    assert found is None or found.inliers.sum() < 15


def test_too_few_points_give_nothing() -> None:
    old, new = scene(5, 0.0, 0.0, 0)
    assert fit_loop(old, new) is None


def test_more_points_than_are_used_are_all_judged() -> None:
    found = fit_loop(*scene(1200, 0.5, 0.02, 200))
    assert found is not None
    assert found.inliers.shape == (1200,)
    assert found.inliers[:1000].mean() > 0.9
    assert se3.rotation_angle(TRUE.R.T @ found.S_old_new.R) < 0.01
