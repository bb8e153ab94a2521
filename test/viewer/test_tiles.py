"""Tiles: no point is lost or doubled, only what changed is named, and what is shown is bounded."""

from __future__ import annotations

import numpy as np
import pytest

from scal3r_ros.mapping.values import CloudChange, PointCloud
from scal3r_ros.viewer.tiles import MOST_TILES, Tiles, levels_within


def cloud_of(points: np.ndarray, value: int = 7) -> PointCloud:
    submaps = np.zeros(len(points), np.int32)
    return PointCloud(points.astype(np.float32), np.full((len(points), 3), value, np.uint8), submaps=submaps)


def points_of(tiles: Tiles) -> np.ndarray:
    return np.concatenate([tiles[key].all.points + tiles[key].centre for key in tiles.keys])


@pytest.mark.parametrize("extent", [5.0, 100.0, 3000.0])
def test_every_point_is_in_one_tile(extent: float) -> None:
    points = np.random.default_rng(0).uniform(-extent, extent, (5000, 3))
    tiles = Tiles(edge=10.0)
    for part in np.array_split(points, 7):
        tiles.add(cloud_of(part))
    assert len(tiles.keys) <= MOST_TILES
    found = points_of(tiles)
    np.testing.assert_allclose(np.sort(found, axis=0), np.sort(points, axis=0), atol=1e-3)
    assert max(np.abs(tiles[key].all.points).max() for key in tiles.keys) <= 0.5 * tiles.edge + 1e-3


def test_only_tiles_that_changed_are_named() -> None:
    rng = np.random.default_rng(1)
    points = rng.uniform(0.0, 60.0, (4000, 3))
    tiles = Tiles(edge=10.0)
    tiles.add(cloud_of(points))
    assert tiles.replace(cloud_of(points)) == set()
    moved = points.copy()
    here = np.all((points >= 20.0) & (points < 30.0), axis=1)
    moved[here] += [0.0, 0.0, 0.01]
    moved[here] = np.minimum(moved[here], 29.9)
    assert tiles.replace(cloud_of(moved)) == {(2, 2, 2)}
    assert tiles.replace(cloud_of(moved[~here])) == {(2, 2, 2)}
    assert (2, 2, 2) not in tiles.keys


def test_the_order_of_arrival_does_not_matter() -> None:
    points = np.random.default_rng(2).uniform(0.0, 30.0, (1000, 3))
    one, other = Tiles(), Tiles()
    one.add(cloud_of(points))
    for part in np.array_split(points[::-1], 5):
        other.add(cloud_of(part))
    assert other.replace(cloud_of(points)) == set()
    assert all(np.array_equal(one[key].all.points, other[key].all.points) for key in one.keys)


def test_every_beginning_of_a_tile_is_spread_over_it() -> None:
    """The first eighth of a sheet leaves no quarter of it out, however the points were ordered."""
    grid = np.stack([*np.meshgrid(np.arange(64) * 0.15, np.arange(64) * 0.15), np.zeros((64, 64))], axis=-1)
    tiles = Tiles(edge=10.0)
    tiles.add(cloud_of(grid.reshape(-1, 3)))
    tile = tiles[0, 0, 0]
    few = tile.all.points[: tile.coarse]
    counts, _, _ = np.histogram2d(few[:, 0], few[:, 1], bins=4, range=[[-5, 5], [-5, 5]])
    assert counts.sum() == len(tile) // 8
    assert counts.min() > 0.5 * counts.mean()


def test_shown_points_stay_below_the_limit_and_are_whole_near_the_camera() -> None:
    rng = np.random.default_rng(3)
    tiles = Tiles(edge=10.0)
    tiles.add(cloud_of(rng.uniform(0.0, (400.0, 10.0, 10.0), (80_000, 3))))
    shown = levels_within(tiles, 30_000, np.zeros(3))
    assert sum(shown.values()) <= 30_000
    assert shown[0, 0, 0] == len(tiles[0, 0, 0])
    assert shown[39, 0, 0] == tiles[39, 0, 0].coarse
    assert sum(levels_within(tiles, 1000, np.zeros(3)).values()) <= 1000


