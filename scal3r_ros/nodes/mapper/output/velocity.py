"""Velocity of the base from one pose to the next, for Odometry's twist."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.geometry import se3

Array = NDArray[np.float64]

UNKNOWN_VARIANCE = 1e6
"""Variance of a velocity that has not been measured, in unit²/s² and rad²/s²."""


@dataclass(frozen=True)
class Twist:
    """`velocity` (6,): x y z in unit/s and about x y z in rad/s, in the moving frame; `covariance` (6, 6) of it."""

    velocity: Array
    covariance: Array


class VelocityMeter:
    """Differentiates poses as they come in order of time."""

    def __init__(self) -> None:
        self._last: tuple[int, Array, Array] | None = None

    def measure(self, stamp_ns: int, T_odom_base: Array, covariance: Array) -> Twist:
        """Mean velocity since the pose before, in the base's axes; zero of unknown variance at the first pose.

        `covariance` (6, 6) is the pose's, in the axes of `odom`. The errors of the two poses are taken as independent,
        which overstates the twist's covariance: drift is common to both.
        """
        last = self._last
        if last is not None and stamp_ns <= last[0]:
            return _unknown()
        self._last = (stamp_ns, T_odom_base, covariance)
        if last is None:
            return _unknown()
        seconds = (stamp_ns - last[0]) * 1e-9
        R_base_odom = T_odom_base[:3, :3].T
        rotation = np.kron(np.eye(2), R_base_odom)
        velocity = se3.log(se3.invert(last[1]) @ T_odom_base) / seconds
        return Twist(velocity, rotation @ (last[2] + covariance) @ rotation.T / seconds**2)

    def forget(self) -> None:
        """The next pose is the first again."""
        self._last = None


def _unknown() -> Twist:
    return Twist(np.zeros(6), np.eye(6) * UNKNOWN_VARIANCE)
