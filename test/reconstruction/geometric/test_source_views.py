"""Which frames tell the depth of which."""

from __future__ import annotations

import numpy as np
import pytest

from scal3r_ros.geometry import se3
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.reconstruction.geometric.source_views import choose_sources

CAMERA = Intrinsics(200.0, 200.0, 159.5, 79.5, 320, 160)
POINTS = np.random.default_rng(0).uniform([-4, -2, 8], [4, 2, 12], (200, 3))


def beside(*offsets: float) -> np.ndarray:
    T = np.tile(np.eye(4), (len(offsets), 1, 1))
    T[:, 0, 3] = offsets
    return T


def chosen(T: np.ndarray, count: int = 3, points: np.ndarray = POINTS) -> list[int]:
    return choose_sources(T, {0: points}, CAMERA, 0, count)


def test_views_at_a_telling_angle_come_first() -> None:
    assert chosen(beside(0.0, 0.01, 0.2, 0.9)) == [3, 2]


def test_never_more_than_asked_and_never_itself() -> None:
    T = beside(*np.linspace(0.0, 1.5, 9))
    for count in (1, 3, 20):
        found = chosen(T, count)
        assert len(found) <= count
        assert 0 not in found
        assert len(set(found)) == len(found)


def test_a_camera_that_stands_or_only_turns_is_no_source() -> None:
    T = beside(0.0, 0.0, 0.0)
    T[2, :3, :3] = se3.rotation_exp([0.0, 0.1, 0.0])
    assert chosen(T) == []


def test_a_view_that_looks_away_or_from_far_off_is_no_source() -> None:
    T = beside(0.0, 0.9, 0.9, 0.9)
    T[1, :3, :3] = se3.rotation_exp([0.0, np.pi, 0.0])
    T[2, 2, 3] = -30.0  # sees everything four times as small
    assert chosen(T) == [3]


@pytest.mark.parametrize("count", [0, 7])
def test_too_few_points_choose_nothing(count: int) -> None:
    assert chosen(beside(0.0, 0.9), points=POINTS[:count]) == []
