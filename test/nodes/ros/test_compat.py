"""Where ROS's own packages are installed, they and what stands in for them give the same."""

import cv2
import numpy as np
import pytest

from scal3r_ros.io.images.decoding import ENCODINGS, ImageError

ros_compat = pytest.importorskip("scal3r_ros.nodes.ros.compat", reason="rclpy is not installed")
sensor_msgs = pytest.importorskip("sensor_msgs.msg")

needs_cv_bridge = pytest.mark.skipif(ros_compat.CvBridge is None, reason="cv_bridge is not installed")
needs_sensor_msgs_py = pytest.mark.skipif(
    ros_compat.sensor_msgs_point_cloud2 is None, reason="sensor_msgs_py is not installed"
)


def picture(encoding: str) -> sensor_msgs.Image:
    channels = {"mono8": 1, "mono16": 2, "16UC1": 2, "rgb8": 3, "bgr8": 3, "8UC3": 3, "rgba8": 4, "bgra8": 4, "8UC4": 4}
    step = 64 * channels.get(encoding, 1)
    data = np.random.default_rng(0).integers(0, 256, 48 * step).astype(np.uint8)
    return sensor_msgs.Image(height=48, width=64, step=step, encoding=encoding, data=data.tobytes())


@needs_cv_bridge
@pytest.mark.parametrize(
    "encoding", ["mono8", "8UC1", "mono16", "rgb8", "bgr8", "8UC3", "rgba8", "bgra8", "bayer_rggb8"]
)
def test_cv_bridge_and_own_decoding_agree(encoding):
    message = picture(encoding)
    by_package, without = ros_compat.image_by_package(message), ros_compat.image_without_package(message)
    np.testing.assert_allclose(by_package, without, atol=1)


@needs_sensor_msgs_py
def test_sensor_msgs_py_and_own_packing_agree():
    from scal3r_ros.nodes.ros.messages import POINT_LAYOUT

    points = np.zeros(100, POINT_LAYOUT)
    points["x"] = np.arange(100)
    fields = [
        sensor_msgs.PointField(name=name, offset=4 * index, datatype=7, count=1)
        for index, name in enumerate(("x", "y", "z", "rgb"))
    ]
    header = sensor_msgs.PointCloud2().header
    assert ros_compat.cloud_by_package(header, fields, points) == ros_compat.cloud_without_package(
        header, fields, points
    )


def test_raw_image_becomes_rgb():
    message = picture("bgr8")
    bgr = np.frombuffer(message.data, np.uint8).reshape(48, 64, 3)
    np.testing.assert_array_equal(ros_compat.image_to_rgb(message), bgr[..., ::-1])


def test_compressed_image_becomes_rgb():
    rgb = np.zeros((48, 64, 3), np.uint8)
    rgb[:, :, 0] = 200
    png = cv2.imencode(".png", rgb[..., ::-1])[1].tobytes()
    message = sensor_msgs.CompressedImage(format="png", data=png)
    np.testing.assert_array_equal(ros_compat.image_to_rgb(message), rgb)


@pytest.mark.parametrize(
    ("encoding", "data", "reason"),
    [("jpeg2000", b"", "unknown encoding"), ("mono8", bytes(100), "truncated data")],
)
def test_what_can_not_be_decoded_says_why(encoding, data, reason):
    message = sensor_msgs.Image(height=48, width=64, step=64, encoding=encoding, data=data)
    with pytest.raises(ImageError) as caught:
        ros_compat.image_to_rgb(message)
    assert caught.value.reason == reason


def test_damaged_compressed_image_says_so():
    with pytest.raises(ImageError):
        ros_compat.image_to_rgb(sensor_msgs.CompressedImage(format="jpeg", data=b"\xff\xd8 no picture"))


def test_the_contract_of_encodings_is_kept():
    needed = {"mono8", "rgb8", "bgr8", "rgba8", "bgra8", "bayer_rggb8", "mono16"}
    assert needed <= set(ENCODINGS)
