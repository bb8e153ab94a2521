"""Messages to values and values to messages: stamps, poses, covariances, clouds, calibrations."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point, Pose, PoseStamped, Quaternion, Transform, TransformStamped, Vector3
from nav_msgs.msg import MapMetaData, OccupancyGrid, Odometry, Path
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, PointCloud2, PointField
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from scal3r_ros.geometry import se3
from scal3r_ros.io.calibration import CameraCalibration
from scal3r_ros.mapping.values import UNKNOWN, PointCloud
from scal3r_ros.mapping.values import OccupancyGrid as Grid
from scal3r_ros.nodes.mapper.output.velocity import Twist

Array = NDArray[np.float64]

POINT_STEP = 16
"""Bytes of one point in a published cloud: x, y, z and rgb, four each."""

LOOP_WIDTH = 0.2
"""Width of the lines that show loops, in map units."""

POINT_LAYOUT = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("rgb", "<f4")])


def stamp_ns(stamp: Time) -> int:
    """Nanoseconds of a stamp."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def stamp_message(nanoseconds: int) -> Time:
    """Stamp of nanoseconds."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return Time(sec=seconds, nanosec=rest)


def calibration_of(message: CameraInfo) -> CameraCalibration:
    """The fields of a CameraInfo as the sequences know them."""
    return CameraCalibration.from_message(message)


def matrix_of(transform: Transform) -> Array:
    """T_parent_child (4, 4) of a transform message; its quaternion need not be of unit length."""
    rotation, translation = transform.rotation, transform.translation
    R = se3.rotation_from_quat_xyzw([rotation.x, rotation.y, rotation.z, rotation.w])
    return se3.se3(R, [translation.x, translation.y, translation.z])


def pose_message(T: Array) -> Pose:
    """Pose message of T (4, 4)."""
    return Pose(position=Point(**_xyz(T)), orientation=_quaternion(T))


def transform_message(nanoseconds: int, parent: str, child: str, T_parent_child: Array) -> TransformStamped:
    """Transform message of T_parent_child (4, 4) at a stamp in nanoseconds."""
    return TransformStamped(
        header=Header(stamp=stamp_message(nanoseconds), frame_id=parent),
        child_frame_id=child,
        transform=Transform(translation=Vector3(**_xyz(T_parent_child)), rotation=_quaternion(T_parent_child)),
    )


def base_covariance(covariance: Array, T_odom_cam: Array, T_odom_base: Array) -> Array:
    """Covariance (6, 6) of the base's pose from the camera's; both x y z and rotations about the axes of `odom`.

    The base hangs on the camera by a lever r: an error δθ of the rotation moves it by δθ × r.
    """
    lever = T_odom_base[:3, 3] - T_odom_cam[:3, 3]
    jacobian = np.eye(6)
    jacobian[:3, 3:] = -se3.hat(lever)
    moved: Array = jacobian @ covariance @ jacobian.T
    return moved


def odometry_message(
    nanoseconds: int, parent: str, child: str, T_parent_child: Array, covariance: Array, twist: Twist
) -> Odometry:
    """Odometry of a pose (4, 4) and its covariance (6, 6) in `parent`, and of a twist in `child`."""
    message = Odometry(
        header=Header(stamp=stamp_message(nanoseconds), frame_id=parent),
        child_frame_id=child,
    )
    message.pose.pose = pose_message(T_parent_child)
    message.pose.covariance = covariance.reshape(36)
    linear, angular = message.twist.twist.linear, message.twist.twist.angular
    linear.x, linear.y, linear.z, angular.x, angular.y, angular.z = map(float, twist.velocity)
    message.twist.covariance = twist.covariance.reshape(36)
    return message


def path_message(frame: str, stamps_ns: Sequence[int] | NDArray[np.int64], T_frame_child: Array) -> Path:
    """Path of poses (n, 4, 4) in `frame`; stamped as its last pose, 0 where it has none."""
    stamps = [int(stamp) for stamp in stamps_ns]
    path = Path(header=Header(stamp=stamp_message(stamps[-1] if stamps else 0), frame_id=frame))
    path.poses = [
        PoseStamped(header=Header(stamp=stamp_message(stamp), frame_id=frame), pose=pose_message(T))
        for stamp, T in zip(stamps, T_frame_child, strict=True)
    ]
    return path


def cloud_to_message(nanoseconds: int, frame: str, cloud: PointCloud) -> PointCloud2:
    """PointCloud2 with fields x, y, z and packed rgb, as RViz reads it; points that are not finite are left out."""
    finite = np.isfinite(cloud.points).all(axis=1)
    points, colours = (cloud.points, cloud.colours) if finite.all() else (cloud.points[finite], cloud.colours[finite])
    packed = np.empty(len(points), POINT_LAYOUT)
    packed["x"], packed["y"], packed["z"] = points.T
    red, green, blue = colours.astype(np.uint32).T
    packed["rgb"] = (red << 16 | green << 8 | blue).view(np.float32)
    fields = [
        PointField(name=name, offset=4 * position, datatype=PointField.FLOAT32, count=1)
        for position, name in enumerate(POINT_LAYOUT.names or ())
    ]
    data = array("B")  # any other type is copied byte by byte by the message's setter
    data.frombytes(packed.tobytes())
    return PointCloud2(
        header=Header(stamp=stamp_message(nanoseconds), frame_id=frame),
        height=1,
        width=len(packed),
        fields=fields,
        is_bigendian=False,
        point_step=POINT_STEP,
        row_step=POINT_STEP * len(packed),
        data=data,
        is_dense=True,  # every point is finite
    )


def grid_message(nanoseconds: int, frame: str, grid: Grid) -> OccupancyGrid:
    """An occupancy grid at the height of its ground."""
    rows, columns = grid.cells.shape
    stamp = stamp_message(nanoseconds)
    info = MapMetaData(map_load_time=stamp, resolution=float(grid.resolution), width=columns, height=rows)
    info.origin.position = Point(x=float(grid.origin[0]), y=float(grid.origin[1]), z=float(grid.ground_z))
    data = array("b")  # as of a cloud
    data.frombytes(np.ascontiguousarray(grid.cells).tobytes())
    return OccupancyGrid(header=Header(stamp=stamp, frame_id=frame), info=info, data=data)


def no_grid_message(nanoseconds: int, frame: str) -> OccupancyGrid:
    """One unknown cell of a metre, for a grid that is gone: RViz and Nav2 refuse one without cells."""
    return grid_message(nanoseconds, frame, Grid(np.full((1, 1), UNKNOWN, np.int8), 1.0, np.zeros(2), 0.0))


def loop_markers(nanoseconds: int, frame: str, ends: Array) -> MarkerArray:
    """Lines between the positions (n, 2, 3) that loops connect, in place of all lines before."""
    marker = Marker(header=Header(stamp=stamp_message(nanoseconds), frame_id=frame), ns="loops", type=Marker.LINE_LIST)
    marker.action = Marker.ADD if len(ends) else Marker.DELETEALL
    marker.pose.orientation.w = 1.0
    marker.scale.x = LOOP_WIDTH
    marker.color = ColorRGBA(r=1.0, g=0.3, b=0.1, a=1.0)
    marker.points = [Point(**dict(zip("xyz", map(float, end), strict=True))) for end in ends.reshape(-1, 3)]
    return MarkerArray(markers=[marker])


def thinned(count: int, limit: int) -> NDArray[np.int64]:
    """Indices of at most `limit` of `count` items, evenly spread, the first and the last among them."""
    if count <= limit:
        return np.arange(count)
    return np.unique(np.round(np.linspace(0, count - 1, limit)).astype(np.int64))


def _xyz(T: Array) -> dict[str, float]:
    return dict(zip("xyz", map(float, T[:3, 3]), strict=True))


def _quaternion(T: Array) -> Quaternion:
    x, y, z, w = map(float, se3.quat_xyzw(T[:3, :3]))
    return Quaternion(x=x, y=y, z=z, w=w)
