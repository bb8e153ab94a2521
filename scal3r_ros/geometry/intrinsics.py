"""Pinhole intrinsics of a rectified image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Intrinsics:
    """Pinhole camera of an image of `width` × `height` pixels; pixel centres lie at whole numbers (OpenCV convention).

    `fx, fy` focal lengths and `cx, cy` principal point, all in pixels.
    """

    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int

    @property
    def K(self) -> NDArray[np.float64]:
        """Calibration matrix (3, 3)."""
        return np.array([[self.fx, 0.0, self.cx], [0.0, self.fy, self.cy], [0.0, 0.0, 1.0]])

    def on_unit_plane(self, uv: ArrayLike) -> NDArray[np.float64]:
        """Places (..., 2) on the z = 1 plane of pixels uv (..., 2)."""
        xy: NDArray[np.float64] = (np.asarray(uv, np.float64) - [self.cx, self.cy]) / [self.fx, self.fy]
        return xy

    def scaled(self, width: int, height: int) -> Intrinsics:
        """The same camera for its image resized to `width` × `height` pixels."""
        sx, sy = width / self.width, height / self.height
        return Intrinsics(
            self.fx * sx, self.fy * sy, (self.cx + 0.5) * sx - 0.5, (self.cy + 0.5) * sy - 0.5, width, height
        )
