"""Notices that no images come, and finds out why."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rclpy.node import Node
from rclpy.qos import ReliabilityPolicy
from rclpy.topic_endpoint_info import TopicEndpointInfo

from scal3r_ros.nodes.mapper.input.image_source import IMAGE_TYPES, ImageSource
from scal3r_ros.nodes.ros.parameters import NodeConfig
from scal3r_ros.nodes.ros.qos import describe_publisher

TYPE_NAMES = {name: f"sensor_msgs/msg/{kind.__name__}" for name, kind in IMAGE_TYPES.items()}


class ImageWatch:
    """Tells once for every silence of more than `limit_s` seconds that the images have stopped."""

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self._seen_s = time.monotonic()
        self._told = False
        self.images_came = False

    @property
    def silent(self) -> bool:
        """Whether the images are missing right now."""
        return time.monotonic() - self._seen_s > self.limit_s

    def saw_image(self) -> None:
        """An image came."""
        self.images_came = True
        self.rest()

    def rest(self) -> None:
        """Starts to wait for an image again: at activation, and while the node is paused."""
        self._seen_s = time.monotonic()
        self._told = False

    def should_tell(self) -> bool:
        """True once a silence."""
        tell = self.silent and not self._told
        self._told |= tell
        return tell


def explain_silence(node: Node, source: ImageSource, images: int, config: NodeConfig) -> str:
    """One sentence on what publishes on the topic of `source` and with what QoS, or where there are images instead.

    Where `images` have come before, it says so: then names and QoS are right, and the camera or bag has stopped.
    """
    topic, reliability = source.topic, config.qos.image.reliability
    wanted = TYPE_NAMES[config.image_transport]
    silence = f"no image on {topic} for {config.no_image_warning_s:g} s"
    if images:
        senders = node.count_publishers(topic)
        why = f"{senders} publishers are still there" if senders else "its publisher is gone, as at the end of a bag"
        return f"{silence}, after {images} images: {why}; the map is kept, and goes on with the next image"
    publishers = node.get_publishers_info_by_topic(topic)
    if publishers:
        who = ", ".join(describe_publisher(info) for info in publishers)
        return (
            f"{silence}; it is published by {who}, and subscribed to as ({wanted}, {reliability}, volatile): "
            + _mismatch(publishers, wanted, reliability)
        )
    candidates = sorted(
        f"{name} ({kind})"
        for name, kinds in node.get_topic_names_and_types()
        for kind in kinds
        if kind in TYPE_NAMES.values() and name != topic and node.count_publishers(name)
    )
    where = f"images are published on {', '.join(candidates)}" if candidates else "nothing publishes images at all"
    return f"{silence}, and nothing publishes there; {where}; remap the topic image, or set image_transport"


def _mismatch(publishers: Sequence[TopicEndpointInfo], wanted: str, reliability: str) -> str:
    if all(info.topic_type != wanted for info in publishers):
        return "the type differs, so set image_transport"
    best_effort = all(info.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT for info in publishers)
    if reliability == "reliable" and best_effort:
        return "the publisher is best effort, so set qos.image.reliability to best_effort"
    return (
        "type and QoS fit, so either nothing is sent or large images are lost in the middleware: try the topic with "
        "`ros2 topic hz`, and see the README on Fast DDS and shared memory"
    )
