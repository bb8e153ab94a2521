"""Cameras of CameraInfo against the formulas of their lenses, written out."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from scal3r_ros.errors import GeometryError
from scal3r_ros.geometry import se3
from scal3r_ros.io.calibration.calibration import CameraCalibration
from scal3r_ros.io.calibration.camera import CameraModel, lens_of

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


TILTED = [*LENSES["rational_polynomial"], 0.001, -0.002, 0.0005, 0.001, 0.02, -0.03]


def camera(model="plumb_bob", d=None, k=K, r=IDENTITY, p=P, width=WIDTH, height=HEIGHT):
    d = LENSES.get(model, []) if d is None else d
    return CameraModel.of(CameraCalibration(width, height, model, tuple(d), tuple(k), tuple(r), tuple(p)))


def distorted(model, d, x, y):
    """Where the ideal point (x, y) on the plane z = 1 lands (OpenCV's manual, calib3d)."""
    if model == "equidistant":
        radius = np.maximum(np.hypot(x, y), 1e-12)
        angle = np.arctan(radius)
        bent = angle * (1 + d[0] * angle**2 + d[1] * angle**4 + d[2] * angle**6 + d[3] * angle**8)
        return x * bent / radius, y * bent / radius
    k1, k2, p1, p2, k3, k4, k5, k6, s1, s2, s3, s4, tau_x, tau_y = [*d, *[0.0] * (14 - len(d))]
    r2 = x * x + y * y
    radial = (1 + k1 * r2 + k2 * r2**2 + k3 * r2**3) / (1 + k4 * r2 + k5 * r2**2 + k6 * r2**3)
    x2 = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x) + s1 * r2 + s2 * r2**2
    y2 = y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y + s3 * r2 + s4 * r2**2
    R = Rotation.from_euler("XY", [tau_x, tau_y]).as_matrix().T
    onto_sensor = np.array([[R[2, 2], 0, -R[0, 2]], [0, R[2, 2], -R[1, 2]], [0, 0, 1]]) @ R
    points = onto_sensor @ np.stack([x2, y2, np.ones_like(x2)]).reshape(3, -1)
    return (points[:2] / points[2]).reshape(2, *x.shape)


@pytest.mark.parametrize("model", [*LENSES, "tilted"])
def test_rectification_maps_follow_the_formulas(model):
    d = TILTED if model == "tilted" else LENSES[model]
    model = "rational_polynomial" if model == "tilted" else model
    maps = camera(model, d=d, r=R).rectification_maps()
    u, v = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    rays = np.stack([(u - P[2]) / P[0], (v - P[6]) / P[5], np.ones_like(u)], axis=-1) @ np.reshape(R, (3, 3))
    x, y = distorted(model, d, rays[..., 0] / rays[..., 2], rays[..., 1] / rays[..., 2])
    for values, expected in zip(maps, (K[0] * x + K[2], K[4] * y + K[5]), strict=True):
        assert values.dtype == np.float32
        assert values.shape == (HEIGHT, WIDTH)
        np.testing.assert_allclose(values, expected, atol=1e-3)


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


@pytest.mark.parametrize(
    ("model", "d"),
    [("", []), ("none", []), ("plumb_bob", []), ("", [0.0] * 5), ("Inverse Brown-Conrady", [0.0] * 5)],
)
def test_no_coefficients_mean_no_distortion(model, d):
    assert camera(model, d=d, p=P_OF_K).is_rectified


@pytest.mark.parametrize(
    ("model", "length"), [("plumb_bob", 7), ("plumb_bob", 15), ("equidistant", 5), ("rational_polynomial", 15)]
)
def test_zeros_beyond_the_model_are_passed_over(model, length):
    d = LENSES[model]
    assert lens_of(model, [*d, *[0.0] * (length - len(d))]).coefficients[: len(d)] == tuple(d)
    with pytest.raises(GeometryError, match=f"{length} distortion coefficients"):
        lens_of(model, [*d, *[0.0] * (length - len(d) - 1), 0.1])


@pytest.mark.parametrize("name", ["plumb_bob", "rational_polynomial", "Brown Conrady"])
def test_between_the_models_of_opencv_the_number_of_coefficients_decides(name):
    for d in (LENSES["plumb_bob"][:4], LENSES["plumb_bob"]):
        assert lens_of(name, d) == lens_of("plumb_bob", d)
    for d in (LENSES["rational_polynomial"], TILTED[:12], TILTED):
        assert lens_of(name, d) == lens_of("rational_polynomial", d)


def test_p_alone_is_the_camera_of_images_without_distortion():
    of_p = camera("", d=[], k=[0.0] * 9)
    assert of_p.is_rectified
    assert of_p.rectified == camera().rectified
    assert CameraCalibration(WIDTH, HEIGHT, "", (), (0.0,) * 9, IDENTITY, tuple(P)).is_calibrated
    with pytest.raises(GeometryError, match="but no K"):
        camera(k=[0.0] * 9)


@pytest.mark.parametrize(
    ("region", "binning", "sizes"),
    [
        ((10, 20, 321, 201), 2, [(160, 100), (161, 101), (160, 101)]),
        ((0, 0, 0, 0), 3, [(WIDTH // 3, HEIGHT // 3)]),
    ],
)
def test_a_last_pixel_that_is_not_full_may_be_there_or_not(region, binning, sizes):
    cut = replace(CameraCalibration.pinhole(WIDTH, HEIGHT, K), binning=(binning, binning), roi=region)
    for width, height in sizes:
        assert cut.for_images(width, height).k[0] == K[0] / binning
    for width, height in ((sizes[0][0] - 1, sizes[0][1]), (sizes[0][0], sizes[0][1] + 2)):
        with pytest.raises(GeometryError, match="its calibration is for"):
            cut.for_images(width, height)


@pytest.mark.parametrize(
    ("alias", "model"),
    [
        ("radtan", "plumb_bob"),
        ("Modified Brown Conrady", "plumb_bob"),
        ("equi", "equidistant"),
        ("KB4", "equidistant"),
        ("radial-tangential", "plumb_bob"),
        ("Brown Conrady", "plumb_bob"),
        ("fisheye", "equidistant"),
        ("Kannala Brandt4", "equidistant"),
        ("rational", "rational_polynomial"),
    ],
)
def test_models_go_by_other_names(alias, model):
    assert lens_of(alias, LENSES[model]) == lens_of(model, LENSES[model])


def test_a_pinhole_is_no_distortion():
    assert lens_of("pinhole", [0.0] * 5).is_none
    with pytest.raises(GeometryError, match="names no distortion model"):
        lens_of("pinhole", [0.1] * 5)


def test_an_equidistant_lens_bends_even_with_zeros():
    assert not camera("equidistant", d=[0.0] * 4, p=P_OF_K).is_rectified


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": [0.0] * 9, "p": [0.0] * 12}, "uncalibrated"),
        ({"k": [*K[:2], 0.0, *K[3:]]}, "principal point"),
        ({"k": [float("nan"), *K[1:]]}, "NaN"),
        ({"k": K[:8]}, "8 numbers"),
        ({"width": 0}, "image size"),
        ({"height": -3}, "image size"),
        ({"model": "kannala_42", "d": [0.1]}, "kannala_42"),
        ({"model": "plumb_bob", "d": [0.1, 0.2]}, "2 distortion coefficients"),
        ({"model": "fisheye", "d": [0.1] * 5}, "5 distortion coefficients"),
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
