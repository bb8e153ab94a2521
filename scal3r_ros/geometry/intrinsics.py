"""Pinhole intrinsics of a rectified image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Intrinsics:
    """Pinhole camera of an image of `width` × `height` pixels; pixel centres lie at whole numbers (OpenCV convention).

    `fx, fy` focal lengths and `cx, cy` principal point, all in pixels. `radial` is the coefficient k of what distortion
    rectification has left: the ray through a = (x, y, 1) is seen at a (1 + k (x² + y²)). 0 for most cameras.
    `readout_s` is the time from the exposure of the first row to that of the last; 0 for a global shutter.
    """

    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int
    radial: float = 0.0
    readout_s: float = 0.0

    @property
    def K(self) -> NDArray[np.float64]:
        """Calibration matrix (3, 3)."""
        return np.array([[self.fx, 0.0, self.cx], [0.0, self.fy, self.cy], [0.0, 0.0, 1.0]])

    def fault(self, width: int, height: int) -> str:
        """What makes this no camera of an image of `width` × `height` pixels; empty where nothing does."""
        numbers = (self.fx, self.fy, self.cx, self.cy, self.radial, self.readout_s)
        if not np.isfinite(numbers).all():
            return "not all its numbers are finite"
        if self.fx <= 0 or self.fy <= 0:
            return f"its focal lengths are {self.fx:g} and {self.fy:g} pixels"
        if (self.width, self.height) != (width, height):
            return f"it is for {self.width} x {self.height} pixels, and the image has {width} x {height}"
        return ""

    def on_unit_plane(self, uv: ArrayLike) -> NDArray[np.float64]:
        """Places (..., 2) on the z = 1 plane of pixels uv (..., 2)."""
        xy: NDArray[np.float64] = (np.asarray(uv, np.float64) - [self.cx, self.cy]) / [self.fx, self.fy]
        return without_radial(xy, self.radial)

    def pixels_of(self, xy: ArrayLike) -> NDArray[np.float64]:
        """Pixels (..., 2) at which places xy (..., 2) on the z = 1 plane are seen."""
        uv: NDArray[np.float64] = with_radial(xy, self.radial) * [self.fx, self.fy] + [self.cx, self.cy]
        return uv

    def scaled(self, width: int, height: int) -> Intrinsics:
        """The same camera for its image resized to `width` × `height` pixels."""
        sx, sy = width / self.width, height / self.height
        return Intrinsics(
            self.fx * sx, self.fy * sy, (self.cx + 0.5) * sx - 0.5, (self.cy + 0.5) * sy - 0.5, width, height,
            self.radial, self.readout_s,
        )  # fmt: skip


def with_radial(xy: ArrayLike, radial: float) -> NDArray[np.float64]:
    """Places xy (..., 2) on the z = 1 plane as a camera with the coefficient `radial` shows them."""
    xy = np.asarray(xy, np.float64)
    return np.asarray(xy * (1.0 + radial * (xy**2).sum(axis=-1, keepdims=True)))


def without_radial(xy: ArrayLike, radial: float) -> NDArray[np.float64]:
    """The inverse of `with_radial`, by Newton's method on the distance from the axis."""
    xy = np.asarray(xy, np.float64)
    if radial == 0.0:
        return xy
    seen = np.sqrt((xy**2).sum(axis=-1, keepdims=True))
    r = seen.copy()
    for _ in range(4):
        r = r - (r * (1.0 + radial * r**2) - seen) / np.maximum(1.0 + 3.0 * radial * r**2, 0.1)
    return np.asarray(xy / (1.0 + radial * r**2))
