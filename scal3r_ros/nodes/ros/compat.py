"""The only place that chooses between a ROS Python package and what stands in for it where it is not installed.

`cv_bridge` and `sensor_msgs_py` come with a ROS installation, but not from PyPI. Poses need no such choice: quaternions
are those of `geometry/se3.py` everywhere.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image, PointCloud2, PointField
from std_msgs.msg import Header

from scal3r_ros.io.images.decoding import ENCODINGS, ImageError, decode_compressed_image, decode_image

try:
    from cv_bridge import CvBridge
except ImportError:
    CvBridge = None
try:
    from sensor_msgs_py import point_cloud2 as sensor_msgs_point_cloud2
except ImportError:
    sensor_msgs_point_cloud2 = None


def image_to_rgb(message: Image | CompressedImage) -> NDArray[np.uint8]:
    """The picture of an image message as (h, w, 3) uint8 RGB.

    Raises:
        ImageError: the encoding is unknown or the data is damaged.
    """
    return image_by_package(message) if CvBridge is not None else image_without_package(message)


def image_by_package(message: Image | CompressedImage) -> NDArray[np.uint8]:
    """`image_to_rgb` by cv_bridge."""
    bridge = CvBridge()
    compressed = isinstance(message, CompressedImage)
    if not compressed and message.encoding not in ENCODINGS:
        return image_without_package(message)  # which says what is wrong
    convert = bridge.compressed_imgmsg_to_cv2 if compressed else bridge.imgmsg_to_cv2
    try:
        if not compressed:
            message = _with_colours(message)
        return np.ascontiguousarray(convert(message, "rgb8"), np.uint8)
    except Exception as error:  # cv_bridge lets errors of NumPy, OpenCV and its own C++ through
        try:
            return image_without_package(message)
        except ImageError as explained:
            raise explained from error


def image_without_package(message: Image | CompressedImage) -> NDArray[np.uint8]:
    """`image_to_rgb` by this package's own decoding."""
    if isinstance(message, CompressedImage):
        return decode_compressed_image(message.data)
    return decode_image(
        message.encoding, message.height, message.width, message.step, bool(message.is_bigendian), message.data
    )


def cloud_message(header: Header, fields: Sequence[PointField], points: NDArray[Any]) -> PointCloud2:
    """A PointCloud2 of one row from a structured array (n,) that is laid out as `fields` say."""
    if sensor_msgs_point_cloud2 is not None:
        return cloud_by_package(header, fields, points)
    return cloud_without_package(header, fields, points)


def cloud_by_package(header: Header, fields: Sequence[PointField], points: NDArray[Any]) -> PointCloud2:
    """`cloud_message` by sensor_msgs_py."""
    layout = sensor_msgs_point_cloud2.dtype_from_fields(fields)
    return sensor_msgs_point_cloud2.create_cloud(header, fields, points.view(layout))


def cloud_without_package(header: Header, fields: Sequence[PointField], points: NDArray[Any]) -> PointCloud2:
    """`cloud_message` by NumPy."""
    data = array("B")  # any other type is copied byte by byte by the message's setter
    data.frombytes(np.ascontiguousarray(points).tobytes())
    return PointCloud2(
        header=header,
        height=1,
        width=len(points),
        fields=list(fields),
        is_bigendian=False,
        point_step=points.dtype.itemsize,
        row_step=points.dtype.itemsize * len(points),
        data=data,
        is_dense=True,
    )


def _with_colours(message: Image) -> Image:
    """The same image, its generic type named as OpenCV means it: cv_bridge converts no colours of generic types."""
    named = {"8UC1": "mono8", "16UC1": "mono16", "8UC3": "bgr8", "8UC4": "bgra8"}.get(message.encoding)
    if named is None:
        return message
    return Image(
        header=message.header,
        height=message.height,
        width=message.width,
        encoding=named,
        is_bigendian=message.is_bigendian,
        step=message.step,
        data=message.data,
    )
