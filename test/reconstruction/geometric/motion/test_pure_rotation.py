"""What a rotation alone explains, and what it does not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from scal3r_ros.geometry import se3
from scal3r_ros.reconstruction.geometric.motion.pure_rotation import is_pure_rotation, rotation_between, stop_would_show
from scal3r_ros.reconstruction.geometric.triangulation import common_points

SIGMA = 0.5 / 300.0


def turning(count: int, step_deg: float) -> np.ndarray:
    return np.stack([se3.se3(se3.rotation_exp([0, np.deg2rad(step_deg) * i, 0]), [1.0, 0, 2.0]) for i in range(count)])


def test_a_rotation_is_recovered_under_outliers(world: Any) -> None:
    given = world(turning(2, 8.0), noise_px=0.3, outliers=0.2)
    R = rotation_between(*common_points(given.table, 0, 1))
    true = given.T_ref_cam[0, :3, :3].T @ given.T_ref_cam[1, :3, :3]
    assert np.rad2deg(se3.rotation_angle(true.T @ R)) < 0.05


@pytest.mark.parametrize("step_deg", [0.0, 0.5, 6.0])
def test_a_turn_on_the_spot_is_followed_beyond_the_first_view(world: Any, step_deg: float) -> None:
    given = world(turning(12, step_deg), points=3000, noise_px=0.4, outliers=0.05)
    T = np.tile(given.T_ref_cam[0], (12, 1, 1))
    found = is_pure_rotation(given.table, T, 0, SIGMA)
    assert found is not None
    np.testing.assert_array_equal(found[:, :3, 3], T[:, :3, 3])
    error = se3.rotation_angle(np.swapaxes(found[:, :3, :3], 1, 2) @ given.T_ref_cam[:, :3, :3])
    assert np.rad2deg(error.max()) < 0.3


@pytest.mark.parametrize("step", [0.05, 0.5])
def test_a_camera_that_moves_does_not_count_as_turning(world: Any, drive: Any, step: float) -> None:
    given = world(drive(12, step=step), noise_px=0.5)
    assert is_pure_rotation(given.table, given.T_ref_cam, 3, SIGMA) is None


def test_frames_without_common_tracks_are_not_called_a_turn(world: Any) -> None:
    given = world(turning(4, 0.5))
    empty = given.table.select(given.table.frame != 2)
    assert is_pure_rotation(empty, given.T_ref_cam, 0, SIGMA) is None


@pytest.mark.parametrize(("far", "shows"), [(0.0, True), (600000.0, False)])
def test_a_stop_shows_only_where_points_near_enough_are_in_view(
    world: Any, drive: Any, far: float, shows: bool
) -> None:
    """At full speed past points that are far away, the image turns as one: that is no reason to stand."""
    given = world(drive(8, step=0.5), points=2000)
    points = given.points + np.array([0.0, 0.0, far])
    known = np.ones(len(points), bool)
    assert stop_would_show(given.table, given.T_ref_cam, 3, points, known, 10.0, SIGMA) is shows


@pytest.mark.parametrize("noise", [0.0, 0.001])
def test_a_camera_that_stood_may_stand_on(world: Any, noise: float) -> None:
    """Poses of a camera that stands are never exactly equal: what lies below the error of its image is no motion."""
    given = world(turning(6, 1.0), points=2000)
    T = given.T_ref_cam.copy()
    T[:, :3, 3] += np.random.default_rng(0).normal(0, noise, (6, 3))
    known = np.ones(len(given.points), bool)
    assert stop_would_show(given.table, T, 3, given.points, known, 10.0, SIGMA)
