"""Trajectories of a camera in a car."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from scal3r_ros.errors import SimulationError
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.io.trajectories import even_stamps
from scal3r_ros.simulation.drives.levelling import CAMERA_HEIGHT_M

TURN_RADIUS_M = 14.0
# A raised cosine of this length and height 1/radius turns by 90°.
TURN_M = math.pi * TURN_RADIUS_M
TURN_SPACING_M = 110.0
SIDEWAYS_MPS2 = 2.5
STEP_M = 0.05


def street_drive(length_m: float, speed_mps: float = 8.0, rate_hz: float = 10.0, seed: int = 0) -> Trajectory:
    """A drive through gentle curves and turns of 90°, right and left in turn, so that it never crosses itself.

    Poses T_world_cam in metres, z up, starting 1.65 m above the origin and looking along x; the car slows down to
    turn, and rolls, pitches and heaves a little. Equal arguments give equal poses.

    Raises:
        SimulationError: a length, speed or rate is not positive.
    """
    if min(length_m, speed_mps, rate_hz) <= 0 or not all(map(math.isfinite, (length_m, speed_mps, rate_hz))):
        raise SimulationError(
            f"drive of {length_m} m at {speed_mps} m/s and {rate_hz} Hz cannot be made; all three must be positive"
        )
    rng = np.random.default_rng(seed)
    s = np.arange(0.0, length_m + STEP_M, STEP_M)
    return drive_of(_curvature(s, rng), speed_mps, rate_hz, rng)


def drive_of(curvature: NDArray[np.float64], speed_mps: float, rate_hz: float, rng: np.random.Generator) -> Trajectory:
    """The drive of a car along a path with curvature (1/m) given every `STEP_M`; poses as of `street_drive`."""
    heading = np.concatenate([[0.0], np.cumsum(0.5 * (curvature[1:] + curvature[:-1])) * STEP_M])
    x = np.concatenate([[0.0], np.cumsum(np.cos(heading[:-1])) * STEP_M])
    y = np.concatenate([[0.0], np.cumsum(np.sin(heading[:-1])) * STEP_M])
    speed = np.minimum(speed_mps, np.sqrt(SIDEWAYS_MPS2 / np.maximum(np.abs(curvature), 1e-6)))
    speed = gaussian_filter1d(speed, 6.0 / STEP_M, mode="nearest")  # brakes before the turn, gathers speed after it
    time = np.concatenate([[0.0], np.cumsum(STEP_M / speed[:-1])])

    count = int(np.floor(time[-1] * rate_hz)) + 1
    at = np.arange(count) / rate_hz
    x, y, heading = (np.interp(at, time, values) for values in (x, y, heading))
    return Trajectory(even_stamps(count, rate_hz), _camera_poses(x, y, heading, at, rng))


def _curvature(s: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Curvature (1/m) along a drive: waves that cancel, and now and then a smooth turn of 90°."""
    curvature = np.zeros_like(s)
    for wavelength in (170.0, 73.0):
        swing = math.radians(float(rng.uniform(2.0, 5.0)))  # amplitude of the heading
        curvature += (
            swing * 2 * math.pi / wavelength * np.sin(2 * math.pi * s / wavelength + rng.uniform(0, 2 * math.pi))
        )
    length = TURN_M
    side = float(rng.choice([-1.0, 1.0]))
    begin = float(rng.uniform(0.5, 0.8)) * TURN_SPACING_M
    while begin < s[-1]:
        inside = (s >= begin) & (s <= begin + length)
        curvature[inside] += side * turn_of_90_degrees(s[inside] - begin)
        side = -side
        begin += length + float(rng.uniform(0.7, 1.3)) * TURN_SPACING_M
    return curvature


def turn_of_90_degrees(s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Curvature (1/m) after `s` metres of a turn of 90° to the left, which is `TURN_M` long."""
    return np.asarray((0.5 / TURN_RADIUS_M) * (1.0 - np.cos(2 * math.pi * s / TURN_M)))


def _camera_poses(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    heading: NDArray[np.float64],
    time: NDArray[np.float64],
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    pitch = _sway(time, math.radians(0.25), rng)
    roll = _sway(time, math.radians(0.3), rng)
    heave = _sway(time, 0.008, rng)
    ch, sh, cp, sp = np.cos(heading), np.sin(heading), np.cos(pitch), np.sin(pitch)
    forward = np.stack([ch * cp, sh * cp, sp], axis=-1)
    level_right = np.stack([sh, -ch, np.zeros_like(ch)], axis=-1)
    level_down = np.cross(forward, level_right)
    c, r = np.cos(roll)[:, None], np.sin(roll)[:, None]
    T = np.tile(np.eye(4), (len(time), 1, 1))
    T[:, :3, 0] = c * level_right + r * level_down
    T[:, :3, 1] = c * level_down - r * level_right
    T[:, :3, 2] = forward
    T[:, :3, 3] = np.stack([x, y, CAMERA_HEIGHT_M + heave], axis=-1)
    return T


def _sway(time: NDArray[np.float64], strength: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """A car body's motion on its springs: three slow waves."""
    waves = [np.sin(2 * math.pi * rate * time + rng.uniform(0, 2 * math.pi)) for rate in (0.23, 0.61, 1.3)]
    return np.asarray(strength * (waves[0] + 0.7 * waves[1] + 0.5 * waves[2]))
