from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scal3r_ros.evaluation.ground_truth import read_truth
from scal3r_ros.evaluation.metrics import clouds
from scal3r_ros.evaluation.metrics.clouds import compare_clouds, measure, thin
from scal3r_ros.io.clouds.ply import Cloud
from scal3r_ros.io.results.reader import read_result


def grid(height: float = 0.0) -> np.ndarray:
    x, y = np.meshgrid(np.arange(0.0, 5.0, 0.1), np.arange(0.0, 4.0, 0.1))
    return np.stack([x.ravel(), y.ravel(), np.full(x.size, height)], axis=1)


def test_identical_clouds_agree_fully() -> None:
    metrics = measure(grid(), grid(), threshold_m=0.05)
    assert metrics.f1 == metrics.precision == metrics.recall == 1.0
    assert metrics.chamfer_m == 0.0


@pytest.mark.parametrize(("threshold", "f1"), [(0.29, 0.0), (0.31, 1.0)])
def test_a_shifted_plane_is_off_by_its_shift(threshold: float, f1: float) -> None:
    metrics = measure(grid(), grid(0.3), threshold)
    assert metrics.accuracy_mean_m == pytest.approx(0.3)
    assert metrics.completeness_median_m == pytest.approx(0.3)
    assert metrics.chamfer_m == pytest.approx(0.3)
    assert metrics.f1 == f1


def test_half_a_surface_is_accurate_but_incomplete() -> None:
    half = grid()[grid()[:, 0] < 2.45]
    metrics = measure(grid(), half, threshold_m=0.05)
    assert metrics.precision == 1.0
    assert metrics.recall == pytest.approx(0.5)
    assert metrics.f1 == pytest.approx(2 / 3)


def test_the_perfect_map_of_a_room_agrees_with_true_depth(room: Any, result_folder: Path, truth_bag: Path) -> None:
    truth = read_truth(truth_bag, room.estimate())
    metrics = compare_clouds(truth, read_result(result_folder).cloud, room.S_world_map, threshold_m=0.15)
    assert metrics is not None
    assert metrics.f1 > 0.99
    assert metrics.accuracy_median_m < 0.05


def test_points_the_truth_never_looked_at_are_not_judged(room: Any, result_folder: Path, truth_bag: Path) -> None:
    truth = read_truth(truth_bag, room.estimate())
    cloud = read_result(result_folder).cloud
    assert cloud is not None
    beyond = room.S_world_map.inverse().apply(np.random.default_rng(0).uniform([-1, -1, 39], [1, 1, 41], (5000, 3)))
    more = Cloud(np.concatenate([cloud.points, beyond]), np.concatenate([cloud.colours, np.zeros((5000, 3), np.uint8)]))
    alone = compare_clouds(truth, cloud, room.S_world_map)
    assert compare_clouds(truth, more, room.S_world_map) == alone


def test_points_that_float_in_view_lower_the_precision(room: Any, result_folder: Path, truth_bag: Path) -> None:
    truth = read_truth(truth_bag, room.estimate())
    cloud = read_result(result_folder).cloud
    assert cloud is not None
    floating = room.S_world_map.inverse().apply(np.random.default_rng(0).uniform(-0.9, 0.9, (20000, 3)))
    more = Cloud(
        np.concatenate([cloud.points, floating]), np.concatenate([cloud.colours, np.zeros((20000, 3), np.uint8)])
    )
    metrics = compare_clouds(truth, more, room.S_world_map, threshold_m=0.15)
    assert metrics is not None
    assert metrics.precision < 0.8
    assert metrics.recall > 0.99


def test_the_default_threshold_follows_the_depth_of_the_scene(room: Any, result_folder: Path, truth_bag: Path) -> None:
    truth = read_truth(truth_bag, room.estimate())
    metrics = compare_clouds(truth, read_result(result_folder).cloud, room.S_world_map)
    assert metrics is not None
    median_m = np.median([room.depth_m(index) for index in range(0, 40, 2)])
    assert metrics.threshold_m == pytest.approx(0.02 * median_m, rel=0.2)
    assert metrics.range_m == pytest.approx(3 * median_m, rel=0.01)


def test_thinning_is_bounded_and_repeatable(monkeypatch: pytest.MonkeyPatch) -> None:
    points = np.random.default_rng(3).uniform(0, 10, (5000, 3))
    thinned = thin(points, 0.5)
    assert len(thinned) < 5000
    np.testing.assert_array_equal(thinned, thin(points, 0.5))
    monkeypatch.setattr(clouds, "MOST_POINTS", 1000)
    assert len(thin(points, 0.01)) == 1000
    np.testing.assert_array_equal(thin(points, 0.01), thin(points, 0.01))


def test_without_a_map_or_without_true_depth_nothing_is_compared(
    room: Any, result_folder: Path, truth_bag: Path, tmp_path: Path
) -> None:
    assert compare_clouds(read_truth(truth_bag, room.estimate()), None, room.S_world_map) is None
    flat = read_truth(room.write_bag(tmp_path / "flat", depth_step=1000), room.estimate())
    poses_only = type(flat)(flat.trajectory)
    assert compare_clouds(poses_only, read_result(result_folder).cloud, room.S_world_map) is None
