"""Voxel keys and means."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from scal3r_ros.mapping.cloud.voxels import Samples, coarser_keys, voxel_keys, voxel_means

coordinate = st.floats(-1000, 1000)
points = st.lists(st.tuples(coordinate, coordinate, coordinate), min_size=2, max_size=20).map(np.array)


@given(points)
def test_points_share_a_key_exactly_where_they_share_a_voxel(p):
    keys, cells = voxel_keys(p, 0.5), np.floor(p * 2)
    assert (keys >= 0).all()
    np.testing.assert_array_equal(keys[:, None] == keys, (cells[:, None] == cells).all(axis=2))


@given(points, st.integers(1, 6))
def test_coarser_voxels_hold_whole_finer_ones(p, level):
    fine, coarse = voxel_keys(p, 0.5), coarser_keys(voxel_keys(p, 0.5), level)
    cells = np.floor(p * 2) // 2**level
    np.testing.assert_array_equal(coarse[:, None] == coarse, (cells[:, None] == cells).all(axis=2))
    np.testing.assert_array_equal(coarser_keys(fine, 0), fine)


def test_what_lies_outside_the_grid_has_no_key():
    p = np.array([[0.0, 0, 0], [2.0**20, 0, 0], [0, -(2.0**20) - 1, 0], [np.nan, 0, 0], [0, 0, np.inf]])
    assert (voxel_keys(p, 1.0) >= 0).tolist() == [True, False, False, False, False]


def test_means_are_weighted_and_counted():
    p = np.array([[0.1, 0.0, 0.0], [5.0, 5.0, 5.0], [0.4, 0.0, 0.0]])
    colours = np.array([[0, 0, 0], [9, 9, 9], [100, 200, 40]], np.uint8)
    normals = np.array([[0.0, 0.0, 1.0], [0.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    weights, distances = np.array([1.0, 1.0, 2.0], np.float32), np.array([7.0, 5.0, 4.0], np.float32)
    voxels, means = voxel_means(voxel_keys(p, 1.0), Samples(p, normals, colours, weights, distances))
    np.testing.assert_allclose(means.points, [[0.3, 0, 0], [5, 5, 5]])
    np.testing.assert_allclose(means.normals, [[2 / 5**0.5, 0, 1 / 5**0.5], [0, 0, 0]])
    np.testing.assert_allclose(means.distances, [4, 5])
    np.testing.assert_array_equal(voxels.colour, [[67, 133, 27], [9, 9, 9]])
    np.testing.assert_allclose(voxels.weight, [3, 1])
    assert voxels.count.tolist() == [2, 1]
