from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageSequence

from scal3r_ros.evaluation.report.pictures import (
    FLIGHT_FRAMES,
    PATH_RGB,
    flight,
    picture_from_above,
    picture_from_behind,
)
from scal3r_ros.evaluation.report.splatting import BACKGROUND_RGB
from scal3r_ros.evaluation.report.views import (
    below_ceiling,
    point_spacing,
    scene_up,
    view_from_above,
    view_from_behind,
    views_along,
)
from scal3r_ros.geometry import se3
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.io.clouds.ply import Cloud

R_MAP_CAM = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
"""A level camera that looks along x."""


def drive(size: float, pitch_deg: float = 0.0) -> Trajectory:
    tilt = se3.rotation_exp(np.array([-np.radians(pitch_deg), 0.0, 0.0]))
    centres = np.stack([np.linspace(0, size, 50), np.zeros(50), np.zeros(50)], axis=1)
    return Trajectory(np.arange(50, dtype=np.int64), se3.se3(R_MAP_CAM @ tilt, centres))


def corridor(size: float, spacing: float = 0.01) -> np.ndarray:
    """Floor, walls and ceiling around the drive, from 0.1 below to 0.15 above the camera, all times `size`."""
    x = np.arange(0.0, 1.3, spacing)
    y, z = np.arange(-0.2, 0.2, spacing), np.arange(-0.1, 0.15, spacing)
    floor, ceiling = (np.stack(np.meshgrid(x, y, [height]), axis=-1).reshape(-1, 3) for height in (-0.1, 0.15))
    left, right = (np.stack(np.meshgrid(x, [side], z), axis=-1).reshape(-1, 3) for side in (-0.2, 0.2))
    return size * np.concatenate([floor, ceiling, left, right])


@pytest.mark.parametrize("size", [0.1, 3.0, 200.0])
def test_views_do_not_depend_on_the_size_of_the_scene(size: float) -> None:
    view, unit = (view_from_above(corridor(s), drive(s), 400) for s in (size, 1.0))
    assert (view.width, view.height) == (unit.width, unit.height)
    np.testing.assert_allclose(view.pixels(corridor(size)), unit.pixels(corridor(1.0)), atol=0.05)
    behind, unit_behind = (view_from_behind(corridor(s), drive(s), 10, 320, 180) for s in (size, 1.0))
    np.testing.assert_allclose(behind.T_map_view[:3, 3], size * unit_behind.T_map_view[:3, 3], atol=1e-3 * size)


def test_the_picture_from_above_holds_the_path_and_lies_across() -> None:
    points, trajectory = corridor(1.0), drive(1.0)
    view = view_from_above(points, trajectory, 400)
    path = view.pixels(trajectory.T_ref_cam[:, :3, 3])
    assert np.all((path > 0) & (path < [view.width, view.height]))
    assert np.ptp(path[:, 0]) > 10 * np.ptp(path[:, 1])


def test_ceilings_are_taken_off_and_walls_kept() -> None:
    points = corridor(2.0)
    kept = points[below_ceiling(points, drive(2.0))]
    assert kept[:, 2].max() < 0.21
    assert kept[:, 2].max() > 0.1
    assert kept[:, 2].min() == points[:, 2].min()


def test_the_floor_tells_the_vertical_where_the_camera_looks_down() -> None:
    up = scene_up(corridor(1.0), drive(1.0, pitch_deg=25.0))
    np.testing.assert_allclose(up, [0.0, 0.0, 1.0], atol=0.02)


def test_without_surfaces_the_cameras_tell_the_vertical() -> None:
    np.testing.assert_allclose(scene_up(np.zeros((3, 3)), drive(1.0)), [0.0, 0.0, 1.0], atol=1e-9)


def test_the_camera_behind_stands_behind_and_above_and_sees_the_way_ahead() -> None:
    trajectory = drive(1.0)
    view = view_from_behind(corridor(1.0), trajectory, 20, 320, 180)
    x, y, z = view.T_map_view[:3, 3]
    assert x < trajectory.T_ref_cam[20, 0, 3]
    assert y == pytest.approx(0.0, abs=1e-3)
    assert z > 0
    ahead, _ = view.project(trajectory.T_ref_cam[25:, :3, 3], 0.0)
    assert len(ahead) == 25


def test_a_camera_that_looks_straight_down_is_shown_too() -> None:
    points, trajectory = corridor(1.0), drive(1.0, pitch_deg=90.0)
    assert np.all(np.isfinite(view_from_behind(points, trajectory, 20, 320, 180).T_map_view))


def test_spacing_is_that_of_a_grid() -> None:
    assert point_spacing(corridor(1.0, 0.02)) == pytest.approx(0.45 * 0.02, rel=0.05)
    assert point_spacing(np.zeros((1, 3))) == 0.0


def test_pictures_show_a_closed_surface_and_the_path() -> None:
    points = corridor(1.0)
    cloud = Cloud(points, np.full(points.shape, 120, np.uint8))
    above, view = picture_from_above(cloud, drive(1.0), 300)
    assert above.shape == (view.height, view.width, 3)
    assert np.mean(np.any(above != BACKGROUND_RGB, axis=2)) > 0.5
    behind = picture_from_behind(cloud, drive(1.0), 16, 320, 180)
    assert behind.shape == (180, 320, 3)
    assert np.any(np.all(np.abs(behind.astype(int) - PATH_RGB) < 30, axis=2))
    np.testing.assert_array_equal(behind, picture_from_behind(cloud, drive(1.0), 16, 320, 180))


def test_a_flight_follows_the_path_as_a_film_that_other_programs_open() -> None:
    points = corridor(1.0)
    cloud = Cloud(points, np.full(points.shape, 120, np.uint8))
    film = flight(cloud, drive(1.0), 160, 90)
    assert film == flight(cloud, drive(1.0), 160, 90)
    with Image.open(io.BytesIO(film)) as opened:
        frames = [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(opened)]
    assert len(frames) == FLIGHT_FRAMES
    assert all(frame.shape == (90, 160, 3) for frame in frames)
    assert np.mean(np.abs(frames[0].astype(int) - frames[-1])) > 1
    views = views_along(points, drive(1.0), np.array([0.0, 0.0, 1.0]), 10, 160, 90)
    along = [view.T_map_view[0, 3] for view in views]
    assert np.all(np.diff(along) > 0)


@pytest.mark.parametrize("count", [1, 2, 20])
def test_a_handful_of_points_is_drawn_without_complaint(count: int) -> None:
    cloud = Cloud(np.random.default_rng(0).normal(size=(count, 3)), np.zeros((count, 3), np.uint8))
    still = Trajectory(np.zeros(1, np.int64), np.eye(4)[None])
    assert picture_from_above(cloud, still, 90)[0].shape[1] == 90
    assert picture_from_behind(cloud, still, 0, 64, 36).shape == (36, 64, 3)
