import numpy as np
import pytest
from scipy.spatial import cKDTree

from scal3r_ros.errors import SimulationError
from scal3r_ros.geometry.se3 import is_rotation, rotation_angle
from scal3r_ros.simulation.drives.street import street_drive


@pytest.mark.parametrize("seed", range(4))
def test_a_drive_has_its_length_rate_and_speed(seed: int) -> None:
    drive = street_drive(400.0, 8.0, 10.0, seed)
    assert np.all(np.diff(drive.stamps_ns) == 100_000_000)
    step = np.linalg.norm(np.diff(drive.T_ref_cam[:, :3, 3], axis=0), axis=1)
    assert step.sum() == pytest.approx(400.0, rel=0.01)
    assert step.max() < 0.85
    assert step.min() > 0.2


@pytest.mark.parametrize("seed", range(4))
def test_it_turns_smoothly_by_90_degrees_and_never_comes_near_itself(seed: int) -> None:
    drive = street_drive(1500.0, seed=seed)
    R = drive.T_ref_cam[:, :3, :3]
    assert is_rotation(R)
    assert np.degrees(rotation_angle(R[1:] @ R[:-1].swapaxes(-1, -2))).max() < 5.0
    forward = R[:, :, 2]
    heading = np.unwrap(np.arctan2(forward[:, 1], forward[:, 0]))
    assert np.degrees(np.ptp(heading)) > 80.0
    assert np.degrees(np.ptp(heading)) < 160.0
    place = drive.T_ref_cam[:, :2, 3]
    pairs = cKDTree(place).query_pairs(20.0, output_type="ndarray")
    assert np.abs(pairs[:, 0] - pairs[:, 1]).max() < 150


def test_the_camera_looks_where_it_drives_with_its_top_up() -> None:
    drive = street_drive(300.0, seed=2)
    moved = np.diff(drive.T_ref_cam[:, :3, 3], axis=0)
    moved /= np.linalg.norm(moved, axis=1, keepdims=True)
    assert np.einsum("ni,ni->n", moved, drive.T_ref_cam[:-1, :3, 2]).min() > 0.98
    assert drive.T_ref_cam[:, 2, 1].max() < -0.99
    np.testing.assert_allclose(drive.T_ref_cam[:, 2, 3], 1.65, atol=0.05)


def test_equal_seeds_give_equal_drives() -> None:
    first, again, other = (street_drive(100.0, seed=seed).T_ref_cam for seed in (5, 5, 6))
    assert first.tobytes() == again.tobytes()
    assert not np.array_equal(first[: len(other)], other[: len(first)])


@pytest.mark.parametrize("arguments", [(0, 8, 10), (100, -1, 10), (100, 8, 0), (float("nan"), 8, 10)])
def test_impossible_drives_are_refused(arguments: tuple[float, float, float]) -> None:
    with pytest.raises(SimulationError, match="must be positive"):
        street_drive(*arguments)
