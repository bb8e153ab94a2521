"""ETH3D's definitions on scenes whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from scal3r_ros.errors import EvaluationError
from scal3r_ros.evaluation.metrics.multi_view import LaserScan, chamfer_m, score
from scal3r_ros.geometry import se3

T_WORLD_SCAN = se3.exp([1.0, -2.0, 0.5, 0.2, -0.3, 0.4])


def wall(spacing: float = 0.008) -> np.ndarray:
    """A wall 0.3 m wide and high, 3 m in front of the scanner, in its frame: one beam a point."""
    y, z = np.meshgrid(np.arange(-0.15, 0.15, spacing), np.arange(-0.15, 0.15, spacing))
    return np.stack([np.full(y.size, 3.0), y.ravel(), z.ravel()], axis=1)


def world(points: np.ndarray) -> np.ndarray:
    return points @ T_WORLD_SCAN[:3, :3].T + T_WORLD_SCAN[:3, 3]


def moved_along_beams(points: np.ndarray, metres: np.ndarray | float) -> np.ndarray:
    ranges = np.linalg.norm(points, axis=1, keepdims=True)
    return points * (1 + np.reshape(metres, (-1, 1)) / ranges)


def test_the_scan_itself_is_perfect() -> None:
    for each in score([LaserScan(wall(), T_WORLD_SCAN)], world(wall())):
        assert (each.accuracy, each.completeness, each.f1) == (1.0, 1.0, 1.0)
    assert chamfer_m([LaserScan(wall(), T_WORLD_SCAN)], world(wall())) == pytest.approx(0.0, abs=1e-12)


def test_f1_of_two_walls_one_of_which_floats_in_front() -> None:
    """Of two equal walls one is rebuilt where it is and the other 8 cm in front: half is accurate and complete."""
    right, left = wall() + np.array([0.0, 0.4, 0.0]), wall() - np.array([0.0, 0.4, 0.0])
    scan = [LaserScan(np.concatenate([right, left]), T_WORLD_SCAN)]
    points = world(np.concatenate([right, moved_along_beams(left, -0.08)]))
    scores = {each.tolerance_m: each for each in score(scan, points)}
    for tolerance in (0.02, 0.05):
        assert scores[tolerance].accuracy == pytest.approx(0.5, abs=0.03)
        assert scores[tolerance].completeness == pytest.approx(0.5, abs=0.03)
        assert scores[tolerance].f1 == pytest.approx(0.5, abs=0.03)
    assert (scores[0.1].accuracy, scores[0.1].completeness, scores[0.1].f1) == (1.0, 1.0, 1.0)


def test_behind_the_wall_and_beside_the_beams_nothing_was_observed() -> None:
    scan = [LaserScan(wall(), T_WORLD_SCAN)]
    behind = moved_along_beams(wall(), 0.3)
    beside = wall() + np.array([0.0, 1.5, 0.0])
    on = world(wall())
    alone = score(scan, on)
    for more in (behind, beside):
        for one, both in zip(alone, score(scan, np.concatenate([on, world(more)])), strict=True):
            if one.tolerance_m < 0.3:
                assert both.accuracy == pytest.approx(one.accuracy, abs=1e-12)
    in_front = moved_along_beams(wall(), -0.3)
    assert score(scan, np.concatenate([on, world(in_front)]))[0].accuracy == pytest.approx(0.55, abs=0.05)


def test_a_scan_that_sees_a_point_outvotes_one_that_looks_past_it() -> None:
    """The second scanner's beams go through the wall's points, to a wall 2 m behind it."""
    far = moved_along_beams(wall(), 2.0)
    points = world(wall())
    both = score([LaserScan(far, T_WORLD_SCAN), LaserScan(wall(), T_WORLD_SCAN)], points)
    assert [each.accuracy for each in both] == [1.0] * 6
    assert score([LaserScan(far, T_WORLD_SCAN)], points)[0].accuracy == 0.0


def test_dense_parts_count_no_more_than_sparse_ones() -> None:
    """A hundred copies of each of the points that float leave the score where one of each puts it."""
    scan = wall()
    floating = scan[:, 1] < 0
    once = np.concatenate([scan[~floating], moved_along_beams(scan[floating], -0.2)])
    often = np.concatenate([scan[~floating], np.repeat(moved_along_beams(scan[floating], -0.2), 20, axis=0)])
    scans = [LaserScan(scan, T_WORLD_SCAN)]
    for one, many in zip(score(scans, world(once)), score(scans, world(often)), strict=True):
        assert many.accuracy == pytest.approx(one.accuracy, abs=0.03)
        assert 0.4 < one.accuracy < 0.6 or one.tolerance_m >= 0.2


def test_a_cloud_without_a_scanner_is_compared_by_distance() -> None:
    truth = world(wall())
    points = np.concatenate([truth, world(moved_along_beams(wall(), 0.3))])
    scores = {each.tolerance_m: each for each in score([LaserScan(truth, None)], points)}
    assert scores[0.1].accuracy == pytest.approx(0.5, abs=0.1)  # in the box, so that they count
    assert scores[0.5].accuracy == 1.0


def test_empty_clouds() -> None:
    scan = LaserScan(wall(), T_WORLD_SCAN)
    assert [each.f1 for each in score([scan], np.zeros((0, 3)))] == [0.0] * 6
    with pytest.raises(EvaluationError, match="have points"):
        score([LaserScan(np.zeros((0, 3)), None)], wall())
