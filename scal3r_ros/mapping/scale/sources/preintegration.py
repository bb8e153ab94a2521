"""What an IMU measures between two keyframes, by GTSAM's preintegration (Forster et al., T-RO 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import gtsam
import numpy as np
from numpy.typing import NDArray

from scal3r_ros.geometry import se3
from scal3r_ros.mapping.scale.config import ScaleConfig
from scal3r_ros.mapping.values import ImuSample

Array = NDArray[np.float64]

LONGEST_GAP_S = 0.05
"""Time between two samples beyond which the way between them is unknown."""


@dataclass(frozen=True, eq=False)
class Preintegrated:
    """Rotation (3, 3), way (3,) in m and change of velocity (3,) in m/s over `seconds`, without gravity.

    All in the axes of the IMU at the beginning. `covariance` (9, 9) in the order rotation, way, velocity; the Jacobians
    (3, 3) are those of the same by the biases.
    """

    seconds: float
    rotation: Array
    way: Array
    velocity: Array
    covariance: Array
    rotation_by_gyro: Array
    way_by_gyro: Array
    way_by_accel: Array
    velocity_by_gyro: Array
    velocity_by_accel: Array

    def corrected(self, gyro_bias: Array) -> Preintegrated:
        """The measurement for another bias of the angular velocity, by so much (3,), to first order."""
        return replace(
            self,
            rotation=self.rotation @ se3.rotation_exp(self.rotation_by_gyro @ gyro_bias),
            way=self.way + self.way_by_gyro @ gyro_bias,
            velocity=self.velocity + self.velocity_by_gyro @ gyro_bias,
        )


def preintegrate(
    samples: Sequence[ImuSample], first_ns: int, last_ns: int, config: ScaleConfig
) -> Preintegrated | None:
    """The samples from `first_ns` to `last_ns`, taken to have no bias, as one; None where they leave a gap."""
    parameters = gtsam.PreintegrationParams(np.zeros(3))  # gravity is unknown yet, and left in
    parameters.setGyroscopeCovariance(np.eye(3) * config.imu_gyro_noise**2)
    parameters.setAccelerometerCovariance(np.eye(3) * config.imu_accel_noise**2)
    parameters.setIntegrationCovariance(np.eye(3) * 1e-8)
    measured = gtsam.PreintegratedImuMeasurements(parameters, gtsam.imuBias.ConstantBias())
    at_ns = first_ns
    for sample in samples:
        if sample.stamp_ns <= first_ns:
            continue
        step = (min(sample.stamp_ns, last_ns) - at_ns) * 1e-9
        if step > LONGEST_GAP_S:
            return None
        if step > 0:
            measured.integrateMeasurement(sample.linear_acceleration, sample.angular_velocity, step)
        at_ns = min(sample.stamp_ns, last_ns)
    if at_ns < last_ns:
        return None
    by_bias = _derivatives(measured)
    return Preintegrated(
        float(measured.deltaTij()),
        measured.deltaRij().matrix(),
        measured.deltaPij(),
        measured.deltaVij(),
        measured.preintMeasCov(),
        rotation_by_gyro=by_bias[:3, 3:],
        way_by_gyro=by_bias[3:6, 3:],
        way_by_accel=by_bias[3:6, :3],
        velocity_by_gyro=by_bias[6:, 3:],
        velocity_by_accel=by_bias[6:, :3],
    )


def _derivatives(measured: gtsam.PreintegratedImuMeasurements) -> Array:
    """Derivatives (9, 6) of rotation, way and velocity by the biases of acceleration and angular velocity.

    GTSAM keeps them to itself, but corrects its prediction for a bias by them: to first order, so that a difference
    gives them back.
    """
    step = 1e-5

    def delta(change: Array) -> Array:
        bias = gtsam.imuBias.ConstantBias(change[:3], change[3:])
        state = measured.predict(gtsam.NavState(), bias)
        turn = se3.rotation_log(measured.deltaRij().matrix().T @ state.attitude().matrix())
        return np.concatenate([turn, state.position(), state.velocity()])

    columns = [(delta(step * unit) - delta(-step * unit)) / (2 * step) for unit in np.eye(6)]
    return np.stack(columns, axis=1)
