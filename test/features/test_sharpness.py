"""Blurred and dark images are less precise than those before them; a scene that changes is not."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from scal3r_ros.features.sharpness import BLURRED, BlurMeter
from scal3r_ros.simulation.simulate import SimulatedFrame


def grey(frame: SimulatedFrame) -> np.ndarray:
    return np.asarray(cv2.cvtColor(frame.image, cv2.COLOR_RGB2GRAY), np.uint8)


def smeared(image: np.ndarray, pixels: int, degrees: float) -> np.ndarray:
    """An image that was moved during its exposure, in a direction."""
    kernel, middle = np.zeros((pixels, pixels), np.float32), pixels // 2
    step = np.rint(middle * np.array([np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))])).astype(int)
    cv2.line(kernel, tuple(middle - step), tuple(middle + step), 1.0)
    return np.asarray(cv2.filter2D(image, -1, kernel / kernel.sum()), np.uint8)


@pytest.mark.parametrize("degrees", [0.0, 45.0, 90.0, 135.0])
def test_motion_blur_of_any_direction_is_seen(street_frames: list[SimulatedFrame], degrees: float) -> None:
    meter = BlurMeter()
    for frame in street_frames[:10]:
        assert meter.blur(grey(frame)) < 1.2
    little, much = (meter.blur(smeared(grey(street_frames[10]), pixels, degrees)) for pixels in (9, 25))
    assert 1.0 <= little < much
    assert much >= BLURRED
    assert meter.blur(grey(street_frames[11])) < 1.2


def test_a_dark_image_counts_less_and_a_darker_drive_does_not(street_frames: list[SimulatedFrame]) -> None:
    meter = BlurMeter()
    for frame in street_frames[:10]:
        meter.blur(grey(frame))
    assert meter.blur(grey(street_frames[10]) // 8) >= BLURRED
    assert meter.blur(np.zeros_like(grey(street_frames[10]))) >= BLURRED
    for frame in street_frames[:20]:
        last = meter.blur(grey(frame) // 4)
    assert last == 1.0
