"""What a pose is worth while the camera sees nothing known: extrapolated for a moment, lost from then on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from scal3r_ros.geometry import se3
from scal3r_ros.mapping.frontend.tracker import Tracked
from scal3r_ros.mapping.values import PoseSource

LOST_AFTER_S = 0.5
_FORGETS_S = 5.0
_LEAST_TURN = np.deg2rad(30.0)
"""rad/s that any camera may be turned by while nobody sees it."""


class Sight:
    """Judges poses in turn. State: when the last one was measured, and how fast the camera has been of late."""

    def __init__(self) -> None:
        self._last: Tracked | None = None
        self._last_ns = 0
        self._speed, self._turn = 0.0, float(_LEAST_TURN)

    def judged(self, tracked: Tracked, stamp_ns: int, connected: bool) -> Tracked:
        """The pose, said to be lost where no image has shown it for `LOST_AFTER_S`, or to be unconnected.

        A lost one is as uncertain as the camera may have gone at the greatest speed of the last seconds.
        """
        if tracked.source.measured:
            self._learn(tracked, stamp_ns)
            return tracked if connected else replace(tracked, source=PoseSource.UNCONNECTED)
        blind_s = (stamp_ns - self._last_ns) * 1e-9 if self._last is not None else float("inf")
        if blind_s <= LOST_AFTER_S:
            return tracked
        blind_s = min(blind_s, 60.0)
        way, turn = self._speed * blind_s, min(self._turn * blind_s, np.pi)
        wider = tracked.covariance + np.diag(np.square([way] * 3 + [turn] * 3))
        return Tracked(tracked.T_ref_cam, wider, PoseSource.LOST)

    def _learn(self, tracked: Tracked, stamp_ns: int) -> None:
        seconds = (stamp_ns - self._last_ns) * 1e-9
        if self._last is not None and 0 < seconds <= LOST_AFTER_S:
            step = se3.invert(self._last.T_ref_cam) @ tracked.T_ref_cam
            fade = np.exp(-seconds / _FORGETS_S)
            self._speed = max(fade * self._speed, float(np.linalg.norm(step[:3, 3])) / seconds)
            self._turn = max(fade * self._turn, _LEAST_TURN, se3.rotation_angle(step[:3, :3]) / seconds)
        self._last, self._last_ns = tracked, stamp_ns
