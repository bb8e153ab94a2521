"""Cameras of CameraInfo against OpenCV, which implements the same models independently."""

import cv2
import numpy as np
import pytest

from scal3r_ros.errors import GeometryError
from scal3r_ros.geometry import se3
from scal3r_ros.geometry.camera import CameraModel

WIDTH, HEIGHT = 320, 240
K = [200.0, 0.0, 161.0, 0.0, 205.0, 118.0, 0.0, 0.0, 1.0]
IDENTITY = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
P = [180.0, 0.0, 155.0, -20.0, 0.0, 185.0, 121.0, 0.0, 0.0, 0.0, 1.0, 0.0]
P_OF_K = [200.0, 0.0, 161.0, 0.0, 0.0, 205.0, 118.0, 0.0, 0.0, 0.0, 1.0, 0.0]
R = list(se3.rotation_exp([0.02, -0.03, 0.01]).ravel())
LENSES = {
    "plumb_bob": [-0.28, 0.07, 0.001, -0.002, 0.004],
    "rational_polynomial": [0.3, -0.2, 0.001, 0.0005, 0.05, 0.6, -0.15, 0.02],
    "equidistant": [-0.03, 0.01, 0.002, -0.001],
}


def camera(model="plumb_bob", d=None, k=K, r=IDENTITY, p=P, width=WIDTH, height=HEIGHT):
    return CameraModel.from_camera_info(width, height, model, LENSES.get(model, []) if d is None else d, k, r, p)


@pytest.mark.parametrize("model", LENSES)
def test_rectification_maps_are_opencvs(model):
    ours = camera(model, r=R).rectification_maps()
    make_maps = cv2.fisheye.initUndistortRectifyMap if model == "equidistant" else cv2.initUndistortRectifyMap
    new_K = np.reshape(P, (3, 4))[:, :3].copy()
    args = np.reshape(K, (3, 3)), np.array(LENSES[model]), np.reshape(R, (3, 3)), new_K, (WIDTH, HEIGHT)
    oracle = make_maps(*args, cv2.CV_32FC1)
    for a, b in zip(ours, oracle, strict=True):
        assert a.dtype == np.float32
        assert a.shape == (HEIGHT, WIDTH)
        np.testing.assert_allclose(a, b, atol=1e-3)


@pytest.mark.parametrize("model", LENSES)
def test_distortion_is_opencvs_and_undone(model):
    xy = np.random.default_rng(0).uniform(-0.7, 0.7, (200, 2))
    lens = camera(model)
    rays = np.concatenate([xy, np.ones((200, 1))], axis=1)[:, None]
    project = cv2.fisheye.projectPoints if model == "equidistant" else cv2.projectPoints
    oracle = project(rays, np.zeros(3), np.zeros(3), np.eye(3), np.array(LENSES[model]))[0][:, 0]
    np.testing.assert_allclose(lens.distort(xy), oracle, atol=1e-9)
    np.testing.assert_allclose(lens.undistort(lens.distort(xy)), xy, atol=1e-8)


def test_points_that_no_ray_reaches_undistort_to_nothing():
    fisheye = camera("equidistant", d=[0.0, 0.0, 0.0, 0.0])
    assert np.isnan(fisheye.undistort([2.0, 0.0])).all()  # 2 rad off the axis is behind the image plane


def test_an_undistorted_camera_is_already_rectified():
    plain = camera("plumb_bob", d=[0.0] * 5, p=P_OF_K)
    assert plain.is_rectified
    u, v = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    np.testing.assert_allclose(plain.rectification_maps(), [u, v], atol=1e-4)
    for other in (camera("plumb_bob", p=P_OF_K), camera("", d=[], r=R, p=P_OF_K), camera("", d=[], p=P)):
        assert not other.is_rectified


def test_without_p_the_rectified_image_keeps_k():
    rectified = camera(p=[0.0] * 12).rectified
    np.testing.assert_allclose(rectified.K, np.reshape(K, (3, 3)))
    assert camera(p=P).rectified.fx == 180.0


def test_an_r_of_zeros_means_no_rotation():
    np.testing.assert_array_equal(camera(r=[0.0] * 9).R_rectified_raw, np.eye(3))


def test_pixels_that_look_behind_the_camera_map_outside_the_image():
    turned = camera("equidistant", r=list(se3.rotation_exp([0.0, 1.4, 0.0]).ravel()))
    map_x, map_y = turned.rectification_maps()
    behind = map_x == -1
    assert behind.any()
    assert (map_y[behind] == -1).all()
    assert np.isfinite(map_x).all()


@pytest.mark.parametrize(("model", "d"), [("", []), ("none", []), ("plumb_bob", []), ("", [0.0] * 5)])
def test_no_coefficients_mean_no_distortion(model, d):
    np.testing.assert_array_equal(camera(model, d=d).distort([[0.3, 0.4]]), [[0.3, 0.4]])


@pytest.mark.parametrize("length", [12, 14])
def test_thin_prism_and_tilt_are_accepted_where_zero_and_refused_otherwise(length):
    d = LENSES["rational_polynomial"] + [0.0] * (length - 8)
    xy = [[0.3, 0.4]]
    np.testing.assert_array_equal(
        camera("rational_polynomial", d=d).distort(xy), camera("rational_polynomial").distort(xy)
    )
    with pytest.raises(GeometryError, match="thin-prism"):
        camera("rational_polynomial", d=[*d[:-1], 0.1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": [0.0] * 9}, "uncalibrated"),
        ({"k": [*K[:2], 0.0, *K[3:]]}, "principal point"),
        ({"k": [float("nan"), *K[1:]]}, "NaN"),
        ({"k": K[:8]}, "8 numbers"),
        ({"width": 0}, "image size"),
        ({"height": -3}, "image size"),
        ({"model": "kannala_42", "d": [0.1]}, "kannala_42"),
        ({"model": "plumb_bob", "d": [0.1, 0.2]}, "2 distortion coefficients"),
        ({"model": "equidistant", "d": [0.1] * 5}, "5 distortion coefficients"),
        ({"model": "plumb_bob", "d": [0.1, float("inf"), 0, 0, 0]}, "finite"),
        ({"model": "", "d": [0.1, 0, 0, 0, 0]}, "names no distortion model"),
        ({"r": [2.0, *IDENTITY[1:]]}, "no rotation"),
        ({"p": [float("nan")] * 12}, "P holds NaN"),
    ],
)
def test_a_camera_info_of_no_real_camera_is_refused_in_one_sentence(change, message):
    with pytest.raises(GeometryError, match=message) as error:
        camera(**change)
    assert "\n" not in str(error.value)


def test_images_resized_as_a_whole_keep_their_camera():
    half = camera().scaled_to(WIDTH // 2, HEIGHT // 2)
    full_x, full_y = camera().rectification_maps()
    map_x, map_y = half.rectification_maps()
    for full, small in ((full_x, map_x), (full_y, map_y)):
        of_four = full.reshape(HEIGHT // 2, 2, WIDTH // 2, 2).mean(axis=(1, 3))
        np.testing.assert_allclose(2 * small + 0.5, of_four, atol=0.01)


def test_images_of_another_shape_are_not_this_cameras():
    with pytest.raises(GeometryError, match="aspect ratio"):
        camera().scaled_to(WIDTH, HEIGHT // 2)
