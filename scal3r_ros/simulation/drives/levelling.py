"""The vertical of a camera trajectory, and how to lay the trajectory on one ground."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.errors import SimulationError
from scal3r_ros.geometry.se3 import invert
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.simulation.town.centreline import Ground

CAMERA_HEIGHT_M = 1.65
LEVEL_ENOUGH_M = 0.2
LEVELLING_ROUNDS = 100


def levelled(drive: Trajectory) -> Trajectory:
    """The drive with its cameras raised or lowered so that one ground lies below them.

    Measured trajectories return to a place at another height than they left it, but a world has one ground. Heights are
    smoothed along and across the passes of a place until they agree.
    """
    T_level_ref = upright(drive.T_ref_cam)
    T_level_cam = T_level_ref @ drive.T_ref_cam
    path = T_level_cam[:, :3, 3]
    for _ in range(LEVELLING_ROUNDS):
        smooth = Ground(path).heights(path[:, :2])
        change = float(np.abs(smooth - path[:, 2]).max())
        path[:, 2] = smooth
        if change < LEVEL_ENOUGH_M:
            break
    return Trajectory(drive.stamps_ns, invert(T_level_ref) @ T_level_cam)


def upright(T_ref_cam: NDArray[np.float64]) -> NDArray[np.float64]:
    """The smallest turn (4, 4) that takes the mean upward direction of cameras (n, 4, 4) to z.

    Raises:
        SimulationError: the tops of the cameras point in all directions.
    """
    up = -T_ref_cam[:, :3, 1].mean(axis=0)
    length = float(np.linalg.norm(up))
    if length < 0.3:
        raise SimulationError(
            "drive turns the camera over and over, so that no direction is up; give a drive on a road"
        )
    up /= length
    axis, cosine = np.cross(up, [0.0, 0.0, 1.0]), float(up[2])
    T = np.eye(4)
    if cosine < -0.999999:
        T[:3, :3] = np.diag([1.0, -1.0, -1.0])
        return T
    hat = np.array([[0.0, -axis[2], axis[1]], [axis[2], 0.0, -axis[0]], [-axis[1], axis[0], 0.0]])
    T[:3, :3] = np.eye(3) + hat + hat @ hat / (1.0 + cosine)
    return T
