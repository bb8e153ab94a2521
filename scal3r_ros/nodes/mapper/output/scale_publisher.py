"""Publishes how long a unit is in metres, and where the map lies on earth."""

from __future__ import annotations

import math

import numpy as np
from rclpy.lifecycle import LifecycleNode
from std_msgs.msg import Float64
from tf2_msgs.msg import TFMessage

from scal3r_ros.mapping.scale.estimator import EarthReference
from scal3r_ros.mapping.scale.stage import ScaleStage
from scal3r_ros.nodes.mapper.output.topic import Topic
from scal3r_ros.nodes.ros.messages import stamp_ns, transform_message
from scal3r_ros.nodes.ros.parameters import NodeConfig
from scal3r_ros.nodes.ros.qos import LATCHED

_NOTICEABLE = 1e-5
"""Share by which scale has to change to be published again."""


class ScalePublisher:
    """The topic `scale`: metres in a unit of `odom`, when they change; NaN where they were known and no longer are.

    With the parameter `earth_frame` also the static transform from there to `map`, as soon as fixes show it.
    """

    def __init__(self, node: LifecycleNode, config: NodeConfig, source: ScaleStage) -> None:
        self._node = node
        self._config = config
        self._source = source
        self._scale = Topic(node, Float64, "scale", LATCHED)
        self._statics = Topic(node, TFMessage, "/tf_static", LATCHED) if config.earth_frame else None
        self._published: float | None = None
        self._placed: EarthReference | None = None

    def publish(self) -> None:
        """Publishes what has changed; to be called by one thread at a time."""
        estimate = self._source.estimate()
        metres = None if estimate is None else estimate.metres_per_unit
        if _changed(self._published, metres):
            self._published = metres
            self._scale.publish(Float64(data=math.nan if metres is None else metres))
        self._publish_earth()

    def close(self) -> None:
        """Takes the topics off the graph."""
        self._scale.close()
        if self._statics is not None:
            self._statics.close()

    def _publish_earth(self) -> None:
        earth = self._source.earth() if self._statics is not None else None
        if self._statics is None or earth is None:
            return
        placed = self._placed
        if placed is not None and np.array_equal(placed.T_earth_map, earth.T_earth_map):
            return
        self._placed = earth
        now_ns = stamp_ns(self._node.get_clock().now().to_msg())
        frames = (self._config.earth_frame, self._config.map_frame)
        self._statics.publish(TFMessage(transforms=[transform_message(now_ns, *frames, earth.T_earth_map)]))


def _changed(before: float | None, now: float | None) -> bool:
    if before is None or now is None:
        return before is not now
    return abs(now / before - 1.0) > _NOTICEABLE
