"""Velocity of the base from one pose to the next, for Odometry's twist."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.geometry import se3

Array = NDArray[np.float64]

UNKNOWN_VARIANCE = 1e6
"""Variance of a velocity that has not been measured, in unit²/s² and rad²/s²."""

REMEMBERED = 15
"""Changes of velocity from which its noise is estimated."""

MIN_REMEMBERED = 3

FLOOR = 0.01
"""Standard deviation at least, as a share of the speed."""


@dataclass(frozen=True)
class Twist:
    """`velocity` (6,): x y z in unit/s and about x y z in rad/s, in the moving frame; `covariance` (6, 6) of it."""

    velocity: Array
    covariance: Array


class VelocityMeter:
    """Differentiates poses as they come in order of time, and estimates the noise of that from its own result.

    The covariances of poses do not help: most of them is drift, which two neighbouring poses have in common. Where
    poses are noisy, though, the velocity changes from one to the next: independent errors of variance s² change it by
    6 s²/dt² in the mean of the squares, and it is itself wrong by 2 s²/dt², a third of that. True acceleration counts
    as noise. An error of the scale makes all velocities too long or too short, and does not change them.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """The next pose is the first again."""
        self._last: tuple[int, Array] | None = None
        self._velocity: Array | None = None
        self._changes: deque[Array] = deque(maxlen=REMEMBERED)

    def measure(self, stamp_ns: int, T_odom_base: Array, extrapolated: bool = False, scale_sigma: float = 0.0) -> Twist:
        """Mean velocity since the pose before, in the base's axes; zero of unknown variance at the first pose.

        `scale_sigma` is the standard deviation of the logarithm of the scale of the poses.
        An `extrapolated` pose measures nothing: its velocity, which is that before, may be wrong by all of it.
        """
        last = self._last
        if last is not None and stamp_ns <= last[0]:
            return _unknown()
        self._last = (stamp_ns, T_odom_base)
        if last is None:
            return _unknown()
        velocity = se3.log(se3.invert(last[1]) @ T_odom_base) / ((stamp_ns - last[0]) * 1e-9)
        if self._velocity is not None and not extrapolated:
            self._changes.append(velocity - self._velocity)
        self._velocity = velocity
        return Twist(velocity, self._covariance(velocity, extrapolated, scale_sigma))

    def _covariance(self, velocity: Array, extrapolated: bool, scale_sigma: float) -> Array:
        if len(self._changes) < MIN_REMEMBERED:
            return np.eye(6) * UNKNOWN_VARIANCE
        changes = np.array(self._changes)
        speeds = np.repeat([np.linalg.norm(velocity[:3]), np.linalg.norm(velocity[3:])], 3)
        floor = ((1.0 if extrapolated else FLOOR) * speeds) ** 2 + 1e-9
        covariance: Array = changes.T @ changes / (3.0 * len(changes)) + np.diag(floor)
        covariance[:3, :3] += scale_sigma**2 * np.outer(velocity[:3], velocity[:3])
        return covariance


def _unknown() -> Twist:
    return Twist(np.zeros(6), np.eye(6) * UNKNOWN_VARIANCE)
