"""Topics and frames of the bags this package writes, and the message definitions it reads and writes them with."""

from __future__ import annotations

from functools import cache
from typing import Any

from rosbags.typesys import Stores, get_typestore
from rosbags.typesys.store import Typestore

IMAGE_TOPIC = "/camera/image"
CAMERA_INFO_TOPIC = "/camera/camera_info"
TRUE_POSE_TOPIC = "/ground_truth/pose"
TRUE_DEPTH_TOPIC = "/ground_truth/depth"

STATIC_TRANSFORM_TOPIC = "/tf_static"

CAMERA_FRAME = "camera_optical"
BASE_FRAME = "base_link"
IMU_FRAME = "imu_link"
GNSS_FRAME = "gnss_link"
WORLD_FRAME = "world"

FIRST_STAMP_NS = 1_000_000_000 * 1_000_000_000
"""Stamp of the first frame of a sequence that has no clock, in nanoseconds."""


@cache
def typestore() -> Typestore:
    """The definitions of the standard ROS 2 messages; those used here are the same in every supported distribution."""
    return get_typestore(Stores.ROS2_JAZZY)


def header(stamp_ns: int, frame: str) -> Any:
    """A message's header."""
    types = typestore().types
    stamp = types["builtin_interfaces/msg/Time"](sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
    return types["std_msgs/msg/Header"](stamp=stamp, frame_id=frame)
