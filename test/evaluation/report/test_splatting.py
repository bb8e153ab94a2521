from __future__ import annotations

import numpy as np

from scal3r_ros.evaluation.report.splatting import BACKGROUND_RGB, Projection, eye_dome_shade, lit, sky, splat

RED, BLUE = (200, 0, 0), (0, 0, 200)


def projection(*points: tuple[float, float, float, float]) -> Projection:
    """Points of (u, v, depth, radius)."""
    columns = np.array(points, np.float32)
    return Projection(columns[:, :2], columns[:, 2], columns[:, 3])


def test_the_nearer_point_hides_the_farther_whichever_comes_first() -> None:
    colours = np.array([RED, BLUE], np.uint8)
    near_last = splat(projection((5, 5, 2.0, 0), (5, 5, 1.0, 0)), colours, 11, 11)
    near_first = splat(projection((5, 5, 1.0, 0), (5, 5, 2.0, 0)), colours, 11, 11)
    assert tuple(near_last[5, 5]) == BLUE
    assert tuple(near_first[5, 5]) == RED


def test_a_splat_is_a_disc_of_its_radius() -> None:
    picture = splat(projection((10, 10, 1.0, 4.0)), np.array([RED], np.uint8), 21, 21)
    covered = np.any(picture != BACKGROUND_RGB, axis=2)
    y, x = np.mgrid[:21, :21]
    np.testing.assert_array_equal(covered, np.hypot(x - 10, y - 10) <= 4.0)


def test_points_beyond_the_border_reach_in_as_far_as_their_splat() -> None:
    picture = splat(projection((-2, 5, 1.0, 3.0), (50, 5, 1.0, 3.0)), np.array([RED, BLUE], np.uint8), 11, 11)
    covered = np.any(picture != BACKGROUND_RGB, axis=2)
    assert covered[5, 1]
    assert not covered[:, 2:].any()


def test_neighbours_on_a_surface_meet_half_way() -> None:
    picture = splat(projection((5, 10, 1.0, 8.0), (15, 10, 1.0, 8.0)), np.array([RED, BLUE], np.uint8), 21, 21)
    assert tuple(picture[10, 9]) == RED
    assert tuple(picture[10, 11]) == BLUE


def test_no_points_make_an_empty_picture() -> None:
    nothing = Projection(np.zeros((0, 2), np.float32), np.zeros(0, np.float32), np.zeros(0, np.float32))
    picture = splat(nothing, np.zeros((0, 3), np.uint8), 8, 6)
    assert picture.shape == (6, 8, 3)
    assert np.all(picture == BACKGROUND_RGB)


def test_light_darkens_what_lies_behind_an_edge_alike_near_and_far() -> None:
    depth = np.full((20, 20), 10.0, np.float32)
    np.testing.assert_array_equal(eye_dome_shade(depth), 1.0)
    depth[:, 10:] = 9.0
    shade = eye_dome_shade(depth)
    assert np.all(shade[:, 8:10] < 0.7)
    np.testing.assert_array_equal(shade[:, 10:], 1.0)
    np.testing.assert_allclose(eye_dome_shade(100 * depth), shade, atol=1e-4)


def test_where_no_point_is_the_background_is_seen() -> None:
    background = sky(21, 15)
    picture = splat(projection((10, 10, 1.0, 2.0)), np.array([RED], np.uint8), 21, 15, background)
    same = np.all(picture == background, axis=2)
    assert not same[10, 10]
    assert same[:7].all()
    assert background[0, 0, 2] > background[0, 0, 0]  # blue above


def test_what_faces_the_light_is_brighter_and_what_faces_nowhere_is_as_it_was() -> None:
    colours = np.full((4, 3), 100, np.uint8)
    normals = np.float32([[0, 0, 1], [1, 0, 0], [0, 0, -1], [0, 0, 0]])
    up, side, down, unknown = lit(colours, normals, np.array([0.0, 0.0, 1.0]))[:, 0].astype(int)
    assert down < side < up
    assert unknown == 100
    turned = lit(colours, -normals, np.array([0.0, 0.0, -1.0]))[:, 0]
    assert abs(int(turned[0]) - up) <= 1
