"""The covariance of the step between two chunks of a window, against the errors that noise really makes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from scipy.stats import chi2

from scal3r_ros.geometry import se3
from scal3r_ros.geometry.intrinsics import with_radial
from scal3r_ros.geometry.sim3 import Sim3
from scal3r_ros.reconstruction.geometric.window.adjustment import adjust_window
from scal3r_ros.reconstruction.geometric.window.step_covariance import step_covariance

FOCAL = 300.0
NOISE_PX = 0.4
BEFORE, NOW = slice(4, 12), slice(8, 16)
FREE = np.arange(16) >= 3


def chunk_in(T: np.ndarray) -> Sim3:
    """The frame of a chunk's first camera, at the place, rotation and scale of all of its cameras."""
    return Sim3.from_rigid(T[0])


def moved_by(T: np.ndarray, true: np.ndarray) -> Sim3:
    """The similarity that leads from a chunk as it was found to the true one: by mean, mean rotation and spread."""
    a, b = true[:, :3, 3], T[:, :3, 3]
    R = np.linalg.svd((true[:, :3, :3] @ np.swapaxes(T[:, :3, :3], 1, 2)).sum(axis=0))
    rotation = R[0] @ R[2]
    scale = float(np.sqrt(np.square(a - a.mean(0)).sum() / np.square(b - b.mean(0)).sum()))
    return Sim3(scale, rotation, a.mean(0) - scale * rotation @ b.mean(0))


def error_of_step(T: np.ndarray, true: np.ndarray) -> np.ndarray:
    """δ (7,) in `S_before_now @ Sim3.from_log(δ)` that makes the step between the chunks the true one."""
    before, now = (moved_by(T[part], true[part]) @ chunk_in(T[part]) for part in (BEFORE, NOW))
    step = chunk_in(T[BEFORE]).inverse() @ chunk_in(T[NOW])
    return (step.inverse() @ before.inverse() @ now).log()


def test_errors_of_the_step_are_as_large_as_the_covariance_says(world: Any, drive: Any) -> None:
    true = drive(16, turn_deg=2.0)
    squared = []
    for seed in range(40):
        given = world(true, points=250, noise_px=NOISE_PX, seed=seed)
        found = adjust_window(
            given.table, true, given.points, FREE, 0.0, sigma=NOISE_PX / FOCAL, max_iterations=30
        )  # fmt: skip
        covariance = step_covariance(found.equations, FREE, found.T_ref_cam, BEFORE, NOW, 0.0)
        error = error_of_step(found.T_ref_cam, true)
        squared.append([error @ np.linalg.solve(covariance, error), error[6] ** 2 / covariance[6, 6]])
    means = np.mean(squared, axis=0)
    # Cauchy weights take the noise for a little larger than it is.
    for mean, freedom in zip(means, (7, 1), strict=True):
        low, high = chi2.ppf([0.001, 0.999], freedom * len(squared)) / len(squared)
        assert 0.6 * low < mean < high


def test_what_is_not_known_of_the_distortion_is_part_of_it(world: Any, drive: Any) -> None:
    """A turn under a coefficient that was left out: within what its standard deviation explains."""
    true, sigma = drive(16, turn_deg=4.0), 0.05
    given = world(true, points=400, noise_px=0.02)
    table = replace(given.table, xy=with_radial(given.table.xy, sigma))
    found = adjust_window(table, true, given.points, FREE, 0.0, sigma=NOISE_PX / FOCAL, max_iterations=40)
    exact, unsure = (
        step_covariance(found.equations, FREE, found.T_ref_cam, BEFORE, NOW, radial) for radial in (0.0, sigma)
    )
    error = error_of_step(found.T_ref_cam, true)
    drawn = np.sqrt(np.diag(unsure) - np.diag(exact))  # by one standard deviation of the coefficient
    much = np.abs(error) > 2.0 * np.sqrt(np.diag(exact))
    assert much.any()
    np.testing.assert_allclose(np.abs(error[much]), drawn[much], rtol=0.35)


def test_the_gauge_has_no_part_in_it(world: Any, drive: Any) -> None:
    true = drive(16, turn_deg=2.0)
    given = world(true, points=250, noise_px=NOISE_PX)
    T = se3.se3(se3.rotation_exp([0.3, -0.2, 1.1]), [5.0, -2.0, 1.0])
    covariances = []
    for free in (FREE, np.arange(16) >= 1):
        for turned in (np.eye(4), T):
            found = adjust_window(
                given.table, turned @ true, given.points @ turned[:3, :3].T + turned[:3, 3], free, 0.0,
                sigma=NOISE_PX / FOCAL, max_iterations=30,
            )  # fmt: skip
            covariances.append(step_covariance(found.equations, free, found.T_ref_cam, BEFORE, NOW, 0.01))
    for other in covariances[1:]:
        np.testing.assert_allclose(np.diag(other), np.diag(covariances[0]), rtol=0.1)
