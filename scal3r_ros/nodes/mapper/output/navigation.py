"""Publishes what planners need: where the ground is free, and the points around the robot."""

from __future__ import annotations

import time

from nav_msgs.msg import OccupancyGrid
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import PointCloud2

from scal3r_ros.mapping.occupancy.stage import OccupancyStage
from scal3r_ros.mapping.values import MapUpdate
from scal3r_ros.nodes.mapper.output.topic import Topic
from scal3r_ros.nodes.ros.messages import cloud_to_message, grid_message, no_grid_message
from scal3r_ros.nodes.ros.parameters import NodeConfig
from scal3r_ros.nodes.ros.qos import LATCHED, STREAM


class NavigationPublishers:
    """The topics `occupancy`, `occupancy_local` and `points_local`; none is sent before the map is in metres."""

    def __init__(self, node: LifecycleNode, config: NodeConfig, occupancy: OccupancyStage) -> None:
        self._config = config
        self._occupancy = occupancy
        self._whole = Topic(node, OccupancyGrid, "occupancy", LATCHED)
        self._local = Topic(node, OccupancyGrid, "occupancy_local", LATCHED)
        self._points = Topic(node, PointCloud2, "points_local", STREAM)
        self._stamp_ns: int | None = None
        self._changed = self._shown = False
        self._published_s = -float("inf")

    def apply(self, config: NodeConfig) -> None:
        """Takes over the parameters that may change while the node runs."""
        self._config = config

    def close(self) -> None:
        """Takes the topics off the graph."""
        for topic in (self._whole, self._local, self._points):
            topic.close()

    def give_update(self, update: MapUpdate) -> None:
        """Publishes what is around the robot where a submap is new, and marks the whole grid for publishing."""
        self._changed |= update.corrected or update.submap is not None
        if update.submap is None:
            return
        self._stamp_ns = update.submap.last_stamp_ns
        output, frame = self._config.output, self._config.odom_frame
        cloud = self._occupancy.local_cloud(update, output.local_voxel_m) if self._points.wanted else None
        if cloud is not None:
            self._points.publish(cloud_to_message(self._stamp_ns, frame, cloud))
        window = self._occupancy.window(output.local_size_m)
        if window is not None:
            self._shown = True
            self._local.publish(grid_message(self._stamp_ns, frame, window))

    def give_what_is_due(self, at_once: bool = False) -> None:
        """Publishes the whole grid where it has changed and its rate allows it, or `at_once`."""
        now = time.monotonic()
        if not self._changed or self._stamp_ns is None:
            return
        if not at_once and now - self._published_s < 1.0 / self._config.output.map_rate:
            return
        self._changed, self._published_s = False, now
        grid = self._occupancy.grid()
        if grid is not None:
            self._shown = True
            self._whole.publish(grid_message(self._stamp_ns, self._config.map_frame, grid))

    def clear(self) -> None:
        """Replaces both grids by one unknown cell, where any were published."""
        if self._shown and self._stamp_ns is not None:
            self._whole.publish(no_grid_message(self._stamp_ns, self._config.map_frame))
            self._local.publish(no_grid_message(self._stamp_ns, self._config.odom_frame))
        self._changed = self._shown = False
        self._stamp_ns = None
