"""What is known beforehand of the sources of scale."""

from __future__ import annotations

from dataclasses import dataclass

from scal3r_ros.configuration import parameter


@dataclass(frozen=True)
class ScaleConfig:
    """The sources of scale: what they cannot measure themselves. Topics that bring no messages change nothing."""

    camera_height: float = parameter(
        0.0, "height of the camera above the ground that it travels on; 0 where it is not known or not constant",
        unit="m", minimum=0.0, maximum=100.0,
    )  # fmt: skip
    camera_height_sigma: float = parameter(
        0.01, "standard deviation of that height, as a share of it", minimum=1e-4, maximum=1.0
    )
    wheel_sigma: float = parameter(
        0.01, "standard deviation of the circumference of the wheels, as a share of it", minimum=1e-4, maximum=1.0
    )
    gnss_sigma: float = parameter(
        3.0, "standard deviation of a fix that comes without covariance, each way", unit="m", minimum=0.001,
        maximum=1000.0,
    )  # fmt: skip
    gnss_correlation_s: float = parameter(
        2.0, "time in which the errors of fixes are the same: that many seconds of fixes count as one",
        unit="s", minimum=0.0, maximum=3600.0,
    )  # fmt: skip
    imu_gyro_noise: float = parameter(
        2e-3, "noise of the angular velocity", unit="rad/s/√Hz", minimum=1e-7, maximum=1.0
    )
    imu_accel_noise: float = parameter(2e-2, "noise of the acceleration", unit="m/s²/√Hz", minimum=1e-6, maximum=10.0)
    imu_accel_bias: float = parameter(
        0.05, "standard deviation of the acceleration's bias", unit="m/s²", minimum=1e-6, maximum=10.0
    )
