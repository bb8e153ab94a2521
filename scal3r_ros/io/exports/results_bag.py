"""What was mapped, as a rosbag2 that RViz and Foxglove play: transforms, odometry, path and clouds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.geometry import se3
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.io.bags.topics import BASE_FRAME, header, typestore
from scal3r_ros.io.bags.writer import CAMERA_LOOKS_FORWARD, BagWriter
from scal3r_ros.mapping.values import PointCloud

MAP_FRAME, ODOM_FRAME = "map", "odom"
MOST_PATHS = 50
"""Times that the path is written: each message holds all of it so far."""
POINT = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("rgb", "<u4")])
FLOAT32 = 7

Array = NDArray[np.float64]


def write_results_bag(
    path: Path,
    trajectory: Trajectory,
    submaps: Sequence[tuple[int, PointCloud]],
    storage: Literal["sqlite3", "mcap"] = "mcap",
) -> None:
    """Writes a bag at `path` with the topics that the node publishes, by their usual names.

    `trajectory` is T_map_cam with rising stamps; `submaps` the clouds in `map`, each with the stamp in ns at which it
    was known. `/tf` and `/odometry` have the final poses, so `map` and `odom` are one; `/points` the cloud of each
    submap, `/map` all of them at the end. The camera looks along the x of the base.

    Raises:
        SequenceError: the path is taken, or the bag cannot be written.
    """
    T_cam_base = se3.invert(CAMERA_LOOKS_FORWARD)
    T_map_base = trajectory.T_ref_cam @ T_cam_base
    stamps = trajectory.stamps_ns.tolist()
    steps: list[tuple[int, int, str, Callable[[], Any]]] = []

    def at(stamp_ns: int, order: int, topic: str, message: Callable[[], Any]) -> None:
        steps.append((stamp_ns, order, topic, message))

    for stamp, T in zip(stamps, T_map_base, strict=True):
        at(stamp, 0, "/tf", partial(_transforms, stamp, T))
        at(stamp, 1, "/odometry", partial(_odometry, stamp, T))
    for row in np.unique(np.linspace(0, len(stamps) - 1, min(len(stamps), MOST_PATHS)).astype(int)).tolist():
        at(stamps[row], 2, "/path", partial(_path, stamps[: row + 1], T_map_base[: row + 1]))
    for stamp, cloud in submaps:
        at(stamp, 3, "/points", partial(_cloud, stamp, [cloud]))
    if stamps:
        end = max(stamps[-1], *(stamp for stamp, _ in submaps)) if submaps else stamps[-1]
        at(end, 4, "/map", partial(_cloud, end, [cloud for _, cloud in submaps]))
    with BagWriter(path, storage) as writer:
        for stamp, _, topic, message in sorted(steps, key=lambda step: step[:2]):
            writer.write_message(topic, stamp, message(), latched=topic in ("/map", "/path"))


def _transforms(stamp_ns: int, T_map_base: Array) -> Any:
    types = typestore().types
    moved = []
    for parent, child, T in ((MAP_FRAME, ODOM_FRAME, np.eye(4)), (ODOM_FRAME, BASE_FRAME, T_map_base)):
        translation = types["geometry_msgs/msg/Vector3"](*map(float, T[:3, 3]))
        transform = types["geometry_msgs/msg/Transform"](translation=translation, rotation=_quaternion(T))
        moved.append(
            types["geometry_msgs/msg/TransformStamped"](
                header=header(stamp_ns, parent), child_frame_id=child, transform=transform
            )
        )
    return types["tf2_msgs/msg/TFMessage"](transforms=moved)


def _odometry(stamp_ns: int, T_map_base: Array) -> Any:
    """Covariances and velocities of zero: they are not known of the final poses."""
    types = typestore().types
    still = types["geometry_msgs/msg/Vector3"](0.0, 0.0, 0.0)
    unknown = np.zeros(36)
    return types["nav_msgs/msg/Odometry"](
        header=header(stamp_ns, ODOM_FRAME),
        child_frame_id=BASE_FRAME,
        pose=types["geometry_msgs/msg/PoseWithCovariance"](pose=_pose(T_map_base), covariance=unknown),
        twist=types["geometry_msgs/msg/TwistWithCovariance"](
            twist=types["geometry_msgs/msg/Twist"](linear=still, angular=still), covariance=unknown
        ),
    )


def _path(stamps_ns: Sequence[int], T_map_base: Array) -> Any:
    types = typestore().types
    poses = [
        types["geometry_msgs/msg/PoseStamped"](header=header(stamp, MAP_FRAME), pose=_pose(T))
        for stamp, T in zip(stamps_ns, T_map_base, strict=True)
    ]
    return types["nav_msgs/msg/Path"](header=header(stamps_ns[-1], MAP_FRAME), poses=poses)


def _cloud(stamp_ns: int, clouds: Sequence[PointCloud]) -> Any:
    """All points with x, y, z and packed rgb, as RViz and Foxglove read them."""
    types = typestore().types
    points = np.concatenate([np.zeros((0, 3), np.float32), *(cloud.points for cloud in clouds)])
    colours = np.concatenate([np.zeros((0, 3), np.uint8), *(cloud.colours for cloud in clouds)])
    packed = np.empty(len(points), POINT)
    packed["x"], packed["y"], packed["z"] = points.T
    red, green, blue = colours.astype(np.uint32).T
    packed["rgb"] = red << 16 | green << 8 | blue
    field = types["sensor_msgs/msg/PointField"]
    return types["sensor_msgs/msg/PointCloud2"](
        header=header(stamp_ns, MAP_FRAME),
        height=1,
        width=len(packed),
        fields=[field(name, 4 * place, FLOAT32, 1) for place, name in enumerate(POINT.names or ())],
        is_bigendian=False,
        point_step=POINT.itemsize,
        row_step=POINT.itemsize * len(packed),
        data=np.frombuffer(packed.tobytes(), np.uint8),
        is_dense=True,
    )


def _pose(T: Array) -> Any:
    types = typestore().types
    position = types["geometry_msgs/msg/Point"](*map(float, T[:3, 3]))
    return types["geometry_msgs/msg/Pose"](position=position, orientation=_quaternion(T))


def _quaternion(T: Array) -> Any:
    return typestore().types["geometry_msgs/msg/Quaternion"](*map(float, se3.quat_xyzw(T[:3, :3])))
