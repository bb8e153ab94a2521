"""Messages to values and values to messages: stamps, poses, covariances, clouds, calibrations."""

from __future__ import annotations

from array import array

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point, Pose, Quaternion, Transform, TransformStamped, Vector3
from nav_msgs.msg import MapMetaData, OccupancyGrid, Odometry
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

POINT_LAYOUT = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("rgb", "<f4")])
"""A point of a published cloud of which no more is known."""

MAP_LAYOUT = np.dtype([*POINT_LAYOUT.descr, ("confidence", "<f4"), ("submap", "<i4")])
"""A point of the map: also how sure it is, in 0..1, and the number of the submap that it hangs on."""

LOOP_WIDTH = 0.2
"""Width of the lines that show loops, in map units."""


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


def cloud_to_message(nanoseconds: int, frame: str, cloud: PointCloud) -> PointCloud2:
    """PointCloud2 with fields x, y, z and packed rgb, as RViz reads it; points that are not finite are left out.

    Where the cloud knows them, confidence and submap come after.
    """
    finite = np.asarray(np.isfinite(cloud.points).all(axis=1))
    cloud = cloud if finite.all() else cloud.take(finite)
    layout = POINT_LAYOUT
    if cloud.confidence is not None and cloud.submaps is not None:
        layout = MAP_LAYOUT
    packed = np.empty(len(cloud.points), layout)
    packed["x"], packed["y"], packed["z"] = cloud.points.T
    red, green, blue = cloud.colours.astype(np.uint32).T
    packed["rgb"] = (red << 16 | green << 8 | blue).view(np.float32)
    if layout is MAP_LAYOUT:
        packed["confidence"], packed["submap"] = cloud.confidence, cloud.submaps
    kinds = {"f": PointField.FLOAT32, "i": PointField.INT32}
    fields = [
        PointField(name=name, offset=4 * position, datatype=kinds[layout[name].kind], count=1)
        for position, name in enumerate(layout.names or ())
    ]
    data = array("B")  # any other type is copied byte by byte by the message's setter
    data.frombytes(packed.tobytes())
    return PointCloud2(
        header=Header(stamp=stamp_message(nanoseconds), frame_id=frame),
        height=1,
        width=len(packed),
        fields=fields,
        is_bigendian=False,
        point_step=layout.itemsize,
        row_step=layout.itemsize * len(packed),
        data=data,
        is_dense=True,  # every point is finite
    )


def cloud_of_message(message: PointCloud2) -> PointCloud | None:
    """The cloud of a message with the fields of `cloud_to_message`; None for other fields, or too few bytes."""
    names, count = tuple(item.name for item in message.fields), message.width * message.height
    layout = {layout.names: layout for layout in (POINT_LAYOUT, MAP_LAYOUT)}.get(names)
    if layout is None or message.point_step != layout.itemsize or len(message.data) < count * layout.itemsize:
        return None
    packed = np.frombuffer(message.data, layout, count)
    rgb = np.ascontiguousarray(packed["rgb"]).view(np.uint32)
    colours = np.stack([rgb >> 16 & 255, rgb >> 8 & 255, rgb & 255], axis=1).astype(np.uint8)
    points = np.stack([packed["x"], packed["y"], packed["z"]], axis=1)
    if layout is POINT_LAYOUT:
        return PointCloud(points, colours)
    return PointCloud(points, colours, confidence=packed["confidence"].copy(), submaps=packed["submap"].copy())


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
