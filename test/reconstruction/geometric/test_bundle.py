"""Bundle adjustment against true poses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from scal3r_ros.geometry import se3
from scal3r_ros.reconstruction.geometric.bundle import PosePrior, adjust

SIGMA = 0.5 / 300.0


def perturbed(T: np.ndarray, held: int, rng: np.random.Generator) -> np.ndarray:
    moved = T.copy()
    for frame in range(held, len(T)):
        moved[frame] = T[frame] @ se3.exp(np.concatenate([rng.normal(0, 0.05, 3), rng.normal(0, 0.01, 3)]))
    return moved


def held(T: np.ndarray, count: int) -> list[PosePrior]:
    return [PosePrior(frame, T[frame], 1e-5, 1e-5) for frame in range(count)]


@pytest.mark.parametrize(("noise_px", "outliers", "centre", "angle_deg"), [(0, 0, 1e-4, 1e-3), (0.3, 0.1, 0.1, 0.1)])
def test_perturbed_poses_are_recovered(
    world: Any, drive: Any, noise_px: float, outliers: float, centre: float, angle_deg: float
) -> None:
    given = world(drive(8), noise_px=noise_px, outliers=outliers)
    rng = np.random.default_rng(1)
    start = perturbed(given.T_ref_cam, 2, rng)
    points = given.points + rng.normal(0, 0.1, given.points.shape)
    found = adjust(given.table, start, points, held(start, 2), sigma=SIGMA, max_iterations=40)
    error = np.linalg.norm(found.T_ref_cam[:, :3, 3] - given.T_ref_cam[:, :3, 3], axis=1)
    turn = se3.rotation_angle(np.swapaxes(found.T_ref_cam[:, :3, :3], 1, 2) @ given.T_ref_cam[:, :3, :3])
    assert error.max() < centre
    assert np.rad2deg(turn.max()) < angle_deg


def test_held_frames_stay_where_they_are(world: Any, drive: Any) -> None:
    given = world(drive(8), noise_px=0.5, outliers=0.1)
    start = perturbed(given.T_ref_cam, 2, np.random.default_rng(2))
    found = adjust(given.table, start, given.points, held(start, 2), sigma=SIGMA, max_iterations=20)
    np.testing.assert_allclose(found.T_ref_cam[:2], start[:2], atol=1e-4)
    assert np.abs(found.T_ref_cam[2:] - start[2:]).max() > 1e-3


def test_the_baseline_sets_the_scale_where_nothing_else_does(world: Any, drive: Any) -> None:
    given = world(drive(6), noise_px=0.2)
    start = perturbed(given.T_ref_cam, 1, np.random.default_rng(3))
    found = adjust(
        given.table, start, given.points, held(start, 1), sigma=SIGMA, max_iterations=30, baseline=(0, 5, 5.0)
    )
    way = np.linalg.norm(found.T_ref_cam[:, :3, 3] - found.T_ref_cam[0, :3, 3], axis=1)
    true = np.linalg.norm(given.T_ref_cam[:, :3, 3] - given.T_ref_cam[0, :3, 3], axis=1)
    assert way[5] == pytest.approx(5.0, rel=1e-3)
    np.testing.assert_allclose(way, true * 5.0 / true[5], atol=0.05)


def test_frames_and_points_without_observations_are_left_alone(world: Any, drive: Any) -> None:
    given = world(drive(6))
    table = given.table.select((given.table.frame != 4) & (given.table.track != 0))
    found = adjust(table, given.T_ref_cam, given.points + 0.05, held(given.T_ref_cam, 2), sigma=SIGMA, max_iterations=5)
    np.testing.assert_array_equal(found.T_ref_cam[4], given.T_ref_cam[4])
    np.testing.assert_array_equal(found.points[0], given.points[0] + 0.05)


def test_equal_calls_give_equal_bytes_within_the_iterations_allowed(world: Any, drive: Any) -> None:
    given = world(drive(5), noise_px=0.5, outliers=0.1)
    start = perturbed(given.T_ref_cam, 2, np.random.default_rng(4))
    runs = [adjust(given.table, start, given.points, held(start, 2), sigma=SIGMA, max_iterations=3) for _ in range(2)]
    assert runs[0].T_ref_cam.tobytes() == runs[1].T_ref_cam.tobytes()
    assert runs[0].points.tobytes() == runs[1].points.tobytes()
    assert runs[0].iterations <= 3
