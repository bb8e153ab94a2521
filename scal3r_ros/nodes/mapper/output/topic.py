"""A topic that threads publish on until it is closed."""

from __future__ import annotations

import threading
from typing import Any

from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile


class Topic:
    """A lifecycle publisher that may be closed while another thread publishes; what comes later is left out."""

    def __init__(self, node: LifecycleNode, kind: type, name: str, qos: QoSProfile) -> None:
        self._node = node
        self._publisher = node.create_lifecycle_publisher(kind, name, qos)
        self._lock = threading.Lock()
        self._closed = False

    @property
    def wanted(self) -> bool:
        """Whether anybody subscribes to it."""
        with self._lock:
            return not self._closed and self._publisher.get_subscription_count() > 0

    def publish(self, message: Any) -> None:
        """Publishes where the node is active."""
        with self._lock:
            if not self._closed:
                self._publisher.publish(message)

    def close(self) -> None:
        """Takes the topic off the graph, after a message that is being published."""
        with self._lock:
            self._closed = True
            self._node.destroy_lifecycle_publisher(self._publisher)
