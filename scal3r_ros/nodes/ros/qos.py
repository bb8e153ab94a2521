"""Quality of service of the topics."""

from __future__ import annotations

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.topic_endpoint_info import TopicEndpointInfo

from scal3r_ros.nodes.ros.parameters import ImageQosConfig

LATCHED = QoSProfile(
    depth=1,
    history=HistoryPolicy.KEEP_LAST,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
"""The last message goes to whoever subscribes later."""

STATIC_TRANSFORMS = QoSProfile(
    depth=100,
    history=HistoryPolicy.KEEP_LAST,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
"""As tf2 listens to /tf_static."""

TRANSFORMS = QoSProfile(depth=100, history=HistoryPolicy.KEEP_LAST, reliability=ReliabilityPolicy.RELIABLE)
"""As tf2 publishes /tf."""

SAMPLES = QoSProfile(
    depth=200,
    history=HistoryPolicy.KEEP_LAST,
    reliability=ReliabilityPolicy.BEST_EFFORT,
    durability=DurabilityPolicy.VOLATILE,
)
"""Samples of other sensors: as sensor data, but a second of an IMU deep."""

STREAM = QoSProfile(depth=10, history=HistoryPolicy.KEEP_LAST, reliability=ReliabilityPolicy.RELIABLE)
"""Reliable outputs that only matter when they are new."""


def image_qos(config: ImageQosConfig) -> QoSProfile:
    """Of the image and camera_info subscriptions."""
    reliable = config.reliability == "reliable"
    return QoSProfile(
        depth=config.depth,
        history=HistoryPolicy.KEEP_LAST,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.VOLATILE,
    )


def describe_publisher(info: TopicEndpointInfo) -> str:
    """A publisher with its type and QoS in a few words."""
    name = f"{info.node_namespace.rstrip('/')}/{info.node_name}"
    qos = info.qos_profile
    return f"{name} ({info.topic_type}, {qos.reliability.name.lower()}, {qos.durability.name.lower()})"
