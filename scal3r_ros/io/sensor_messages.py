"""Messages of wheels, IMUs and satellite receivers as samples; messages of rclpy and of bags have the same fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.geometry.se3 import invert, rotation_from_quat_xyzw, se3
from scal3r_ros.mapping.values import Fix, ImuSample, SensorSample, WheelOdometry

Array = NDArray[np.float64]

WITHOUT_MOUNT: Mapping[type[SensorSample], str] = {
    WheelOdometry: "used in straight driving only",
    ImuSample: "not used",
    Fix: "taken to be at the camera",
}
"""What becomes of the samples of a sensor whose mount is not known."""

_NO_FIX = -1
_UNKNOWN_COVARIANCE = 0


def frame_of(message: Any, kind: type[SensorSample]) -> str:
    """The frame that the sensor is mounted in: for wheel odometry that of the base."""
    return str(message.child_frame_id if kind is WheelOdometry else message.header.frame_id)


def sample_of(message: Any, kind: type[SensorSample], stamp_ns: int, T_frame_cam: Array | None) -> SensorSample | None:
    """A nav_msgs/Odometry, sensor_msgs/Imu or NavSatFix, by `kind`, as a sample; None where it cannot be used.

    `T_frame_cam` (4, 4) is the camera in the frame that `frame_of` names, in metres; None where it is not known.

    Raises:
        ValueError: the orientation of an odometry is no rotation.
    """
    if kind is WheelOdometry:
        pose = message.pose.pose
        return WheelOdometry(stamp_ns, matrix_of_pose(pose.position, pose.orientation), T_frame_cam)
    if kind is ImuSample:
        rate, force = message.angular_velocity, message.linear_acceleration
        if T_frame_cam is None:
            return None
        return ImuSample(
            stamp_ns, np.array([rate.x, rate.y, rate.z]), np.array([force.x, force.y, force.z]), T_frame_cam
        )
    if message.status.status <= _NO_FIX:
        return None
    antenna = np.zeros(3) if T_frame_cam is None else invert(T_frame_cam)[:3, 3]
    known = message.position_covariance_type != _UNKNOWN_COVARIANCE
    covariance = np.array(message.position_covariance, np.float64).reshape(3, 3) if known else None
    return Fix(stamp_ns, message.latitude, message.longitude, message.altitude, covariance, antenna)


def matrix_of_pose(position: Any, orientation: Any) -> Array:
    """T (4, 4) of a position and a quaternion.

    Raises:
        ValueError: the quaternion has no length.
    """
    q = orientation
    return np.asarray(se3(rotation_from_quat_xyzw([q.x, q.y, q.z, q.w]), [position.x, position.y, position.z]))
