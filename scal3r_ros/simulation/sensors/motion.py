"""A drive as a smooth motion that can be asked at any time: what sensors faster than the camera are simulated from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.spatial.transform import Rotation, RotationSpline

from scal3r_ros.errors import SimulationError
from scal3r_ros.geometry import se3
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.simulation.drives.levelling import upright

Array = NDArray[np.float64]


class SmoothMotion:
    """A drive's poses with two continuous derivatives between them, in a level frame (z up) with its origin.

    Raises:
        SimulationError: fewer than four poses.
    """

    def __init__(self, drive: Trajectory) -> None:
        if len(drive) < 4:
            raise SimulationError(f"a drive of {len(drive)} poses is no motion; sensors need 4 or more")
        T_level_cam = upright(drive.T_ref_cam) @ drive.T_ref_cam
        self.stamps_ns = drive.stamps_ns
        seconds = (drive.stamps_ns - drive.stamps_ns[0]) * 1e-9
        self._centre = CubicSpline(seconds, T_level_cam[:, :3, 3])
        self._rotation = RotationSpline(seconds, Rotation.from_matrix(T_level_cam[:, :3, :3]))

    def stamps_at(self, rate_hz: float) -> NDArray[np.int64]:
        """Stamps (n,) in ns at a steady rate from the first to the last image."""
        first, last = int(self.stamps_ns[0]), int(self.stamps_ns[-1])
        return first + np.round(np.arange(int((last - first) * 1e-9 * rate_hz) + 1) * 1e9 / rate_hz).astype(np.int64)

    def poses(self, stamps_ns: NDArray[np.int64]) -> Array:
        """T_level_cam (n, 4, 4)."""
        at = self._seconds(stamps_ns)
        return se3.se3(self._rotation(at).as_matrix(), self._centre(at))

    def acceleration(self, stamps_ns: NDArray[np.int64]) -> Array:
        """Acceleration (n, 3) of the camera's centre in the level frame, m/s²."""
        return np.asarray(self._centre(self._seconds(stamps_ns), 2))

    def angular_velocity(self, stamps_ns: NDArray[np.int64]) -> Array:
        """Angular velocity (n, 3) in the camera's axes, rad/s."""
        return np.asarray(self._rotation(self._seconds(stamps_ns), 1))

    def angular_acceleration(self, stamps_ns: NDArray[np.int64]) -> Array:
        """Angular acceleration (n, 3) in the camera's axes, rad/s²."""
        return np.asarray(self._rotation(self._seconds(stamps_ns), 2))

    def _seconds(self, stamps_ns: NDArray[np.int64]) -> Array:
        return np.asarray((stamps_ns - self.stamps_ns[0]) * 1e-9)
