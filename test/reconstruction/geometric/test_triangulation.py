"""Triangulation against points that are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from scal3r_ros.reconstruction.geometric.triangulation import TrackTable, near_depth, reprojection, triangulate


def two_rays(angle: float) -> tuple[TrackTable, np.ndarray]:
    """One point 1 in front of the first camera, and a second camera beside it that sees it at `angle`."""
    T = np.tile(np.eye(4), (2, 1, 1))
    T[1, 0, 3] = np.tan(angle)
    xy = np.array([[0.0, 0.0], [-np.tan(angle), 0.0]])
    return TrackTable(np.array([5]), np.zeros(2, int), np.arange(2), xy), T


def test_points_are_recovered_exactly_from_exact_tracks(world: Any, drive: Any) -> None:
    given = world(drive(8))
    found = triangulate(given.table, given.T_ref_cam)
    np.testing.assert_allclose(found.points, given.points, atol=1e-8)


def test_noise_moves_points_by_no_more_than_their_rays_allow(world: Any, drive: Any) -> None:
    given = world(drive(8), noise_px=0.5)
    found = triangulate(given.table, given.T_ref_cam)
    depth = np.linalg.norm(given.points, axis=1)
    told = found.angle > np.deg2rad(1.0)
    allowed = depth[told] * 0.5 / 300.0 / found.angle[told]
    assert np.median(np.linalg.norm(found.points - given.points, axis=1)[told] / allowed) < 2.0


@pytest.mark.parametrize("angle_deg", [0.05, 1.0, 30.0, 80.0])
def test_the_angle_is_that_between_the_rays(angle_deg: float) -> None:
    found = triangulate(*two_rays(np.deg2rad(angle_deg)))
    assert np.rad2deg(found.angle[0]) == pytest.approx(angle_deg, rel=1e-6)
    np.testing.assert_allclose(found.points[0], [0.0, 0.0, 1.0], atol=1e-9)


def test_parallel_rays_and_single_sights_have_no_angle() -> None:
    table, T = two_rays(0.3)
    parallel = TrackTable(table.ids, table.track, table.frame, np.zeros((2, 2)))
    once = table.select(np.array([True, False]))
    for hopeless in (parallel, once):
        found = triangulate(hopeless, T)
        assert found.angle[0] == 0.0
        assert np.isfinite(found.points).all()


def test_true_points_reproject_without_residual_and_in_front(world: Any, drive: Any) -> None:
    given = world(drive(8))
    residual, depth = reprojection(given.table, given.points, given.T_ref_cam)
    assert np.abs(residual).max() < 1e-10
    assert depth.min() > 0.5


def test_a_point_behind_a_camera_has_negative_depth() -> None:
    table, T = two_rays(0.3)
    assert np.all(reprojection(table, np.array([[0.0, 0.0, -1.0]]), T)[1] < 0)


def test_a_selection_keeps_ids_and_numbers(world: Any, drive: Any) -> None:
    table = world(drive(6)).table
    part = table.select(table.frame < 3)
    np.testing.assert_array_equal(part.ids, table.ids)
    np.testing.assert_array_equal(
        part.lengths(), [np.sum(table.track[table.frame < 3] == t) for t in range(len(part.ids))]
    )


def test_near_depth_grows_with_the_scale_and_hardly_with_the_way(world: Any, drive: Any) -> None:
    T = drive(8)
    given = world(T, points=2000)
    whole = near_depth(given.table, T, given.table.ids, given.points)
    larger = T.copy()
    larger[:, :3, 3] *= 3.0
    assert near_depth(given.table, larger, given.table.ids, 3.0 * given.points) == pytest.approx(3.0 * whole)
    angle = triangulate(given.table.select(given.table.frame < 4), T).angle
    told = angle > np.deg2rad(1.0)  # what half the way tells of
    assert told.mean() < 0.8
    assert near_depth(given.table, T, given.table.ids[told], given.points[told]) == pytest.approx(whole, rel=0.3)


def test_near_depth_of_nothing_is_one(world: Any, drive: Any) -> None:
    given = world(drive(3))
    assert near_depth(given.table, given.T_ref_cam, np.empty(0, np.int64), np.empty((0, 3))) == 1.0
