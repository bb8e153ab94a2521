"""The point map: one point a voxel, moved exactly with its submaps, bounded whatever the length of the drive."""

import time

import numpy as np
import pytest

from scal3r_ros.errors import MappingError
from scal3r_ros.geometry.sim3 import Sim3
from scal3r_ros.mapping.cloud.config import PointMapConfig
from scal3r_ros.mapping.cloud.point_map import PointMap

ORIGIN = Sim3.identity()
TURNED = Sim3.from_log([1.0, 2.0, 3.0, 0.1, -0.2, 0.3, 0.2])


def scene(seed, count=2000, extent=10.0):
    rng = np.random.default_rng(seed)
    points = rng.uniform(-extent, extent, (count, 3)).astype(np.float32)
    colours = rng.integers(0, 256, (count, 3), dtype=np.uint8)
    return points, colours, rng.uniform(0.2, 1.0, count).astype(np.float32)


def filled(config):
    point_map = PointMap(config)
    for i in range(5):
        point_map.add(i, *scene(i), Sim3.from_log([4.0 * i, 0, 0, 0, 0.1 * i, 0, 0.01 * i]))
    return point_map


def sort(points):
    return points[np.lexsort(points.T)]


def test_what_is_new_is_given_back_in_map_coordinates():
    point_map = PointMap(PointMapConfig(voxel_size=1e-3))
    points, colours, confidence = scene(0)
    new = point_map.add(0, points, colours, confidence, TURNED)
    np.testing.assert_allclose(sort(new.points), sort(TURNED.apply(points).astype(np.float32)), atol=1e-5)
    np.testing.assert_allclose(sort(point_map.cloud().points), sort(new.points), atol=1e-5)
    assert len(point_map) == len(points)


def test_colours_stay_with_their_points():
    point_map = PointMap(PointMapConfig(voxel_size=1e-3))
    points, colours, confidence = scene(0)
    for cloud in (point_map.add(0, points, colours, confidence, ORIGIN), point_map.cloud()):
        oracle = {tuple(point.round(2)): tuple(colour) for point, colour in zip(points, colours, strict=True)}
        given_ = {
            tuple(point.round(2)): tuple(colour) for point, colour in zip(cloud.points, cloud.colours, strict=True)
        }
        assert given_ == oracle


def test_a_voxel_holds_one_point_the_weighted_mean_of_all_that_fell_in():
    point_map = PointMap(PointMapConfig(voxel_size=1.0))
    first = point_map.add(0, [[0.2, 0.2, 0.2], [0.4, 0.2, 0.2]], np.array([[0, 0, 0], [90, 0, 0]]), np.ones(2), ORIGIN)
    np.testing.assert_allclose(first.points, [[0.3, 0.2, 0.2]], atol=1e-6)
    # Seen again from another submap, twice as surely as both together: nothing new, but the mean moves.
    S = Sim3(2.0, np.eye(3), np.array([0.1, 0.0, 0.0]))
    again = point_map.add(1, S.inverse().apply([[0.6, 0.8, 0.2]]), np.array([[45, 80, 0]]), np.array([4.0]), S)
    assert len(again.points) == 0
    cloud = point_map.cloud()
    np.testing.assert_allclose(cloud.points, [[0.5, 0.6, 0.2]], atol=1e-5)
    np.testing.assert_array_equal(cloud.colours, [[45, 53, 0]])
    assert len(point_map) == 1


def test_the_same_scene_seen_again_adds_nothing():
    point_map = PointMap(PointMapConfig(voxel_size=0.5))
    points, colours, confidence = scene(0)
    point_map.add(0, points, colours, confidence, TURNED)
    held = len(point_map)
    for i in range(1, 5):
        S = Sim3.from_log(np.full(7, 0.1 * i))
        again = (S.inverse() @ TURNED).apply(points)
        # Rounding to float32 may push a point over a voxel's face, no more.
        assert len(point_map.add(i, again, colours, confidence, S).points) < 5
    assert len(point_map) < held + 20


def test_a_voxel_shows_only_once_it_was_seen_often_enough():
    point_map = PointMap(PointMapConfig(voxel_size=1.0, min_observations=3))
    point, colour = np.array([[0.5, 0.5, 0.5]]), np.array([[1, 2, 3]])
    shown = [len(point_map.add(i, point, colour, np.ones(1), ORIGIN).points) for i in range(4)]
    assert shown == [0, 0, 1, 0]
    assert len(point_map) == len(point_map.cloud().points) == 1


