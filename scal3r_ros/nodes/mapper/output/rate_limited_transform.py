"""Moves map → odom towards the graph's solution by bounded steps, so that no one who plans in `map` sees a jump."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.geometry import se3

Array = NDArray[np.float64]

_SHORTER = 0.7
"""By so much a step is shortened until the robot, far from the origin, moves no further than allowed either."""


class RateLimitedTransform:
    """`T_map_odom` (4, 4) as it is given out, on its way to `target`.

    Between two calls of `advance` neither it nor the robot's position in `map` moves by more than `step_m`, and it
    turns by no more than `step_deg`.
    """

    def __init__(self, step_m: float, step_deg: float) -> None:
        self.limit(step_m, step_deg)
        self.reset()

    def limit(self, step_m: float, step_deg: float) -> None:
        """Take steps of at most so much from now on."""
        self._step_m, self._step_rad = step_m, math.radians(step_deg)

    def reset(self) -> None:
        """Begin without any correction."""
        self.target: Array = np.eye(4)
        self._given: Array = np.eye(4)

    def jump(self) -> None:
        """Give out the target from now on: `map` is another frame than it was, so nothing lies between the two."""
        self._given = self.target

    def advance(self, here: Array) -> Array:
        """The next transform to give out for a robot at `here` (3,) in `odom`."""
        way = float(np.linalg.norm(self.target[:3, 3] - self._given[:3, 3]))
        angle = float(se3.rotation_angle(self._given[:3, :3].T @ self.target[:3, :3]))
        if way <= 1e-9 and angle <= 1e-9:
            self._given = self.target
            return self._given
        share = min(1.0, self._step_m / max(way, 1e-12), self._step_rad / max(angle, 1e-12))
        at = self._given[:3, :3] @ here + self._given[:3, 3]
        while True:
            turned = se3.interpolate(self._given, self.target, share)[:3, :3]
            moved = (1.0 - share) * self._given[:3, 3] + share * self.target[:3, 3]
            if float(np.linalg.norm(turned @ here + moved - at)) <= self._step_m * (1.0 + 1e-9):
                break
            share *= _SHORTER
        self._given = self.target if share == 1.0 else se3.se3(turned, moved)
        return self._given
