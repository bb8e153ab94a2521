"""A consumer IMU on a simulated drive: noise, biases that wander, and where it is mounted."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.geometry import se3
from scal3r_ros.mapping.values import ImuSample
from scal3r_ros.simulation.sensors.motion import SmoothMotion

Array = NDArray[np.float64]

UPWARDS = np.array([0.0, 0.0, 9.80665])
"""What an accelerometer at rest feels, in a level frame, m/s²."""


def _mount() -> Array:
    """x forward, y left, z up, 10 cm behind and 5 cm below the camera: T_imu_cam."""
    R_imu_cam = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
    return se3.se3(R_imu_cam, np.array([0.10, 0.02, 0.05]))


@dataclass(frozen=True, eq=False)
class ImuModel:
    """Errors as of a phone's or hobbyist's IMU on a running engine; densities in unit/√Hz, biases in unit."""

    rate_hz: float = 200.0
    gyro_noise: float = 5e-4
    accel_noise: float = 1e-2
    gyro_bias: float = 3e-3
    accel_bias: float = 0.04
    gyro_wander: float = 2e-5
    accel_wander: float = 5e-4
    T_imu_cam: Array = field(default_factory=_mount)


def simulate_imu(motion: SmoothMotion, seed: int = 0, model: ImuModel | None = None) -> list[ImuSample]:
    """Samples along a drive. Equal arguments give equal samples."""
    model = model or ImuModel()
    rng = np.random.default_rng([seed, 1])
    stamps = motion.stamps_at(model.rate_hz)
    R_level_cam = motion.poses(stamps)[:, :3, :3]
    omega, alpha = motion.angular_velocity(stamps), motion.angular_acceleration(stamps)
    T_cam_imu = se3.invert(model.T_imu_cam)
    lever = T_cam_imu[:3, 3]  # the IMU in the camera's frame: it turns about the camera
    turning = np.cross(alpha, lever) + np.cross(omega, np.cross(omega, lever))
    felt = np.einsum("nji,nj->ni", R_level_cam, motion.acceleration(stamps) + UPWARDS) + turning
    R_imu_cam = model.T_imu_cam[:3, :3]
    gyro = omega @ R_imu_cam.T + _errors(
        rng, len(stamps), model.rate_hz, model.gyro_noise, model.gyro_bias, model.gyro_wander
    )
    accel = felt @ R_imu_cam.T + _errors(
        rng, len(stamps), model.rate_hz, model.accel_noise, model.accel_bias, model.accel_wander
    )
    return [ImuSample(int(stamp), w, a, model.T_imu_cam) for stamp, w, a in zip(stamps, gyro, accel, strict=True)]


def _errors(rng: np.random.Generator, count: int, rate_hz: float, noise: float, bias: float, wander: float) -> Array:
    shape = (count, 3)
    walk = np.cumsum(rng.normal(size=shape), axis=0) * wander / np.sqrt(rate_hz)
    return np.asarray(rng.normal(size=3) * bias + walk + rng.normal(size=shape) * noise * np.sqrt(rate_hz))
