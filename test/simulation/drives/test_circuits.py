"""Circuits come back to where they were, in the same direction, and cross their own way where they should."""

from __future__ import annotations

import numpy as np
import pytest

from scal3r_ros.errors import SimulationError
from scal3r_ros.simulation.drives.circuits import BLOCK_M, CIRCUITS, circuit_drive, curvature_of
from scal3r_ros.simulation.drives.street import STEP_M


def passes(name: str, gap: int = 150) -> tuple[np.ndarray, np.ndarray]:
    """For each frame: metres to the nearest of those at least `gap` frames before, and the angle (°) between both."""
    T = circuit_drive(name).T_ref_cam
    xy, forward = T[:, :2, 3], T[:, :2, 2]
    away = np.linalg.norm(xy[:, None] - xy[None], axis=-1)
    away[np.arange(len(T))[:, None] - np.arange(len(T)) < gap] = np.inf
    nearest = away.argmin(1)
    cosine = (forward * forward[nearest]).sum(1)
    return away.min(1), np.degrees(np.arccos(np.clip(cosine, -1, 1)))


@pytest.mark.parametrize("name", CIRCUITS)
def test_every_circuit_drives_a_stretch_again_in_the_same_direction(name: str) -> None:
    away, angle = passes(name)
    again = (away < 1.5) & (angle < 10)
    assert again[-20:].all()
    assert again.sum() * 0.8 > BLOCK_M  # metres at 0.8 m a frame


def test_the_eight_crosses_itself() -> None:
    away, angle = passes("eight")
    crossing = (away < 1.5) & (np.abs(angle - 90) < 20)
    assert crossing.any()


def test_four_corners_close_a_square() -> None:
    curvature = curvature_of("1L1L1L1L")
    heading = np.cumsum(curvature) * STEP_M
    xy = np.cumsum(np.stack([np.cos(heading), np.sin(heading)], axis=-1), axis=0) * STEP_M
    assert heading[-1] == pytest.approx(2 * np.pi, abs=0.01)
    # The first street is not cut at its beginning: the last turn leads into it.
    assert abs(xy[-1, 1]) < 1.0
    assert 0 < xy[-1, 0] < BLOCK_M / 2
    assert np.ptp(xy, axis=0) == pytest.approx([BLOCK_M, BLOCK_M], abs=15)


def test_equal_seeds_drive_alike_and_unknown_names_are_refused() -> None:
    np.testing.assert_array_equal(circuit_drive("block", seed=3).T_ref_cam, circuit_drive("block", seed=3).T_ref_cam)
    with pytest.raises(SimulationError, match="block, eight, delivery"):
        circuit_drive("nine")