def test_reanchoring_moves_every_point_with_its_submap():
    point_map = filled(PointMapConfig(voxel_size=0.3))
    before = point_map.cloud().points
    correction = TURNED
    anchors = {i: correction @ Sim3.from_log([4.0 * i, 0, 0, 0, 0.1 * i, 0, 0.01 * i]) for i in range(5)}
    point_map.reanchor(anchors)
    np.testing.assert_allclose(point_map.cloud().points, correction.apply(before), atol=2e-5)


def test_reanchoring_one_submap_leaves_the_others():
    point_map = PointMap(PointMapConfig(voxel_size=0.3))
    sizes = [len(point_map.add(i, *scene(i, 500), ORIGIN).points) for i in range(3)]
    before = point_map.cloud().points
    point_map.reanchor({1: TURNED})
    after = point_map.cloud().points
    moved = slice(sizes[0], sizes[0] + sizes[1])
    np.testing.assert_allclose(after[moved], TURNED.apply(before[moved]), atol=1e-5)
    np.testing.assert_array_equal(after[: sizes[0]], before[: sizes[0]])
    np.testing.assert_array_equal(after[moved.stop :], before[moved.stop :])


def test_points_find_the_moved_voxels_after_reanchoring():
    point_map = PointMap(PointMapConfig(voxel_size=1.0))
    points, colours, confidence = scene(0, 300)
    point_map.add(0, points, colours, confidence, ORIGIN)
    point_map.reanchor({0: TURNED})
    held = len(point_map)
    means = point_map.cloud().points
    assert len(point_map.add(1, means, np.zeros_like(means, np.uint8), np.ones(held), ORIGIN).points) == 0
    assert len(point_map) == held


def test_small_movements_add_up_until_the_voxels_follow():
    point_map = PointMap(PointMapConfig(voxel_size=1.0))
    point_map.add(0, [[0.5, 0.5, 0.5]], np.zeros((1, 3)), np.ones(1), ORIGIN)
    for step in range(1, 101):
        point_map.reanchor({0: Sim3(1.0, np.eye(3), np.array([0.1 * step, 0.0, 0.0]))})
    assert len(point_map.add(1, [[10.5, 0.5, 0.5]], np.zeros((1, 3)), np.ones(1), ORIGIN).points) == 0


def test_a_thousand_submaps_stay_within_the_budget():
    config = PointMapConfig(voxel_size=0.1, max_points=20_000)
    point_map = PointMap(config)
    seconds, largest = [], 0
    for i in range(1000):
        batch = scene(i)
        start = time.perf_counter()
        point_map.add(i, *batch, Sim3(1.0, np.eye(3), np.array([2.0 * i, 0.0, 0.0])))
        seconds.append(time.perf_counter() - start)
        largest = max(largest, point_map.counters()["map_points"])
    assert largest <= config.max_points
    assert len(point_map.cloud().points) == len(point_map)
    assert point_map.counters()["map_points_thinned"] > 1_900_000
    assert sum(column.nbytes for column in point_map.snapshot().values()) < 20_000 * 200
    assert np.median(seconds[800:]) < 3 * np.median(seconds[100:300])
    newest = point_map.cloud().points[-1000:]
    assert newest[:, 0].min() > 1800  # the newest submap is the last to be thinned


def test_thinning_takes_the_oldest_submaps_first_and_leaves_them_covered():
    point_map = PointMap(PointMapConfig(voxel_size=0.1, max_points=10_000))
    grid = np.stack(np.meshgrid(np.arange(64), np.arange(64), [0.0]), axis=-1).reshape(-1, 3) * 0.1 + 0.05
    for i in range(3):
        S = Sim3(1.0, np.eye(3), np.array([100.0 * i, 0.0, 0.0]))
        point_map.add(i, grid, np.zeros_like(grid, np.uint8), np.ones(len(grid)), S)
    x = point_map.cloud().points[:, 0]
    counts = [int(np.count_nonzero((x >= 100 * i) & (x < 100 * i + 50))) for i in range(3)]
    assert counts == [1024, 4096, 4096]


def test_what_was_thinned_can_be_filled_again():
    point_map = PointMap(PointMapConfig(voxel_size=0.1, max_points=1000))
    points, colours, confidence = scene(0, 900)
    point_map.add(0, points, colours, confidence, ORIGIN)
    far = Sim3(1.0, np.eye(3), np.array([1e3, 0.0, 0.0]))
    for i in range(1, 30):
        point_map.add(i, *scene(i, 900), far @ Sim3(1.0, np.eye(3), np.array([100.0 * i, 0, 0])))
    assert len(point_map.add(30, points, colours, confidence, ORIGIN).points) > 800


