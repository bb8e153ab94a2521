"""Brings images of more than 8 bits to 8, also where a sensor uses only a part of the 16 that its encoding has."""

from __future__ import annotations

import logging

import cv2
import numpy as np
from numpy.typing import NDArray

logger = logging.getLogger(__name__)

FULL = 65535
MOST_PIXELS = 100_000
QUANTILES = (0.005, 0.995)
MARGIN = 0.1
"""Room beyond the range of the first image at each end, as a share of it: what comes next is not clipped at once."""
FASTEST = 0.02
"""Share of the range by which an end of it may move from one image to the next: more would flicker."""


class GreyRange:
    """Maps 16-bit values to 8 bits by the range that one camera uses, which follows the images slowly.

    Sensors of 10, 12 or 14 bits and thermal cameras fill a small part of 16 bits: by the whole range they would be
    black. A camera whose first image reaches into the upper half of the range is taken to use all of it.
    """

    def __init__(self) -> None:
        self._ends: NDArray[np.float64] | None = None
        self._is_full = False

    def to_8_bit(self, image: NDArray[np.uint16]) -> NDArray[np.uint8]:
        """The image, of any shape, as uint8."""
        if self._ends is None:
            self._begin(image)
        if self._is_full or self._ends is None:
            return cv2.convertScaleAbs(image, alpha=255.0 / FULL).astype(np.uint8, copy=False).reshape(image.shape)
        self._follow(image, self._ends)
        low, high = self._ends
        scale = 255.0 / (high - low)
        stretched = np.clip((image.astype(np.float32) - np.float32(low)) * np.float32(scale), 0.0, 255.0)
        return (stretched + np.float32(0.5)).astype(np.uint8)

    def _begin(self, image: NDArray[np.uint16]) -> None:
        low, high = _quantiles(image)
        if high > FULL / 2:
            self._is_full = True
            return
        room = MARGIN * max(high - low, 1.0)
        self._ends = np.array([max(0.0, low - room), min(float(FULL), high + room)])
        logger.info("images use the values %.0f to %.0f of 16 bits; they are stretched to that range", low, high)

    def _follow(self, image: NDArray[np.uint16], ends: NDArray[np.float64]) -> None:
        step = FASTEST * (ends[1] - ends[0])
        wanted = np.array(_quantiles(image))
        room = MARGIN * max(wanted[1] - wanted[0], 1.0)
        moved = np.clip(wanted + np.array([-room, room]), ends - step, ends + step)
        self._ends = np.array([max(0.0, moved[0]), max(moved[1], moved[0] + 1.0)])


def _quantiles(image: NDArray[np.uint16]) -> tuple[float, float]:
    values = image.reshape(-1)
    low, high = np.quantile(values[:: max(1, len(values) // MOST_PIXELS)], QUANTILES)
    return float(low), float(high)
