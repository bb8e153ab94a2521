"""Cameras and points made up on the spot, and the tracks that they give."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from scal3r_ros.geometry import se3
from scal3r_ros.reconstruction.geometric.triangulation import TrackTable

FOCAL = 300.0
HALF_IMAGE = np.array([0.8, 0.5])


@dataclass(frozen=True)
class World:
    """Cameras `T_ref_cam` (s, 4, 4), `points` (n, 3) and the `table` of their tracks; `wrong` (m,) marks outliers."""

    T_ref_cam: np.ndarray
    points: np.ndarray
    table: TrackTable
    wrong: np.ndarray


def poses_along(count: int, step: float = 0.5, turn_deg: float = 1.5) -> np.ndarray:
    """A camera that drives forward and sways."""
    turns = np.deg2rad(turn_deg) * np.sin(np.arange(count) * 0.9)
    sway = 0.1 * np.sin(np.arange(count) * 0.7)
    return np.stack(
        [
            se3.se3(se3.rotation_exp([0.0, turn, 0.0]), [offset, 0.0, step * number])
            for number, (turn, offset) in enumerate(zip(turns, sway, strict=True))
        ]
    )


def make_world(
    T_ref_cam: np.ndarray, points: int = 400, noise_px: float = 0.0, outliers: float = 0.0, seed: int = 0
) -> World:
    """Points around the way of the cameras, seen where they are in the image, with ids that skip some numbers."""
    rng = np.random.default_rng(seed)
    reach = T_ref_cam[:, 2, 3].max() + 30.0
    where = np.column_stack([rng.uniform(-15, 15, points), rng.uniform(-5, 5, points), rng.uniform(3, reach, points)])
    local = np.einsum("sji,snj->sni", T_ref_cam[:, :3, :3], where[None] - T_ref_cam[:, None, :3, 3])
    xy = local[..., :2] / np.maximum(local[..., 2:], 1e-9)
    seen = (local[..., 2] > 0.5) & (np.abs(xy) < HALF_IMAGE).all(axis=2)
    seen &= seen.sum(axis=0) >= 2
    track, frame = np.nonzero(seen.T)
    used = np.unique(track)
    measured = xy[frame, track] + rng.normal(0, noise_px / FOCAL, (len(track), 2))
    wrong = rng.random(len(track)) < outliers
    measured[wrong] += rng.choice([-1, 1], (int(wrong.sum()), 2)) * rng.uniform(8, 60, (int(wrong.sum()), 2)) / FOCAL
    table = TrackTable(7 + 3 * used, np.searchsorted(used, track), frame, measured)
    return World(T_ref_cam, where[used], table, wrong)


@pytest.fixture(scope="session")
def world() -> Callable[..., World]:
    return make_world


@pytest.fixture(scope="session")
def drive() -> Callable[..., np.ndarray]:
    return poses_along
