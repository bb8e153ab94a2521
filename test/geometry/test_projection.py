"""Back-projection and projection undo each other."""

import numpy as np

from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.geometry.projection import backproject, backproject_pixels, nearest_pixels, project

CAMERA = Intrinsics(fx=100.0, fy=110.0, cx=31.5, cy=20.0, width=64, height=48)
DEPTH = np.random.default_rng(0).uniform(1, 50, (2, 48, 64))


def test_projection_undoes_backprojection():
    uv, z = project(backproject(DEPTH, CAMERA), CAMERA)
    v, u = np.mgrid[:48, :64]
    np.testing.assert_allclose(uv, np.broadcast_to(np.stack([u, v], axis=-1), uv.shape), atol=1e-9)
    np.testing.assert_allclose(z, DEPTH)


def test_the_principal_point_looks_straight_ahead():
    point = backproject_pixels([CAMERA.cx, CAMERA.cy], 7.0, CAMERA)
    np.testing.assert_allclose(point, [0, 0, 7])


def test_maps_and_single_pixels_agree():
    whole = backproject(DEPTH[0], CAMERA)
    np.testing.assert_allclose(backproject_pixels([[10, 40]], DEPTH[0, 40, 10], CAMERA)[0], whole[40, 10])


def test_dtype_is_kept_and_integers_become_floats():
    assert backproject(DEPTH.astype(np.float32), CAMERA).dtype == np.float32
    assert backproject(np.ones((48, 64), np.uint16), CAMERA).dtype == np.float64


def test_a_resized_depth_map_gives_the_same_points():
    small = Intrinsics(fx=50.0, fy=55.0, cx=15.5, cy=9.75, width=32, height=24)
    assert CAMERA.scaled(32, 24) == small
    big = backproject(np.full((48, 64), 5.0), CAMERA)
    centres_of_four = big.reshape(24, 2, 32, 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(backproject(np.full((24, 32), 5.0), small), centres_of_four, atol=1e-12)


def test_points_behind_the_camera_have_no_pixel():
    uv, z = project([[0.0, 0.0, -1.0], [0.0, 0.0, 0.0]], CAMERA)
    assert np.isnan(uv).all()
    np.testing.assert_allclose(z, [-1, 0])


def test_pixels_of_an_image_find_the_same_rays_in_a_map_of_another_size():
    uv = np.random.default_rng(1).uniform(-0.4, [63.4, 47.4], (200, 2))
    scaled, row, column = nearest_pixels(uv, (48, 64, 3), (24, 32))
    there, here = (backproject_pixels(p, np.ones(200), c) for p, c in ((scaled, CAMERA.scaled(32, 24)), (uv, CAMERA)))
    np.testing.assert_allclose(there, here, atol=1e-12)
    np.testing.assert_allclose(np.stack([column, row], axis=1), scaled, atol=0.5 + 1e-9)
    assert nearest_pixels([[-9.0, 99.0]], (48, 64, 3), (24, 32))[1:] == (23, 0)
