"""Brings images of more than 8 bits to 8, also where a sensor uses only a part of the 16 that its encoding has."""

from __future__ import annotations

import logging

import cv2
import numpy as np
from numpy.typing import NDArray

logger = logging.getLogger(__name__)

FULL = 65535
MOST_PIXELS = 100_000
QUANTILES = (0.005, 0.5, 0.995)
MARGIN = 0.1
"""Room beyond the range of the first image at each end, as a share of it: what comes next is not clipped at once."""
FASTEST = 0.02
"""Share of the range by which an end of it may move from one image to the next: more would flicker."""
SETTLED = 2
"""So many images in a row that the range does not fit begin it anew; fewer are a flash, or a fault."""
DARK_SHARE = 1 / 16
"""A camera that uses all 16 bits fills more than this share of them."""


class GreyRange:
    """Maps 16-bit values to 8 bits by the range that one camera uses, which follows the images slowly.

    Sensors of 10, 12 or 14 bits and thermal cameras fill a small part of 16 bits: by the whole range they would be
    black. A camera whose first image reaches into the upper half of the range is taken to use all of it. The range
    begins anew where images do not fit it, as after the black or white ones that many cameras start with.
    """

    def __init__(self) -> None:
        self._ends: NDArray[np.float64] | None = None
        self._is_full = False
        self._misfits = 0

    def to_8_bit(self, image: NDArray[np.uint16]) -> NDArray[np.uint8]:
        """The image, of any shape, as uint8."""
        low, middle, high = _quantiles(image)
        self._misfits = 0 if self._fits(middle, high) else self._misfits + 1
        if (self._ends is None and not self._is_full) or self._misfits >= SETTLED:
            self._begin(low, high)
        if self._is_full or self._ends is None:
            return cv2.convertScaleAbs(image, alpha=255.0 / FULL).astype(np.uint8, copy=False).reshape(image.shape)
        self._follow(low, high, self._ends)
        begin, end = self._ends
        scale = 255.0 / (end - begin)
        stretched = np.clip((image.astype(np.float32) - np.float32(begin)) * np.float32(scale), 0.0, 255.0)
        return (stretched + np.float32(0.5)).astype(np.uint8)

    def _fits(self, middle: float, high: float) -> bool:
        """Whether at least half of an image is within the range, and a camera of 16 bits is not nearly black."""
        if self._is_full:
            return high >= FULL * DARK_SHARE
        return self._ends is None or bool(self._ends[0] <= middle <= self._ends[1])

    def _begin(self, low: float, high: float) -> None:
        self._misfits = 0
        self._is_full = high > FULL / 2
        if self._is_full:
            self._ends = None
            return
        room = MARGIN * max(high - low, 1.0)
        self._ends = np.array([max(0.0, low - room), min(float(FULL), high + room)])
        logger.info("images use the values %.0f to %.0f of 16 bits; they are stretched to that range", low, high)

    def _follow(self, low: float, high: float, ends: NDArray[np.float64]) -> None:
        step = FASTEST * (ends[1] - ends[0])
        room = MARGIN * max(high - low, 1.0)
        moved = np.clip([low - room, high + room], ends - step, ends + step)
        self._ends = np.array([max(0.0, moved[0]), max(moved[1], moved[0] + 1.0)])


def _quantiles(image: NDArray[np.uint16]) -> tuple[float, float, float]:
    values = image.reshape(-1)
    low, middle, high = np.quantile(values[:: max(1, len(values) // MOST_PIXELS)], QUANTILES)
    return float(low), float(middle), float(high)
