"""The node's subscriptions to sensors beside the camera: wheel odometry, IMU and satellite fixes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from nav_msgs.msg import Odometry
from numpy.typing import NDArray
from rclpy.lifecycle import LifecycleNode
from rclpy.subscription import Subscription
from sensor_msgs.msg import Imu, NavSatFix

from scal3r_ros.io.sensor_messages import WITHOUT_MOUNT, frame_of, sample_of
from scal3r_ros.mapping.values import Fix, ImuSample, SensorSample, WheelOdometry
from scal3r_ros.nodes.mapper.statistics import Statistics, describe
from scal3r_ros.nodes.ros.messages import stamp_ns
from scal3r_ros.nodes.ros.qos import SAMPLES
from scal3r_ros.nodes.ros.transforms import StaticTransforms

TOPICS: dict[str, tuple[type, type[SensorSample]]] = {
    "wheel_odometry": (Odometry, WheelOdometry),
    "imu": (Imu, ImuSample),
    "fix": (NavSatFix, Fix),
}
"""Message and sample by the name of the topic."""

MOUNT_WAIT_S = 1.0
"""How long after the first sample /tf_static may come until a sensor is used as far as that goes without its mount."""


class SensorInput:
    """Gives samples to `take` between `open` and `close`, once an image has shown the camera's frame.

    What is no use is counted: a sample without a stamp, or one that cannot be read.
    """

    def __init__(
        self,
        node: LifecycleNode,
        camera_frame: str,
        statics: StaticTransforms,
        take: Callable[[SensorSample], None],
        statistics: Statistics,
    ) -> None:
        self._node = node
        self._given_frame = self._camera_frame = camera_frame
        self._statics = statics
        self._take = take
        self._statistics = statistics
        self._subscriptions: list[Subscription] = []
        self._mounts: dict[tuple[str, str], NDArray[Any]] = {}
        self._missing_since_s: dict[str, float] = {}
        self._warned: set[str] = set()

    def open(self) -> None:
        """Subscribes."""
        self._mounts.clear()
        self._subscriptions = [
            self._node.create_subscription(message, topic, self._receiver(topic, sample), SAMPLES)
            for topic, (message, sample) in TOPICS.items()
        ]

    def close(self) -> None:
        """Hears nothing more."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions = []

    def saw_image(self, frame_id: str) -> None:
        """An image in this frame came; it is the camera's where no parameter names another."""
        self._camera_frame = self._given_frame or frame_id

    def _receiver(self, topic: str, kind: type[SensorSample]) -> Callable[[Any], None]:
        return lambda message: self._receive(topic, kind, message)

    def _receive(self, topic: str, kind: type[SensorSample], message: Any) -> None:
        if not self._camera_frame:
            return
        stamp = stamp_ns(message.header.stamp)
        faults = self._statistics.faults
        if stamp == 0:
            faults.report(f"{topic} without stamp", f"{topic}: a message has no stamp and is not used")
            return
        frame = frame_of(message, kind)
        T_frame_cam = self._mount(frame)
        if T_frame_cam is None and not self._waited_for_mount(topic, kind, frame):
            return
        try:
            sample = sample_of(message, kind, stamp, T_frame_cam)
        except ValueError as error:
            faults.report(f"{topic} unusable", f"{topic}: a message cannot be used: {describe(error)}")
            return
        if sample is not None:
            self._statistics.activity.sample_received(topic)
            self._take(sample)

    def _mount(self, frame: str) -> NDArray[Any] | None:
        key = (frame, self._camera_frame)
        if key not in self._mounts:
            T_frame_cam = self._statics.lookup(*key)
            if T_frame_cam is None:
                return None
            self._mounts[key] = T_frame_cam
        return self._mounts[key]

    def _waited_for_mount(self, topic: str, kind: type[SensorSample], frame: str) -> bool:
        since_s = self._missing_since_s.setdefault(topic, time.monotonic())
        if time.monotonic() - since_s < MOUNT_WAIT_S:
            return False
        if topic not in self._warned:
            self._warned.add(topic)
            self._statistics.warn(
                f"/tf_static does not connect {frame!r} of {topic} with the camera's frame {self._camera_frame!r}, so "
                f"that the sensor is {WITHOUT_MOUNT[kind]}; publish that transform"
            )
        return True
