"""What is not known of submaps and cameras in `odom`: covariances along the chain of submaps.

A submap's covariance (7, 7) is that of δ in `S_odom_submap @ Sim3.from_log(δ)`, in the order of `Sim3.log`: in the axes
and the unit of the submap, whatever the unit of `odom`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.geometry import se3
from scal3r_ros.geometry.sim3 import Sim3

Array = NDArray[np.float64]


def chained(covariance: Array, S_before_now: Sim3, step: Array) -> Array:
    """Covariance (7, 7) of a submap, from that of the submap before and that of the step between both (7, 7)."""
    adjoint = S_before_now.inverse().adjoint()
    moved = adjoint @ covariance @ adjoint.T + step
    return np.asarray((moved + moved.T) / 2.0)


def with_scale_sigma(covariance: Array, sigma: float) -> Array:
    """The covariance (7, 7) where the log scale has become known to `sigma`.

    What the others have in common with the scale shrinks with it, and what is left over of them stays.
    """
    shrinking = np.ones(7)
    shrinking[6] = sigma / max(float(np.sqrt(covariance[6, 6])), 1e-12)
    shrunk = covariance * np.outer(shrinking, shrinking)
    shrunk[6, 6] = sigma**2
    return np.asarray(shrunk)


def camera_covariance(covariance: Array, S_odom_submap: Sim3, T_odom_cam: Array) -> Array:
    """Covariance (6, 6) of a camera that hangs on a submap: x y z in `odom`, and rotations about its axes, in rad."""
    s, R = S_odom_submap.scale, S_odom_submap.R
    lever = T_odom_cam[:3, 3] - S_odom_submap.t
    jacobian = np.zeros((6, 7))
    jacobian[:3, :3] = s * R
    jacobian[:3, 3:6] = -se3.hat(lever) @ R
    jacobian[:3, 6] = lever
    jacobian[3:, 3:6] = R
    return np.asarray(jacobian @ covariance @ jacobian.T)
