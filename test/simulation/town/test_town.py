from pathlib import Path

import numpy as np
import pytest

from scal3r_ros.errors import SimulationError
from scal3r_ros.geometry.se3 import exp
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.io.trajectories import read_trajectory
from scal3r_ros.simulation.drives.levelling import CAMERA_HEIGHT_M, levelled, upright
from scal3r_ros.simulation.drives.street import street_drive
from scal3r_ros.simulation.simulate import pinhole
from scal3r_ros.simulation.town.renderer import render
from scal3r_ros.simulation.town.town import Town, build_town

SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "kitti_ground_truth"


def clearance(town: Town, drive: Trajectory) -> float:
    """The smallest horizontal distance from the camera's path to the footprint of any part below 2.5 m."""
    path = (town.T_scene_ref @ drive.T_ref_cam)[:, :3, 3]
    best = np.inf
    for x, y, bottom, _, hx, hy, c, s in town.scene.solid:
        p = path[np.hypot(path[:, 0] - x, path[:, 1] - y) < 40.0]
        p = p[p[:, 2] + 1.0 > bottom]
        if len(p):
            along, left = c * (p[:, 0] - x) + s * (p[:, 1] - y), c * (p[:, 1] - y) - s * (p[:, 0] - x)
            outside = np.maximum([np.abs(along) - hx, np.abs(left) - hy], 0.0)
            best = min(best, float(np.hypot(*outside).min()))
    return best


def figure_of_eight() -> Trajectory:
    """A drive that crosses itself and then drives the same loop again, in the frame of its first camera (y down)."""
    angle = np.linspace(0, 4 * np.pi, 900)
    x, z = 70 * np.sin(angle), 55 * np.sin(2 * angle)
    heading = np.arctan2(np.gradient(x), np.gradient(z))
    T = np.tile(np.eye(4), (len(angle), 1, 1))
    T[:, 0, 0] = T[:, 2, 2] = np.cos(heading)
    T[:, 0, 2], T[:, 2, 0] = np.sin(heading), -np.sin(heading)
    T[:, 0, 3], T[:, 2, 3] = x, z
    return Trajectory(np.arange(len(angle), dtype=np.int64), T)


@pytest.mark.parametrize("seed", range(3))
def test_nothing_stands_in_the_way(seed: int) -> None:
    drive = street_drive(400.0, seed=seed)
    assert clearance(build_town(drive, seed), drive) > 0.9


def test_nothing_stands_in_the_way_of_a_drive_that_crosses_itself_and_comes_back() -> None:
    drive = figure_of_eight()
    town = build_town(drive)
    assert clearance(town, drive) > 0.9
    assert len(town.scene.shape) > 200


def test_one_street_is_laid_however_often_it_is_driven() -> None:
    once, twice = figure_of_eight(), figure_of_eight()
    once = Trajectory(once.stamps_ns[:451], once.T_ref_cam[:451])
    lengths = [len(build_town(drive).scene.street) for drive in (once, twice)]
    assert abs(lengths[0] - lengths[1]) < 0.15 * lengths[0]


def test_the_frame_of_the_trajectory_does_not_matter() -> None:
    drive = street_drive(80.0, seed=4)
    turned = Trajectory(drive.stamps_ns, exp([5.0, -3.0, 2.0, 0.7, -1.1, 0.4]) @ drive.T_ref_cam)
    camera = pinhole(96, 64, 80.0)
    for trajectory in (drive, turned):
        town = build_town(trajectory)
        T_scene_cam = town.T_scene_ref @ trajectory.T_ref_cam
        assert T_scene_cam[:, 2, 1].mean() < -0.99
        depth = render(town.scene, camera, T_scene_cam[10]).depth_m
        # Straight down the image the road comes up: its depth follows from the camera's height alone.
        row = 55
        expected = CAMERA_HEIGHT_M / ((row - camera.cy) / camera.fy)
        assert depth[row, 46:50] == pytest.approx(expected, rel=0.1)


def test_equal_arguments_give_equal_towns() -> None:
    drive = street_drive(100.0, seed=1)
    first, again, other = (build_town(drive, seed).scene for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first.paint, other.paint)


def test_impossible_drives_are_refused() -> None:
    drive = street_drive(100.0)
    with pytest.raises(SimulationError, match="has 1 poses"):
        build_town(Trajectory(drive.stamps_ns[:1], drive.T_ref_cam[:1]))
    with pytest.raises(SimulationError, match="less than 2 m"):
        build_town(Trajectory(drive.stamps_ns[:2], np.tile(drive.T_ref_cam[0], (2, 1, 1))))
    huge = drive.T_ref_cam.copy()
    huge[:, :2, 3] *= 2000
    with pytest.raises(SimulationError, match="too much to simulate"):
        build_town(Trajectory(drive.stamps_ns, huge))
    tumbling = drive.T_ref_cam.copy()
    tumbling[::2, :3, :3] = tumbling[::2, :3, :3] @ np.diag([-1.0, -1.0, 1.0])
    with pytest.raises(SimulationError, match="no direction is up"):
        build_town(Trajectory(drive.stamps_ns, tumbling))


def test_passes_at_different_heights_are_refused_until_they_are_levelled() -> None:
    drive = figure_of_eight()
    drive.T_ref_cam[:, 1, 3] = np.linspace(0, -12, len(drive))
    with pytest.raises(SimulationError, match="level it"):
        build_town(drive)
    flat = levelled(drive)
    build_town(flat)
    moved = flat.T_ref_cam[:, :3, 3] - drive.T_ref_cam[:, :3, 3]
    assert np.abs(moved[:, [0, 2]]).max() < 0.5  # up and down only, but for the mean tilt
    np.testing.assert_allclose(flat.T_ref_cam[:, :3, :3], drive.T_ref_cam[:, :3, :3], atol=1e-12)


def test_upright_turns_tops_up_even_from_upside_down() -> None:
    for T in (np.diag([1.0, -1, -1, 1]), np.diag([1.0, 1, 1, 1]), exp([0, 0, 0, 0.3, 2.0, -1.0])):
        turned = upright(np.tile(T, (3, 1, 1))) @ T
        np.testing.assert_allclose(-turned[:3, 1], [0, 0, 1], atol=1e-9)


@pytest.mark.data
@pytest.mark.parametrize("sequence", ["06", "07"])
def test_recorded_trajectories_get_a_town_around_them(sequence: str) -> None:
    if not SHARED.is_dir():
        pytest.skip("recorded trajectories are not at hand in ../shared/data/kitti_ground_truth")
    drive = levelled(read_trajectory(SHARED / f"{sequence}.txt", rate_hz=10.0))
    town = build_town(drive)
    assert clearance(town, drive) > 0.9
