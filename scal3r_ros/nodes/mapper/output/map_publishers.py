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
from scal3r_ros.nodes.mapper.output.path import PathBuffer
from scal3r_ros.nodes.mapper.output.rate_limited_transform import RateLimitedTransform
from scal3r_ros.nodes.mapper.output.topic import Topic
from scal3r_ros.nodes.mapper.output.velocity import VelocityMeter
from scal3r_ros.nodes.ros.messages import (
    MAP_LAYOUT,
    base_covariance,
    cloud_to_message,
    loop_markers,
    odometry_message,
    thinned,
    transform_message,
)
from scal3r_ros.nodes.ros.parameters import NodeConfig
from scal3r_ros.nodes.ros.qos import LATCHED, STREAM, TRANSFORMS

Array = NDArray[np.float64]

CORRECTION_PERIOD_S = 0.1
"""How often map → odom is sent while no image brings it along, in seconds."""

EMPTY_CLOUD = PointCloud(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint8))


@dataclass(frozen=True)
class MapSource:
    """Where the publishers read what they publish whole: the best trajectory T_map_cam now, and the cloud in `map`.

    `loop_ends` gives the positions (n, 2, 3) in `map` that loops connect, `T_base_cam` where the camera sits on the
    base, None as long as that is not known: until then the two are taken as one.
    """

    trajectory: Callable[[], Trajectory]
    cloud: Callable[[int], PointCloud]
    loop_ends: Callable[[], Array]
    T_base_cam: Callable[[], Array | None]


class MapPublishers:
    """The outputs of the node; stamps are those of images.

    Before the first poses only map → odom is published, from the first image on, so that the frame `map` exists.
    """

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
        self._path_poses = PathBuffer(config.map_frame)
        self._path_grew = False
        self._T_cam_base: Array | None = None
        self._newest_ns: int | None = None  # of the poses
        self._image_ns: int | None = None
        self._sent_s = 0.0

    def apply(self, config: NodeConfig) -> None:
        """Takes over the parameters that may change while the node runs."""
        with self._lock:
            self._config = config
            self._correcting.limit(config.output.correction_step_m, config.output.correction_step_deg)

    def close(self) -> None:
        """Takes the topics off the graph; what other threads publish later is left out."""
        for topic in self._all:
            topic.close()

    def give_image(self, stamp_ns: int) -> None:
        """An image of this stamp was taken in: `map` exists from the first one on, though nothing may be posed yet."""
        with self._lock:
            first = self._image_ns is None
            self._image_ns = stamp_ns
            if first:
                self._send_transforms([self._correction(stamp_ns)])

    def give_poses(self, poses: Sequence[FramePose]) -> None:
        """Publishes odom → base, map → odom and odometry of each pose, with the stamp of its image."""
        if not poses:
            return
        T_base_cam = self._source.T_base_cam() if self._T_cam_base is None else None
        with self._lock:
            if T_base_cam is not None:
                self._T_cam_base = se3.invert(T_base_cam)
                self._velocity.forget()
            for pose in poses:
                self._give_pose(pose, pose.T_odom_cam @ self._T_cam_base_now())
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
        self._publish_map(self._source.cloud(self._config.output.map_byte_budget // MAP_LAYOUT.itemsize))

    def give_map(self) -> None:
        """Publishes the global cloud now where it has changed, however recent the last one is."""
        self._map_published_s = -float("inf")
        self.give_what_is_due()

    def repeat_correction(self) -> None:
        """Sends map → odom again where no pose has brought it along for a while; to be called at 10 Hz."""
        with self._lock:
            if self._image_ns is None or time.monotonic() - self._sent_s < CORRECTION_PERIOD_S:
                return
            self._send_transforms([self._correction(self._image_ns)])

    def extend_path(self) -> None:
        """Publishes the path where poses were added to it since; to be called at the rate of the path."""
        with self._lock:
            if not self._path_grew:
                return
            self._send_path()

    def clear(self) -> None:
        """Replaces path and map by empty ones, and starts as before the first image."""
        with self._lock:
            published, newest_ns = self._newest_ns is not None, self._newest_ns or 0
            self._forget()
            self._map_changed = False
            if published:
                self._send_path()
                self._map.publish(cloud_to_message(newest_ns, self._config.map_frame, EMPTY_CLOUD))
                self._loops.publish(loop_markers(newest_ns, self._config.map_frame, np.zeros((0, 2, 3))))

    def _forget(self) -> None:
        self._correcting.reset()
        self._T_cam_base = None
        self._newest_ns = self._image_ns = None
        self._sent_s = 0.0
        self._path_poses, self._path_grew = PathBuffer(self._config.map_frame), False
        self._velocity.forget()

    def _give_pose(self, pose: FramePose, T_odom_base: Array) -> None:
        config = self._config
        self._newest_ns = max(pose.stamp_ns, self._newest_ns or pose.stamp_ns)
        self._image_ns = max(pose.stamp_ns, self._image_ns or pose.stamp_ns)
        self._here = T_odom_base[:3, 3]
        T_map_odom = self._correcting.advance(self._here)
        self._send_transforms(
            [
                transform_message(pose.stamp_ns, config.odom_frame, config.base_frame, T_odom_base),
                transform_message(pose.stamp_ns, config.map_frame, config.odom_frame, T_map_odom),
            ]
        )
        self._path_poses.append(pose.stamp_ns, T_map_odom @ T_odom_base)
        self._path_grew = True
        covariance = base_covariance(pose.covariance, pose.T_odom_cam, T_odom_base)
        extrapolated = not pose.source.measured
        twist = self._velocity.measure(pose.stamp_ns, T_odom_base, extrapolated, pose.scale_sigma)
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

    def _T_cam_base_now(self) -> Array:
        return np.eye(4) if self._T_cam_base is None else self._T_cam_base

    def _publish_path(self) -> None:
        """The whole path as the trajectory is now; poses that are given later extend it."""
        trajectory = self._source.trajectory()
        if not len(trajectory):
            return
        with self._lock:
            chosen = thinned(len(trajectory), self._config.output.path_max_poses)
            T_map_base = trajectory.T_ref_cam[chosen] @ self._T_cam_base_now()
            self._path_poses.replace(trajectory.stamps_ns[chosen], T_map_base)
            self._send_path()

    def _send_path(self) -> None:
        self._path_grew = False
        limit = self._config.output.path_max_poses
        chosen = thinned(len(self._path_poses), limit)
        self._path.publish(self._path_poses.message(chosen))
        if len(self._path_poses) > 2 * limit:
            self._path_poses.keep(chosen)

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
