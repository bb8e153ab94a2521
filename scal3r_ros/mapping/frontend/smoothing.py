"""Keeps `odom` continuous: corrections of the tracked pose fade in."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.geometry import se3


class SmoothPose:
    """Turns corrected poses into continuous ones: what a correction moved fades with the time constant `fade_s`."""

    def __init__(self, fade_s: float) -> None:
        self._fade_s = fade_s
        self.reset()

    def reset(self) -> None:
        """Start anew with the next pose as it comes."""
        self._offset = np.eye(4)  # T_corrected_given: in the camera's frame, so that it has no lever arm
        self._stamp_ns: int | None = None
        self._given: NDArray[np.float64] | None = None

    @property
    def offset(self) -> NDArray[np.float64]:
        """T_corrected_given (4, 4): how far the poses that are given out are from the corrected ones."""
        return self._offset

    def give(self, T_odom_cam: NDArray[np.float64], stamp_ns: int) -> NDArray[np.float64]:
        """The pose to give out for the corrected pose of the frame taken at `stamp_ns`."""
        if self._stamp_ns is not None and self._fade_s > 0:
            left = math.exp(-max(0, stamp_ns - self._stamp_ns) * 1e-9 / self._fade_s)
            self._offset = se3.interpolate(np.eye(4), self._offset, left)
        self._stamp_ns = stamp_ns
        self._given = np.asarray(T_odom_cam @ self._offset)
        return self._given

    def correct(self, T_odom_cam: NDArray[np.float64]) -> None:
        """Corrects the last pose: poses fade over to it from the next one on."""
        if self._given is not None:
            self._offset = se3.invert(T_odom_cam) @ self._given