def test_a_decimated_cloud_is_an_even_and_steady_choice():
    point_map = filled(PointMapConfig(voxel_size=0.01))
    whole, some, fewer = point_map.cloud(), point_map.cloud(2000), point_map.cloud(1000)
    assert len(some.points) == 2000
    rows = {tuple(point) for point in whole.points}
    chosen = {tuple(point) for point in some.points}
    assert chosen <= rows
    assert {tuple(point) for point in fewer.points} <= chosen
    np.testing.assert_allclose(some.points.mean(axis=0), whole.points.mean(axis=0), atol=0.6)
    np.testing.assert_array_equal(point_map.cloud(2000).points, some.points)
    assert len(point_map.cloud(10**9).points) == len(point_map)
    assert len(point_map.cloud(0).points) == 0


def test_a_restored_map_goes_on_as_the_original_would():
    config = PointMapConfig(voxel_size=0.3, max_points=6000, min_observations=2)
    original = filled(config)
    restored = PointMap(config)
    restored.add(9, *scene(9), ORIGIN)
    restored.restore(original.snapshot())
    for point_map in (original, restored):
        point_map.reanchor({0: TURNED, 3: ORIGIN})
        point_map.add(5, *scene(5), ORIGIN)
        point_map.add(6, *scene(2), ORIGIN)
    assert original.counters() == restored.counters()
    np.testing.assert_array_equal(original.cloud().points, restored.cloud().points)
    np.testing.assert_array_equal(original.cloud(500).colours, restored.cloud(500).colours)


def test_a_snapshot_does_not_change_with_the_map():
    point_map = filled(PointMapConfig())
    snapshot = point_map.snapshot()
    before = {name: column.copy() for name, column in snapshot.items()}
    point_map.reanchor(dict.fromkeys(range(5), TURNED))
    point_map.add(5, *scene(0), ORIGIN)
    for name, column in snapshot.items():
        np.testing.assert_array_equal(column, before[name])


def test_points_that_are_no_points_are_refused_and_counted():
    point_map = PointMap(PointMapConfig())
    points = np.array([[0, 0, 0], [np.nan, 0, 0], [1e9, 0, 0], [1, 1, 1], [2, 2, 2]])
    new = point_map.add(0, points, np.zeros((5, 3)), np.array([1, 1, 1, 0, np.nan]), ORIGIN)
    assert len(new.points) == len(point_map) == 1
    assert point_map.counters()["map_points_refused"] == 4


def test_nothing_is_a_fine_cloud():
    point_map = PointMap(PointMapConfig())
    new = point_map.add(0, np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0), ORIGIN)
    assert new.points.shape == (0, 3)
    assert point_map.cloud().colours.shape == (0, 3)
    point_map.reanchor({0: TURNED})
    point_map.restore(point_map.snapshot())
    assert len(point_map) == 0


def test_clear_forgets_everything():
    point_map = filled(PointMapConfig())
    point_map.clear()
    assert len(point_map) == 0
    assert len(point_map.add(0, *scene(0), ORIGIN).points) > 1900


def test_arrays_that_do_not_belong_together_are_refused():
    with pytest.raises(MappingError, match="do not belong together"):
        PointMap(PointMapConfig()).add(0, np.zeros((3, 3)), np.zeros((2, 3)), np.ones(3), ORIGIN)


def test_points_of_submaps_are_given_away_in_full_before_they_are_thinned():
    away = {}
    config = PointMapConfig(voxel_size=0.05, max_points=6000)
    point_map = PointMap(config, lambda submap, cloud: away.setdefault(submap, []).append(cloud))
    clouds = []
    for i in range(6):
        S = Sim3(1.0 + 0.1 * i, np.eye(3), np.array([100.0 * i, 0, 0]))
        clouds.append((S, point_map.add(i, *scene(i, 2000, 0.4), S)))
    assert len(away) >= 3
    assert list(away) == list(range(len(away)))
    for submap, given_ in away.items():
        assert len(given_) == 1
        S, new = clouds[submap]
        np.testing.assert_allclose(sort(S.apply(given_[0].points)), sort(new.points), atol=1e-3)
    full = sum(len(new.points) for submap, (_, new) in enumerate(clouds) if submap not in away)
    assert full <= len(point_map) <= 6000


