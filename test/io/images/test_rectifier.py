"""Distortion is removed from images of the size that their calibration means."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from scal3r_ros.errors import GeometryError
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.io.calibration import CameraCalibration
from scal3r_ros.io.images.decoding import ImageError
from scal3r_ros.io.images.rectifier import Rectifier

FULL = CameraCalibration.pinhole(640, 480, [500.0, 0, 320.5, 0, 510.0, 236.5, 0, 0, 1])


def test_rectifier_leaves_a_pinhole_alone_and_knows_its_intrinsics() -> None:
    calibration = CameraCalibration.pinhole(8, 6, [10, 0, 3.5, 0, 11, 2.5, 0, 0, 1])
    image = np.random.default_rng(1).integers(0, 256, (6, 8, 3), np.uint8)
    rectifier = Rectifier(calibration)
    assert rectifier.rectify(image) is image
    assert rectifier.intrinsics == Intrinsics(10, 11, 3.5, 2.5, 8, 6)


def test_rectifier_straightens_lines_that_the_lens_bent() -> None:
    k = (200.0, 0.0, 159.5, 0.0, 200.0, 119.5, 0.0, 0.0, 1.0)
    pinhole = CameraCalibration.pinhole(320, 240, k)
    bent = CameraCalibration(320, 240, "plumb_bob", (-0.2, 0.03, 0.001, 0.0005, 0.0), k, pinhole.r, pinhole.p)
    straight = np.stack([np.linspace(-0.6, 0.6, 2000), np.full(2000, -0.4), np.ones(2000)], axis=-1)
    seen = cv2.projectPoints(straight, np.zeros(3), np.zeros(3), np.array(k).reshape(3, 3), np.array(bent.d))[0][:, 0]
    image = np.zeros((240, 320, 3), np.uint8)
    for u, v in np.round(seen).astype(int):
        image[v, u] = 255
    assert np.ptp(seen[:, 1]) > 4.0
    rows, columns = np.nonzero(Rectifier(bent).rectify(image)[..., 0] > 60)
    assert np.ptp(columns) > 200
    assert np.abs(rows - (119.5 - 0.4 * 200)).max() <= 1.5


def test_uncalibrated_cameras_pass_and_other_sizes_do_not() -> None:
    image = np.zeros((6, 8, 3), np.uint8)
    zeros = CameraCalibration(0, 0, "", (), (0.0,) * 9, (0.0,) * 9, (0.0,) * 12)
    for rectifier in (Rectifier(None), Rectifier(zeros)):
        assert rectifier.intrinsics is None
        assert rectifier.rectify(image) is image
    with pytest.raises(ImageError, match="calibration is for 8×6") as caught:
        Rectifier(CameraCalibration.pinhole(8, 6, [10, 0, 3.5, 0, 11, 2.5, 0, 0, 1])).rectify(image[:4])
    assert caught.value.reason == "calibration of another size"


def seen(calibration: CameraCalibration, height: int, width: int) -> Intrinsics | None:
    rectifier = Rectifier(calibration)
    rectifier.rectify(np.zeros((height, width, 3), np.uint8))
    return rectifier.intrinsics


def test_binning_halves_the_camera() -> None:
    binned = replace(FULL, binning=(2, 2))
    assert seen(binned, 240, 320) == Intrinsics(250.0, 255.0, 160.0, 118.0, 320, 240)
    assert Rectifier(binned).intrinsics == seen(binned, 240, 320)


def test_a_region_moves_the_principal_point_and_its_binning_counts_from_its_corner() -> None:
    region = replace(FULL, roi=(100, 40, 400, 200))
    assert seen(region, 200, 400) == Intrinsics(500.0, 510.0, 220.5, 196.5, 400, 200)
    both = replace(region, binning=(2, 4))
    assert seen(both, 50, 200) == Intrinsics(250.0, 127.5, 110.0, 48.75, 200, 50)


def test_images_of_the_full_size_are_taken_as_they_are() -> None:
    assert seen(replace(FULL, binning=(2, 2)), 480, 640) == Intrinsics(500.0, 510.0, 320.5, 236.5, 640, 480)


def test_a_sensor_without_a_size_has_that_of_its_images() -> None:
    unknown = replace(FULL, width=0, height=0)
    assert Rectifier(unknown).intrinsics is None
    assert seen(unknown, 480, 640) == Intrinsics(500.0, 510.0, 320.5, 236.5, 640, 480)


def test_a_lens_that_nobody_knows_is_refused_before_the_first_image() -> None:
    for calibration in (FULL, replace(FULL, width=0, height=0)):
        with pytest.raises(GeometryError, match="double_sphere"):
            Rectifier(replace(calibration, distortion_model="double_sphere", d=(0.1, 0.5)))


def test_images_that_are_rectified_already_keep_their_pixels_and_take_p() -> None:
    p = (450.0, 0, 310.0, 0, 0, 460.0, 230.0, 0, 0, 0, 1.0, 0)
    bent = replace(FULL, d=(-0.3, 0.1, 0.0, 0.0, 0.0), p=p)
    image = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    rectifier = Rectifier(bent, already_rectified=True)
    np.testing.assert_array_equal(rectifier.rectify(image), image)
    assert rectifier.intrinsics == Intrinsics(450.0, 460.0, 310.0, 230.0, 640, 480)
    assert not np.array_equal(Rectifier(bent).rectify(image), image)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"k": (0.78, 0, 0.5, 0, 1.06, 0.5, 0, 0, 1)}, "focal lengths of 0.78 and 1.06 pixels"),  # in image widths
        ({"k": (5e5, 0, 3e5, 0, 5e5, 2e5, 0, 0, 1)}, r"principal point at \(300000, 200000\)"),
        ({"p": (0.78, 0, 0.5, 0, 0, 1.06, 0.5, 0, 0, 0, 1, 0)}, "focal lengths of 0.78"),
        ({"d": (1e6, 0, 0, 0, 0)}, "leave nothing of the images"),
    ],
)
def test_what_can_be_no_camera_of_these_images_is_refused(
    changes: dict[str, tuple[float, ...]], complaint: str
) -> None:
    with pytest.raises(GeometryError, match=complaint):
        Rectifier(replace(FULL, **changes))
