"""One rig, many kinds of surroundings, true poses and depths."""

import itertools

import numpy as np
import pytest

from scal3r_ros.errors import SimulationError
from scal3r_ros.geometry import se3
from scal3r_ros.simulation.worlds.long_drives import DriveSpec, draw_rig, render_drive
from scal3r_ros.simulation.worlds.stretches import draw_stretches

SMALL = DriveSpec(seed=3, places=5, frames=3, width=64, height=32)


@pytest.fixture(scope="module")
def drive():
    return render_drive(SMALL, clean=True)


def test_equal_specs_give_equal_bytes_and_other_seeds_and_splits_other_ones(drive):
    again = render_drive(SMALL, clean=True)
    np.testing.assert_array_equal(again.images, drive.images)
    np.testing.assert_array_equal(again.depth_m, drive.depth_m)
    np.testing.assert_array_equal(again.T_world_cam, drive.T_world_cam)
    held_out = render_drive(DriveSpec(3, 1, 1, 64, 32, "held_out"), clean=True)
    assert held_out.rig != drive.rig


def test_depth_and_poses_agree(drive):
    """A point seen in one frame is found at its depth in the next, wherever it is still seen."""
    K = drive.intrinsics.K
    v, u = np.mgrid[:32, :64]
    rays = np.stack([u, v, np.ones_like(u)], axis=-1) @ np.linalg.inv(K).T
    shares = []
    for place in range(SMALL.places):
        first, second = SMALL.frames * place, SMALL.frames * place + 1
        known = drive.depth_m[first] > 0
        points = (drive.depth_m[first][..., None] * rays)[known]
        T = se3.invert(drive.T_world_cam[second]) @ drive.T_world_cam[first]
        moved = points @ T[:3, :3].T + T[:3, 3]
        pixels = np.rint((moved / moved[:, 2:]) @ K.T)[:, :2].astype(int)
        inside = (moved[:, 2] > 0.1) & (pixels >= 0).all(1) & (pixels < (64, 32)).all(1)
        there = drive.depth_m[second][pixels[inside, 1], pixels[inside, 0]]
        shares.append(np.mean(np.abs(there / moved[inside, 2] - 1) < 0.1))
    assert np.mean(shares) > 0.8


def test_a_place_is_a_few_steps_of_one_way(drive):
    positions = drive.T_world_cam[:, :3, 3].reshape(SMALL.places, SMALL.frames, 3)
    within = np.linalg.norm(np.diff(positions, axis=1), axis=-1)
    assert within.max() < 1.5
    assert len(set(drive.along_m)) == SMALL.places


def test_the_rig_is_as_high_above_the_ground_everywhere():
    """Seen in the depth itself: the ground right below a camera that looks down."""
    drive = render_drive(DriveSpec(seed=11, places=8, frames=1, width=96, height=96), clean=True)
    K, heights = drive.intrinsics.K, []
    for depth, T in zip(drive.depth_m, drive.T_world_cam, strict=True):
        v, u = np.nonzero(depth > 0)
        points = depth[v, u][:, None] * (np.stack([u, v, np.ones_like(u)], axis=-1) @ np.linalg.inv(K).T)
        below = -(points @ T[:3, :3].T)[:, 2]
        near = np.linalg.norm(points, axis=1) < 4.0 * drive.rig.height_m
        ground = near & (below > 0.8 * drive.rig.height_m)
        if ground.sum() > 30:
            heights.append(np.median(below[ground]))
    assert len(heights) > 4
    assert np.abs(np.array(heights) / drive.rig.height_m - 1).max() < 0.25


def test_stretches_follow_each_other_and_change_how_open_it_is():
    widths = []
    for seed in range(40):
        stretches = draw_stretches(6, 1.5, np.random.default_rng(seed))
        assert all(before.end == after.begin for before, after in itertools.pairwise(stretches))
        assert all(one.height_m is None or one.height_m >= 2.0 for one in stretches)
        assert stretches[-1].end - stretches[0].begin > 150.0
        widths.append(np.log([one.half_m for one in stretches]))
    # By factors within a drive, not only between drives.
    assert np.mean([w.std() for w in widths]) > 0.8


def test_rigs_differ_in_height_by_factors_and_in_their_lens():
    rigs = [draw_rig(np.random.default_rng(seed)) for seed in range(300)]
    heights, lenses = np.array([rig.height_m for rig in rigs]), np.array([rig.fov_deg for rig in rigs])
    assert np.log(heights).std() > 0.45
    assert lenses.min() < 40
    assert lenses.max() > 115


@pytest.mark.parametrize("change", [{"split": "test"}, {"places": 0}, {"frames": 0}, {"seed": -1}])
def test_what_cannot_be_made_is_said(change):
    with pytest.raises(SimulationError):
        render_drive(DriveSpec(**{"seed": 1, "places": 1, "frames": 1, "width": 64, "height": 32} | change))
