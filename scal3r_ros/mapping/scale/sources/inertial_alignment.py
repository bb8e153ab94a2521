"""Gravity, scale and biases that make a camera's motion agree with what an IMU felt.

The linear alignment of VINS-Mono (Qin, Li, Shen, T-RO 2018, section V-B), with the accelerometer's bias among the
unknowns under its prior, gravity of known length, and every measurement weighed by its covariance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.geometry import se3
from scal3r_ros.mapping.scale.sources.preintegration import Preintegrated

Array = NDArray[np.float64]

GRAVITY = 9.80665
ROUNDS = 6
FIRST_SIGMA = 1.0
"""Standard deviation of the log scale in the first, linear step, where the scale is not known at all."""


@dataclass(frozen=True, eq=False)
class InertialAlignment:
    """`up` (3,), a unit vector in the camera's reference frame, and the metres in its unit, with standard deviations.

    `misfit` is the root mean square of the residuals in their sigmas: 1 where these sigmas are right.
    """

    up: Array
    up_sigma_rad: float
    log_scale: float
    log_scale_sigma: float
    accel_bias: Array
    misfit: float


def gyro_bias(R_ref_imu: Array, measured: Sequence[Preintegrated]) -> Array:
    """The bias (3,) of the angular velocity, by which both rotations agree best."""
    A, b = np.zeros((3, 3)), np.zeros(3)
    for k, m in enumerate(measured):
        J = m.rotation_by_gyro
        A += J.T @ J
        b += J.T @ se3.rotation_log(m.rotation.T @ R_ref_imu[k].T @ R_ref_imu[k + 1])
    return np.asarray(np.linalg.solve(A + 1e-9 * np.eye(3), b))


def align_inertial(
    T_ref_cam: Array, T_imu_cam: Array, measured: Sequence[Preintegrated], centre_sigma: float, bias_sigma: float
) -> InertialAlignment | None:
    """The camera's poses (n, 4, 4) in a frame and unit of their own against the n − 1 measurements between them.

    `centre_sigma` is the standard deviation of a camera centre against the one before, in that unit; `bias_sigma` that
    of the accelerometer's bias in m/s². None where the two cannot be brought together.
    """
    n = len(T_ref_cam)
    if n < 4 or len(measured) != n - 1:
        return None
    R = T_ref_cam[:, :3, :3] @ T_imu_cam[:3, :3].T  # R_ref_imu
    # Centre of the IMU: s c + R_ref_cam · lever, the lever in metres.
    lever = np.einsum("nij,j->ni", T_ref_cam[:, :3, :3], se3.invert(T_imu_cam)[:3, 3])
    centres = T_ref_cam[:, :3, 3]
    # Unknowns: velocities (3n), gravity (3), bias (3), scale (1).
    size = 3 * n + 7
    g_at, b_at, s_at = 3 * n, 3 * n + 3, 3 * n + 6
    scale = 0.0
    gravity: Array | None = None
    x: Array = np.zeros(size)
    for _ in range(ROUNDS):
        H, y, total, rows = np.zeros((size, size)), np.zeros(size), 0.0, 0
        H[b_at : b_at + 3, b_at : b_at + 3] += np.eye(3) / bias_sigma**2
        blocks = []
        for k, m in enumerate(measured):
            dt = m.seconds
            A, z = np.zeros((6, size)), np.zeros(6)
            A[:3, s_at] = centres[k + 1] - centres[k]
            A[:3, 3 * k : 3 * k + 3] = -dt * np.eye(3)
            A[:3, g_at : g_at + 3] = -0.5 * dt**2 * np.eye(3)
            A[:3, b_at : b_at + 3] = -R[k] @ m.way_by_accel
            z[:3] = R[k] @ m.way - (lever[k + 1] - lever[k])
            A[3:, 3 * k : 3 * k + 3], A[3:, 3 * k + 3 : 3 * k + 6] = -np.eye(3), np.eye(3)
            A[3:, g_at : g_at + 3] = -dt * np.eye(3)
            A[3:, b_at : b_at + 3] = -R[k] @ m.velocity_by_accel
            z[3:] = R[k] @ m.velocity
            turned = np.kron(np.eye(2), R[k])
            noise = turned @ m.covariance[3:, 3:] @ turned.T
            noise[:3, :3] += np.eye(3) * (max(scale, 1e-3) * centre_sigma) ** 2
            # A tilt of the camera's pose turns the force felt: 0.05° of 9.81 m/s².
            noise[3:, 3:] += np.eye(3) * (8.6e-3 * dt) ** 2
            noise[:3, :3] += np.eye(3) * (4.3e-3 * dt**2) ** 2
            W = np.linalg.inv(noise)
            H += A.T @ W @ A
            y += A.T @ W @ z
            blocks.append((A, z, W))
        if gravity is not None:  # its length is known: fixed along itself
            along = gravity / GRAVITY
            H[g_at : g_at + 3, g_at : g_at + 3] += np.outer(along, along) / 1e-3**2
            y[g_at : g_at + 3] += along * GRAVITY / 1e-3**2
        H += 1e-12 * np.diag(np.maximum(np.diag(H), 1e-12))
        try:
            x = np.asarray(np.linalg.solve(H, y), np.float64)
            covariance = np.linalg.inv(H)
        except np.linalg.LinAlgError:
            return None
        length = float(np.linalg.norm(x[g_at : g_at + 3]))
        if not np.isfinite(x).all() or length < 1e-6:
            return None
        gravity = np.asarray(x[g_at : g_at + 3] * (GRAVITY / length))
        scale = float(x[s_at])
        for A, z, W in blocks:
            r = A @ x - z
            total, rows = total + float(r @ W @ r), rows + 6
    if scale <= 0 or gravity is None:
        return None
    misfit = float(np.sqrt(total / max(1, rows - size + 4)))
    wider = max(1.0, misfit)
    across = np.eye(3) - np.outer(gravity, gravity) / GRAVITY**2
    tilt = across @ covariance[g_at : g_at + 3, g_at : g_at + 3] @ across / GRAVITY**2
    return InertialAlignment(
        -gravity / GRAVITY,
        wider * float(np.sqrt(np.trace(tilt) / 2.0)),
        float(np.log(scale)),
        wider * float(np.sqrt(covariance[s_at, s_at])) / scale,
        x[b_at : b_at + 3],
        misfit,
    )
