"""Publishes what the mapper gives: transforms, odometry, path and clouds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from geometry_msgs.msg import TransformStamped
from nav_msgs.msg import Odometry, Path
from numpy.typing import NDArray
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import PointCloud2
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import MarkerArray

from scal3r_ros.geometry import se3
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.mapping.values import FramePose, MapUpdate, PointCloud
from scal3r_ros.nodes.mapper.activity import Activity
from scal3r_ros.nodes.mapper.output.rate_limited_transform import RateLimitedTransform
from scal3r_ros.nodes.mapper.output.topic import Topic
from scal3r_ros.nodes.mapper.output.velocity import VelocityMeter
from scal3r_ros.nodes.ros.messages import (
    POINT_STEP,
    base_covariance,
    cloud_to_message,
    loop_markers,
    odometry_message,
    path_message,
    thinned,
    transform_message,
)
from scal3r_ros.nodes.ros.parameters import NodeConfig
from scal3r_ros.nodes.ros.qos import LATCHED, STREAM, TRANSFORMS

Array = NDArray[np.float64]

CORRECTION_PERIOD_S = 0.1
"""How often map → odom is sent while no image brings it along, in seconds."""

EMPTY_CLOUD = PointCloud(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint8))
EMPTY_TRAJECTORY = Trajectory(np.zeros(0, np.int64), np.zeros((0, 4, 4)))


@dataclass(frozen=True)
class MapSource:
    """Where the publishers read what they publish whole: the best trajectory T_map_cam now, and the cloud in `map`.

    `loop_ends` gives the positions (n, 2, 3) in `map` that loops connect.
    """

    trajectory: Callable[[], Trajectory]
    cloud: Callable[[int], PointCloud]
    loop_ends: Callable[[], Array]
    T_base_cam: Callable[[], Array]


class MapPublishers:
    """The outputs of the node. Nothing is published before the first poses; stamps are those of images."""

    def __init__(self, node: LifecycleNode, config: NodeConfig, source: MapSource, activity: Activity) -> None:
        self._config = config
        self._source = source
        self._activity = activity
        self._transforms = Topic(node, TFMessage, "/tf", TRANSFORMS)
        self._odometry = Topic(node, Odometry, "odometry", STREAM)
        self._path = Topic(node, Path, "path", LATCHED)
        self._points = Topic(node, PointCloud2, "points", STREAM)
        self._map = Topic(node, PointCloud2, "map", LATCHED)
        self._loops = Topic(node, MarkerArray, "loop_closures", LATCHED)
        self._all = (self._transforms, self._odometry, self._path, self._points, self._map, self._loops)
        self._lock = threading.Lock()
        self._velocity = VelocityMeter()
        self._map_published_s = -float("inf")
        self._map_changed = False
        self._correcting = RateLimitedTransform(config.output.correction_step_m, config.output.correction_step_deg)
        self._here = np.zeros(3)  # the base in odom
        self._T_cam_base: Array | None = None
        self._newest_ns: int | None = None
        self._sent_s = 0.0

    def close(self) -> None:
        """Takes the topics off the graph; what other threads publish later is left out."""
        for topic in self._all:
            topic.close()

    def give_poses(self, poses: Sequence[FramePose]) -> None:
        """Publishes odom → base, map → odom and odometry of each pose, with the stamp of its image."""
        if not poses:
            return
        with self._lock:
            if self._T_cam_base is None:
                self._T_cam_base = se3.invert(self._source.T_base_cam())
            for pose in poses:
                self._give_pose(pose, pose.T_odom_cam @ self._T_cam_base)
        self._activity.poses_given(len(poses))

    def give_update(self, update: MapUpdate) -> None:
        """Publishes the poses, the new submap's points and the path of an update, and marks the map for publishing."""
        with self._lock:
            self._correcting.target = update.T_map_odom
            if update.found:
                self._correcting.jump()
        self.give_poses(update.poses)
        if update.submap is not None:
            self._points.publish(
                cloud_to_message(update.submap.last_stamp_ns, self._config.map_frame, update.submap.cloud_map)
            )
            self._map_changed = True
        if update.corrected:
            self._map_changed = True
            self._publish_loops()
        self._publish_path()

    def give_what_is_due(self) -> None:
        """Publishes the global cloud where it has changed and its rate allows it."""
        now = time.monotonic()
        if not self._map_changed or now - self._map_published_s < 1.0 / self._config.output.map_rate:
            return
        self._map_changed = False
        self._map_published_s = now
        self._publish_map(self._source.cloud(self._config.output.map_byte_budget // POINT_STEP))

    def give_map(self) -> None:
        """Publishes the global cloud now where it has changed, however recent the last one is."""
        self._map_published_s = -float("inf")
        self.give_what_is_due()

    def repeat_correction(self) -> None:
        """Sends map → odom again where no image has brought it along for a while; to be called at 10 Hz."""
        with self._lock:
            if self._newest_ns is None or time.monotonic() - self._sent_s < CORRECTION_PERIOD_S:
                return
            self._send_transforms([self._correction(self._newest_ns)])

    def clear(self) -> None:
        """Replaces path and map by empty ones, and starts as before the first poses."""
        with self._lock:
            published = self._newest_ns is not None
            newest_ns = self._newest_ns or 0
            self._forget()
        self._map_changed = False
        if published:
            self._path.publish(path_message(self._config.map_frame, [], EMPTY_TRAJECTORY.T_ref_cam))
            self._map.publish(cloud_to_message(newest_ns, self._config.map_frame, EMPTY_CLOUD))
            self._loops.publish(loop_markers(newest_ns, self._config.map_frame, np.zeros((0, 2, 3))))

    def _forget(self) -> None:
        self._correcting.reset()
        self._T_cam_base = None
        self._newest_ns = None
        self._sent_s = 0.0
        self._velocity.forget()

    def _give_pose(self, pose: FramePose, T_odom_base: Array) -> None:
        config = self._config
        self._newest_ns = max(pose.stamp_ns, self._newest_ns or pose.stamp_ns)
        self._here = T_odom_base[:3, 3]
        self._send_transforms(
            [
                transform_message(pose.stamp_ns, config.odom_frame, config.base_frame, T_odom_base),
                self._correction(pose.stamp_ns),
            ]
        )
        covariance = base_covariance(pose.covariance, pose.T_odom_cam, T_odom_base)
        twist = self._velocity.measure(pose.stamp_ns, T_odom_base, covariance)
        self._odometry.publish(
            odometry_message(pose.stamp_ns, config.odom_frame, config.base_frame, T_odom_base, covariance, twist)
        )

    def _correction(self, nanoseconds: int) -> TransformStamped:
        T_map_odom = self._correcting.advance(self._here)
        return transform_message(nanoseconds, self._config.map_frame, self._config.odom_frame, T_map_odom)

    def _send_transforms(self, transforms: list[TransformStamped]) -> None:
        self._sent_s = time.monotonic()
        if self._config.publish_tf:
            self._transforms.publish(TFMessage(transforms=transforms))

    def _publish_path(self) -> None:
        trajectory = self._source.trajectory()
        with self._lock:
            T_cam_base = self._T_cam_base
        if T_cam_base is None or not len(trajectory):
            return
        chosen = thinned(len(trajectory), self._config.output.path_max_poses)
        T_map_base = trajectory.T_ref_cam[chosen] @ T_cam_base
        self._path.publish(path_message(self._config.map_frame, trajectory.stamps_ns[chosen], T_map_base))

    def _publish_loops(self) -> None:
        with self._lock:
            newest_ns = self._newest_ns
        if newest_ns is not None:
            self._loops.publish(loop_markers(newest_ns, self._config.map_frame, self._source.loop_ends()))

    def _publish_map(self, cloud: PointCloud) -> None:
        with self._lock:
            newest_ns = self._newest_ns
        if newest_ns is not None:
            self._map.publish(cloud_to_message(newest_ns, self._config.map_frame, cloud))
