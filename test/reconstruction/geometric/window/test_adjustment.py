"""The window's bundle adjustment against GTSAM's, and what it says of a camera's distortion against the truth."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gtsam
import numpy as np
import pytest
from gtsam.symbol_shorthand import L, X

from scal3r_ros.geometry import se3
from scal3r_ros.geometry.intrinsics import with_radial
from scal3r_ros.reconstruction.geometric.triangulation import TrackTable
from scal3r_ros.reconstruction.geometric.window.adjustment import CAUCHY_WIDTH, adjust_window

SIGMA = 0.5 / 300.0


def disturbed(T: np.ndarray, points: np.ndarray, free: np.ndarray, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """The free cameras turned by half a degree and moved by centimetres, the points by decimetres."""
    rng, moved = np.random.default_rng(seed), T.copy()
    for frame in np.flatnonzero(free):
        moved[frame, :3, :3] = T[frame, :3, :3] @ se3.rotation_exp(rng.normal(0, 0.008, 3))
        moved[frame, :3, 3] += rng.normal(0, 0.03, 3)
    return moved, points + rng.normal(0, 0.1, points.shape)


def by_gtsam(table: TrackTable, T: np.ndarray, points: np.ndarray, free: np.ndarray, blur: np.ndarray) -> np.ndarray:
    """Camera poses by GTSAM from the same start, with the same kernel; frames are less precise by the factor `blur`."""
    graph, values = gtsam.NonlinearFactorGraph(), gtsam.Values()
    camera = gtsam.Cal3_S2(1.0, 1.0, 0.0, 0.0, 0.0)
    kernel = gtsam.noiseModel.mEstimator.Cauchy.Create(CAUCHY_WIDTH)
    noises = [gtsam.noiseModel.Robust.Create(kernel, gtsam.noiseModel.Isotropic.Sigma(2, SIGMA * b)) for b in blur]
    for track, frame, xy in zip(table.track.tolist(), table.frame.tolist(), table.xy, strict=True):
        graph.add(gtsam.GenericProjectionFactorCal3_S2(xy, noises[frame], X(frame), L(track), camera))
    for frame, pose in enumerate(T):
        values.insert(X(frame), gtsam.Pose3(pose))
        if not free[frame]:
            graph.add(gtsam.NonlinearEqualityPose3(X(frame), gtsam.Pose3(pose)))
    for track in np.unique(table.track).tolist():
        values.insert(L(track), points[track])
    parameters = gtsam.LevenbergMarquardtParams()
    parameters.setMaxIterations(100)
    parameters.setRelativeErrorTol(1e-10)
    found = gtsam.LevenbergMarquardtOptimizer(graph, values, parameters).optimize()
    return np.stack([found.atPose3(X(frame)).matrix() for frame in range(len(T))])


@pytest.mark.parametrize("blurred", [1.0, 5.0])
def test_it_finds_what_gtsam_finds(world: Any, drive: Any, blurred: float) -> None:
    blur = np.where(np.arange(12) % 3 == 1, blurred, 1.0)
    given = world(drive(12), points=250, noise_px=0.4, outliers=0.03)
    free = np.arange(12) >= 3
    start = disturbed(given.T_ref_cam, given.points, free)
    own = adjust_window(given.table, *start, free, 0.0, sigma=SIGMA, max_iterations=60, blur=blur[given.table.frame])
    other = by_gtsam(given.table, *start, free, blur)
    assert np.abs(own.T_ref_cam[:, :3, 3] - other[:, :3, 3]).max() < 2e-3
    turned = np.swapaxes(own.T_ref_cam[:, :3, :3], 1, 2) @ other[:, :3, :3]
    assert np.rad2deg(se3.rotation_angle(turned).max()) < 0.01


def test_without_noise_it_finds_the_truth_and_leaves_the_fixed_cameras(world: Any, drive: Any) -> None:
    given = world(drive(10), points=200)
    free = np.arange(10) >= 2
    found = adjust_window(
        given.table, *disturbed(given.T_ref_cam, given.points, free), free, 0.0, sigma=SIGMA, max_iterations=60
    )
    np.testing.assert_array_equal(found.T_ref_cam[:2], given.T_ref_cam[:2])
    np.testing.assert_allclose(found.T_ref_cam, given.T_ref_cam, atol=2e-3)


@pytest.mark.parametrize("radial", [-0.05, 0.0, 0.03])
def test_distortion_that_the_calibration_left_is_found_within_its_error(world: Any, drive: Any, radial: float) -> None:
    given = world(drive(16, turn_deg=8.0), points=900, noise_px=0.3)
    table = replace(given.table, xy=with_radial(given.table.xy, radial))
    free = np.arange(16) >= 1
    T, points, used = given.T_ref_cam, given.points, 0.0
    for _ in range(4):
        found = adjust_window(table, T, points, free, used, sigma=0.3 / 300.0, max_iterations=30)
        T, points, used = found.T_ref_cam, found.points, found.radial
    sigma = found.radial_information**-0.5
    assert sigma < 0.01
    assert abs(found.radial - radial) < 4 * sigma


def test_nothing_free_changes_nothing_but_the_points(world: Any, drive: Any) -> None:
    given = world(drive(6), points=100, noise_px=0.3)
    found = adjust_window(
        given.table, given.T_ref_cam, given.points, np.zeros(6, bool), 0.0, sigma=SIGMA, max_iterations=10
    )
    np.testing.assert_array_equal(found.T_ref_cam, given.T_ref_cam)
