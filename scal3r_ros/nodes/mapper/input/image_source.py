"""The node's subscriptions to the camera."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.lifecycle import LifecycleNode
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from scal3r_ros.nodes.mapper.faults import FaultLog
from scal3r_ros.nodes.ros.parameters import NodeConfig
from scal3r_ros.nodes.ros.qos import LATCHED, image_qos

IMAGE_TYPES = {"raw": Image, "compressed": CompressedImage}
"""Type of the images by the parameter `image_transport`."""


class ImageSource:
    """Subscribes to images and camera_info between `open` and `close`; `drops` counts images lost on the way."""

    def __init__(
        self,
        node: LifecycleNode,
        config: NodeConfig,
        drops: FaultLog,
        take_image: Callable[[Image | CompressedImage], None],
        take_info: Callable[[CameraInfo], None],
    ) -> None:
        self._node = node
        self._config = config
        self._drops = drops
        self._take_image = take_image
        self._take_info = take_info
        self._subscriptions: list[Subscription] = []

    @property
    def active(self) -> bool:
        """Whether images are subscribed to."""
        return bool(self._subscriptions)

    @property
    def topic(self) -> str:
        """Full name of the topic of the images: `image` as remapped, with the transport's name after it, if not raw.

        So does image_transport. A name that ends with the transport already is taken as it is.
        """
        base, transport = str(self._node.resolve_topic_name("image")), self._config.image_transport
        return base if transport == "raw" or base.endswith(f"/{transport}") else f"{base}/{transport}"

    def open(self) -> None:
        """Subscribes."""
        qos = image_qos(self._config.qos.image)
        lost = SubscriptionEventCallbacks(message_lost=lambda event: self._count_lost(event.total_count_change))
        unheard = SubscriptionEventCallbacks(incompatible_qos=lambda event: None)
        kind = IMAGE_TYPES[self._config.image_transport]
        self._subscriptions = [
            self._node.create_subscription(kind, self.topic, self._take_image, qos, event_callbacks=lost),
            self._node.create_subscription(CameraInfo, "camera_info", self._take_info, qos),
            # What was published once, before this node subscribed, comes only to who asks for it by its durability; a
            # subscription that does so hears no others, and the warning that it does not would mislead.
            self._node.create_subscription(
                CameraInfo, "camera_info", self._take_info, LATCHED, event_callbacks=unheard
            ),
        ]

    def close(self) -> None:
        """Hears nothing more."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions = []

    def _count_lost(self, number: int) -> None:
        self._drops.report(
            "lost in transport",
            "images were lost on their way to this node; give Fast DDS a larger shared-memory segment (README)",
            number,
        )
