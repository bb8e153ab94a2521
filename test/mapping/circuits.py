"""Drives that come back: round a block, once and a little further."""

from __future__ import annotations

import math

import numpy as np

from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.sequences.ground_truth import even_stamps
from scal3r_ros.simulation.levelling import CAMERA_HEIGHT_M


def round_a_block(side_m: float, beyond_m: float, step_m: float = 1.0, radius_m: float = 10.0) -> Trajectory:
    """Poses T_world_cam, ten a second and `step_m` apart, round a square with round corners and `beyond_m` further."""
    straight, arc = side_m - 2 * radius_m, 0.5 * math.pi * radius_m
    length = 4 * (straight + arc)
    s = np.arange(0.0, length + beyond_m, 0.05)
    along = np.mod(s, straight + arc)
    curvature = np.where(along < straight, 0.0, 1.0 / radius_m)
    heading = np.cumsum(curvature) * 0.05
    heading *= np.round(heading[-1] / (math.pi / 2)) * (math.pi / 2) / heading[-1]
    x, y = np.cumsum(np.cos(heading)) * 0.05, np.cumsum(np.sin(heading)) * 0.05
    some = slice(None, None, round(step_m / 0.05))
    x, y, heading = x[some], y[some], heading[some]
    T = np.tile(np.eye(4), (len(x), 1, 1))
    zero = np.zeros_like(heading)
    T[:, :3, 0] = np.stack([np.sin(heading), -np.cos(heading), zero], axis=-1)
    T[:, :3, 1] = [0.0, 0.0, -1.0]
    T[:, :3, 2] = np.stack([np.cos(heading), np.sin(heading), zero], axis=-1)
    T[:, :3, 3] = np.stack([x, y, zero + CAMERA_HEIGHT_M], axis=-1)
    return Trajectory(even_stamps(len(x), 10.0), T)