def test_another_map_is_absorbed_as_older_and_moves_with_its_anchors():
    config = PointMapConfig(voxel_size=0.5)
    earlier, own = PointMap(config), PointMap(config)
    for i in range(3):
        earlier.add(i, *scene(i), ORIGIN)
        own.add(10 + i, *scene(20 + i), ORIGIN)
    before, alone = earlier.cloud(), own.cloud()
    own.absorb(earlier.snapshot())
    assert len(own) == len(before.points) + len(alone.points)
    np.testing.assert_array_equal(own.cloud().points[: len(before.points)], before.points)
    moved = dict.fromkeys((10, 11, 12), TURNED)
    own.reanchor(moved)
    np.testing.assert_allclose(own.cloud().points[len(before.points) :], TURNED.apply(alone.points), atol=1e-4)
    again = own.add(30, *scene(0), ORIGIN)
    assert len(again.points) == 0  # the absorbed voxels are known
    assert own.counters()["map_points"] == len(own)


def test_absorbing_keeps_to_the_budget_and_thins_the_absorbed_first():
    away = []
    own = PointMap(PointMapConfig(voxel_size=0.05, max_points=3000), lambda submap, cloud: away.append(submap))
    earlier = PointMap(PointMapConfig(voxel_size=0.05))
    for i in range(2):
        earlier.add(i, *scene(i, 2000, 0.4), Sim3(1.0, np.eye(3), np.array([100.0 * i, 0, 0])))
    own.add(7, *scene(7, 1500, 0.4), Sim3(1.0, np.eye(3), np.array([-100.0, 0, 0])))
    own.absorb(earlier.snapshot())
    assert own.counters()["map_points"] <= 3000
    assert away == [0, 1]


def test_a_snapshot_goes_into_a_map_with_voxels_of_another_size():
    fine = PointMap(PointMapConfig(voxel_size=0.2))
    fine.add(0, *scene(0), ORIGIN)
    coarse = PointMap(PointMapConfig(voxel_size=2.0))
    coarse.restore(fine.snapshot())
    np.testing.assert_array_equal(coarse.cloud().points, fine.cloud().points)
    assert len(coarse.add(1, *scene(0), ORIGIN).points) == 0


def one_by_submap(cloud):
    return {submap: cloud.take(cloud.submaps == submap).points for submap in np.unique(cloud.submaps).tolist()}


def test_changes_lead_to_the_same_cloud_as_reading_all_of_it():
    """Whoever only takes in what changed has the whole map: over fusion, clearing, thinning, moves and a reset."""
    point_map = PointMap(PointMapConfig(voxel_size=0.5, max_points=4000))
    copy, revision, sent = {}, 0, []

    def look():
        nonlocal copy, revision
        change = point_map.change(revision)
        revision = change.revision
        sent.append(len(change.cloud.points))
        copy = {submap: points for submap, points in copy.items() if submap in change.present - change.changed}
        copy |= one_by_submap(change.cloud)
        whole = one_by_submap(point_map.cloud())
        assert copy.keys() == whole.keys()
        for submap, points in whole.items():
            np.testing.assert_array_equal(copy[submap], points)

    anchors = {i: Sim3.from_log([6.0 * i, 0, 0, 0, 0.1 * i, 0, 0]) for i in range(8)}
    for i, anchor in anchors.items():
        point_map.add(i, *scene(i, 1500), anchor)
        look()
    look()
    assert sent[-1] == 0
    point_map.reanchor({3: Sim3.from_log([18.0, 2.0, 0, 0, 0, 0, 0])})
    look()
    assert 0 < sent[-1] < 0.5 * len(point_map)
    stored = point_map.snapshot()
    point_map.clear()
    look()
    assert not copy
    point_map.restore(stored)
    look()
    assert sent[-1] == len(point_map) > 0


def test_confidence_grows_with_what_measured_a_point():
    point_map = PointMap(PointMapConfig(voxel_size=1.0))
    points, colours = [[0.2, 0.2, 0.2], [5.2, 0.2, 0.2]], np.zeros((2, 3))
    point_map.add(0, points, colours, np.array([1.0, 0.25]), ORIGIN)
    np.testing.assert_allclose(point_map.cloud().confidence, [0.5, 0.2], atol=1e-6)
    point_map.add(1, points[:1], colours[:1], np.array([8.0]), ORIGIN)
    np.testing.assert_allclose(point_map.cloud().confidence, [0.9, 0.2], atol=1e-6)
    np.testing.assert_array_equal(point_map.cloud().submaps, [0, 0])