def test_tiles_far_from_the_camera_give_way_when_there_are_too_many_points() -> None:
    rng = np.random.default_rng(4)
    tiles = Tiles(edge=10.0, most_points=20_000)
    for start in range(0, 1000, 20):
        tiles.add(cloud_of(rng.uniform((start, 0, 0), (start + 20, 10, 10), (2000, 3))), np.array([start, 5.0, 5.0]))
    assert len(tiles) <= 20_000 + 2000
    assert len(tiles[98, 0, 0]) == pytest.approx(1000, rel=0.2)


def test_points_that_are_not_finite_are_left_out() -> None:
    tiles = Tiles()
    tiles.add(cloud_of(np.array([[1.0, 1.0, 1.0], [np.nan, 1.0, 1.0], [1.0, np.inf, 1.0]])))
    assert len(tiles) == 1


def test_what_became_of_a_map_leaves_the_tiles_as_if_all_of_it_were_given() -> None:
    """Points that the map took away go from the tiles as well, those that moved move, and no others are named."""
    rng = np.random.default_rng(5)
    map_ = {submap: rng.uniform((10.0 * submap, 0, 0), (10.0 * submap + 15.0, 9, 9), (500, 3)) for submap in range(8)}

    def cloud(submaps: set[int]) -> PointCloud:
        points = np.concatenate([map_[submap] for submap in sorted(submaps)] or [np.zeros((0, 3))])
        ids = np.concatenate([np.full(len(map_[submap]), submap) for submap in sorted(submaps)] or [[]])
        return PointCloud(points.astype(np.float32), np.zeros((len(points), 3), np.uint8), submaps=ids.astype(np.int32))

    def change(changed: set[int]) -> set[tuple[int, int, int]]:
        named = tiles.update(CloudChange(1, frozenset(changed), frozenset(map_), cloud(changed)))
        whole = Tiles(edge=10.0)
        whole.add(cloud(set(map_)))
        assert set(whole.keys) == set(tiles.keys)
        for key in whole.keys:
            np.testing.assert_array_equal(whole[key].all.points, tiles[key].all.points)
            np.testing.assert_array_equal(whole[key].all.submaps, tiles[key].all.submaps)
        return named

    tiles = Tiles(edge=10.0)
    assert change(set(map_)) == set(tiles.keys)
    assert change({2, 3}) == set()
    map_[2] = map_[2][::2]
    map_[3] = map_[3] + [0.0, 0.01, 0.0]
    named = change({2, 3})
    assert named <= {key for key in tiles.keys if 2 <= key[0] <= 4}
    assert named >= {key for key in tiles.keys if key[0] == 3 and key[1] == 0}
    before = set(tiles.keys)
    del map_[7]
    assert {key[0] for key in change(set())} == {7, 8}
    assert len(before - set(tiles.keys)) > 0


def test_points_that_are_not_sure_enough_are_hidden_and_come_back() -> None:
    rng = np.random.default_rng(6)
    points, sure = rng.uniform(0.0, 30.0, (4000, 3)), rng.uniform(0.0, 1.0, 4000).astype(np.float32)
    cloud = PointCloud(points.astype(np.float32), np.zeros((4000, 3), np.uint8), confidence=sure)
    tiles = Tiles(edge=10.0)
    tiles.add(cloud)
    first = {key: tiles[key].all.points for key in tiles.keys}
    assert tiles.hide_below(0.5) == set(tiles.keys)
    assert sum(tiles[key].shown for key in tiles.keys) == np.count_nonzero(np.rint(255 * sure) >= 128)
    assert all(tiles[key].all.confidence[: tiles[key].shown].min() >= 128 for key in tiles.keys)
    tiles.add(cloud_of(rng.uniform(0.0, 30.0, (10, 3))))
    assert len(tiles) == 4010
    tiles.replace(cloud)
    tiles.hide_below(0.0)
    assert all(np.array_equal(first[key], tiles[key].all.points) for key in tiles.keys)
