"""How much blurrier or darker an image is than those before it, and so how much less its points are worth."""

from __future__ import annotations

from collections import deque

import cv2
import numpy as np
from numpy.typing import NDArray

RECENT = 15
"""Images whose median counts as sharp."""
ORDINARY = 1.6
"""Ratio of contrast to that of recent images that scenes differ by anyway."""
MOST = 6.0
BLURRED = 2.0
"""Blur from which on an image is of no use where there are others."""


class BlurMeter:
    """State: the contrast of the last `RECENT` images in four directions."""

    def __init__(self) -> None:
        self._recent: deque[NDArray[np.float64]] = deque(maxlen=RECENT)

    def clear(self) -> None:
        """Begin anew."""
        self._recent.clear()

    def blur(self, grey: NDArray[np.uint8]) -> float:
        """By what factor the points of an image (h, w) are less precise than those of recent images: 1 … `MOST`.

        Contrast is the mean difference of neighbouring pixels. Motion takes it away in the direction of the motion, a
        lens that is out of focus in all, darkness too: the direction that has lost most counts.
        """
        now = _contrast(grey)
        sharp = np.median([*self._recent, now], axis=0)
        self._recent.append(now)
        ratio = float((sharp / np.maximum(now, 1e-3)).max())
        return float(np.clip(ratio / ORDINARY, 1.0, MOST))


def _contrast(grey: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Mean difference (4,) of neighbouring pixels to the right, below and along both diagonals, at half the size."""
    height, width = grey.shape
    size = (max(2, width // 2), max(2, height // 2))
    small = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    pairs = (
        (small[:, 1:], small[:, :-1]),
        (small[1:], small[:-1]),
        (small[1:, 1:], small[:-1, :-1]),
        (small[1:, :-1], small[:-1, 1:]),
    )
    return np.array([cv2.norm(one, other, cv2.NORM_L1) / one.size for one, other in pairs])
