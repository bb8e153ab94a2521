"""Lens distortion on the plane z = 1: polynomial (plumb_bob, rational_polynomial) and fisheye (equidistant)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.errors import GeometryError

Array = NDArray[np.float64]

_NEWTON_STEPS = 30
_COUNTS = {"plumb_bob": (4, 5), "rational_polynomial": (8, 12, 14), "equidistant": (4,), "none": (), "": ()}
"""Numbers of coefficients each `distortion_model` of sensor_msgs/CameraInfo may come with, besides none at all."""


class Distortion(Protocol):
    """A lens: where a ray's ideal image point really lands, and back. Points are (..., 2) on the plane z = 1."""

    @property
    def is_none(self) -> bool:
        """Whether distorted and ideal points are the same."""

    def distort(self, xy: Array) -> Array:
        """Distorted points of ideal ones."""

    def undistort(self, xy: Array) -> Array:
        """Ideal points of distorted ones, by iteration; NaN where no ideal point is found."""


def distortion_from_camera_info(model: str, d: Sequence[float]) -> Distortion:
    """The lens of a CameraInfo's `distortion_model` and `d`; no coefficients at all mean no distortion.

    Raises:
        GeometryError: the model is unknown, the number of coefficients is not the model's, or one is not finite.
    """
    coefficients = [float(value) for value in d]
    if model not in _COUNTS:
        known = ", ".join(name for name in _COUNTS if name)
        raise GeometryError(f"CameraInfo has the distortion model '{model}', but only {known} are supported")
    if not np.all(np.isfinite(coefficients)):
        raise GeometryError(f"CameraInfo's distortion coefficients {coefficients} are not all finite; calibrate again")
    if not _COUNTS[model] and any(coefficients):
        raise GeometryError(
            "CameraInfo has distortion coefficients but names no distortion model; set distortion_model"
        )
    if not coefficients or not _COUNTS[model]:
        return Polynomial()
    if len(coefficients) not in _COUNTS[model]:
        expected = " or ".join(str(count) for count in _COUNTS[model])
        raise GeometryError(
            f"CameraInfo has {len(coefficients)} distortion coefficients, but the model {model} takes {expected}"
        )
    if any(coefficients[8:]):
        raise GeometryError(
            "CameraInfo has thin-prism or tilt distortion coefficients, which are not supported; calibrate without them"
        )
    return Equidistant(*coefficients) if model == "equidistant" else Polynomial(*coefficients[:8])


@dataclass(frozen=True)
class Polynomial:
    """Brown–Conrady distortion with a rational radial part, coefficients named and ordered as in OpenCV."""

    k1: float = 0.0
    k2: float = 0.0
    p1: float = 0.0
    p2: float = 0.0
    k3: float = 0.0
    k4: float = 0.0
    k5: float = 0.0
    k6: float = 0.0

    @property
    def is_none(self) -> bool:
        return self == Polynomial()

    def distort(self, xy: Array) -> Array:
        x, y = xy[..., 0], xy[..., 1]
        r2 = x * x + y * y
        radial = 1 + r2 * (self.k1 + r2 * (self.k2 + r2 * self.k3))
        radial = radial / (1 + r2 * (self.k4 + r2 * (self.k5 + r2 * self.k6)))
        tangential_x = 2 * self.p1 * x * y + self.p2 * (r2 + 2 * x * x)
        tangential_y = self.p1 * (r2 + 2 * y * y) + 2 * self.p2 * x * y
        return np.stack([x * radial + tangential_x, y * radial + tangential_y], axis=-1)

    def undistort(self, xy: Array) -> Array:
        estimate = xy.copy()
        step = 1e-6
        step_x, step_y = np.array([step, 0.0]), np.array([0.0, step])
        for _ in range(_NEWTON_STEPS):
            dx = self.distort(estimate + step_x) - self.distort(estimate - step_x)
            dy = self.distort(estimate + step_y) - self.distort(estimate - step_y)
            a, b, c, d = dx[..., 0], dy[..., 0], dx[..., 1], dy[..., 1]
            determinant = a * d - b * c
            safe = np.where(np.abs(determinant) > 1e-20, determinant, np.nan)
            error = self.distort(estimate) - xy
            ex, ey = error[..., 0], error[..., 1]
            update = np.stack([d * ex - b * ey, a * ey - c * ex], axis=-1) / safe[..., None] * (2 * step)
            estimate = estimate - update
        error = self.distort(estimate) - xy
        found = np.linalg.norm(error, axis=-1, keepdims=True) < 1e-8
        return np.where(found, estimate, np.nan)


@dataclass(frozen=True)
class Equidistant:
    """Fisheye distortion of Kannala and Brandt (2006), as in `cv2.fisheye`: a polynomial of the ray's angle."""

    k1: float
    k2: float
    k3: float
    k4: float

    @property
    def is_none(self) -> bool:
        return False

    def distort(self, xy: Array) -> Array:
        radius = np.linalg.norm(xy, axis=-1, keepdims=True)
        theta = np.arctan(radius)
        safe = np.where(radius > 1e-12, radius, 1.0)
        return xy * np.where(radius > 1e-12, self._distorted_angle(theta) / safe, 1.0)

    def undistort(self, xy: Array) -> Array:
        theta_d = np.linalg.norm(xy, axis=-1, keepdims=True)
        theta = np.minimum(theta_d, np.pi / 2)
        for _ in range(_NEWTON_STEPS):
            t2 = theta * theta
            slope = 1 + t2 * (3 * self.k1 + t2 * (5 * self.k2 + t2 * (7 * self.k3 + t2 * 9 * self.k4)))
            slope = np.where(np.abs(slope) > 1e-12, slope, np.nan)
            theta = theta - (self._distorted_angle(theta) - theta_d) / slope
        in_front = (theta >= 0) & (theta < np.pi / 2)
        found = in_front & (np.abs(self._distorted_angle(theta) - theta_d) < 1e-8)
        safe = np.where(theta_d > 1e-12, theta_d, 1.0)
        factor = np.where(theta_d > 1e-12, np.tan(np.where(found, theta, 0.0)) / safe, 1.0)
        return np.where(found, xy * factor, np.nan)

    def _distorted_angle(self, theta: Array) -> Array:
        t2 = theta * theta
        return theta * (1 + t2 * (self.k1 + t2 * (self.k2 + t2 * (self.k3 + t2 * self.k4))))
