"""16-bit images of sensors that use a part of the range are neither dark nor flickering."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from scal3r_ros.io.images.decoding import decode_compressed_image, decode_image
from scal3r_ros.io.images.grey_range import GreyRange

SCENE = (128 + 100 * np.sin(np.arange(240)[:, None] / 9) * np.cos(np.arange(320) / 11)).round().astype(np.uint16)
"""Grey levels from 28 to 228."""


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_a_sensor_of_fewer_bits_fills_the_8_bits(bits: int) -> None:
    image = GreyRange().to_8_bit(SCENE << (bits - 8))
    assert np.ptp(np.quantile(image, [0.01, 0.99])) > 180
    assert np.corrcoef(image.ravel(), SCENE.ravel())[0, 1] > 0.999


def test_a_thermal_camera_far_from_zero_fills_them_too() -> None:
    image = GreyRange().to_8_bit(7_000 + 5 * SCENE)
    assert np.ptp(np.quantile(image, [0.01, 0.99])) > 180


def test_a_sensor_that_uses_all_16_bits_is_scaled_by_all_of_them() -> None:
    np.testing.assert_array_equal(GreyRange().to_8_bit(SCENE * 257), SCENE.astype(np.uint8))


def test_one_bright_image_does_not_change_the_brightness_of_the_next() -> None:
    grey_range = GreyRange()
    before = grey_range.to_8_bit(SCENE << 4).astype(float)
    flash = (SCENE << 4).copy()
    flash[:120] = 16_000
    grey_range.to_8_bit(flash)
    after = grey_range.to_8_bit(SCENE << 4).astype(float)
    assert np.abs(after - before).max() < 8


def test_a_lasting_change_is_followed() -> None:
    grey_range = GreyRange()
    grey_range.to_8_bit(SCENE << 2)
    for _ in range(300):
        image = grey_range.to_8_bit(SCENE << 5)
    assert 150 < np.ptp(np.quantile(image, [0.01, 0.99])) <= 255
    assert (image == 255).mean() < 0.02


@pytest.mark.parametrize(("first", "bits"), [(0, 12), (9, 14), (65_535, 12), (0, 16)])
def test_a_black_or_white_image_at_the_start_costs_no_more_than_the_next(first: int, bits: int) -> None:
    """Cameras begin with images that are not exposed yet."""
    grey_range = GreyRange()
    grey_range.to_8_bit(np.full_like(SCENE, first))
    grey_range.to_8_bit(SCENE << (bits - 8))
    image = grey_range.to_8_bit(SCENE << (bits - 8))
    assert np.ptp(np.quantile(image, [0.01, 0.99])) > 150
    assert np.corrcoef(image.ravel(), SCENE.ravel())[0, 1] > 0.999


def test_messages_and_pictures_use_the_range_of_their_camera() -> None:
    data = (SCENE << 4).view(np.uint8).ravel()
    raw = decode_image("mono16", 240, 320, 640, False, data, GreyRange())
    png = decode_compressed_image(cv2.imencode(".png", SCENE << 4)[1], GreyRange())
    np.testing.assert_array_equal(raw, png)
    assert raw.shape == (240, 320, 3)
    assert np.ptp(np.quantile(raw, [0.01, 0.99])) > 180
    assert decode_image("mono16", 240, 320, 640, False, data).max() < 16
