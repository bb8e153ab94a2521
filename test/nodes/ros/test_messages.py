import os
import subprocess
import sys

import numpy as np
import pytest
import transforms3d
from hypothesis import given
from hypothesis import strategies as st

from scal3r_ros.geometry import se3
from scal3r_ros.mapping.values import PointCloud

conversion = pytest.importorskip("scal3r_ros.nodes.ros.messages", reason="rclpy is not installed")
velocity = pytest.importorskip("scal3r_ros.nodes.mapper.output.velocity")

STAMP_NS = 1_234_567_890_123_456_789


def pose(seed: int) -> np.ndarray:
    return se3.exp(np.random.default_rng(seed).normal(size=6))


@given(st.integers(0, 2**31 * 10**9 - 1))
def test_stamps_survive_the_way_there_and_back(nanoseconds):
    assert conversion.stamp_ns(conversion.stamp_message(nanoseconds)) == nanoseconds


@pytest.mark.parametrize("seed", range(5))
def test_transforms_survive_and_agree_with_transforms3d(seed):
    T = pose(seed)
    message = conversion.transform_message(STAMP_NS, "odom", "base_link", T)
    np.testing.assert_allclose(conversion.matrix_of(message.transform), T, atol=1e-12)
    q = message.transform.rotation
    np.testing.assert_allclose(transforms3d.quaternions.quat2mat([q.w, q.x, q.y, q.z]), T[:3, :3], atol=1e-12)
    assert (message.header.frame_id, message.child_frame_id) == ("odom", "base_link")
    assert conversion.stamp_ns(message.header.stamp) == STAMP_NS


def test_base_covariance_matches_sampled_poses():
    rng = np.random.default_rng(0)
    T_odom_cam, T_cam_base = pose(1), pose(2)
    root = rng.normal(size=(6, 6)) * 1e-3
    covariance = root @ root.T
    errors = rng.multivariate_normal(np.zeros(6), covariance, size=40_000)
    R = se3.rotation_exp(errors[:, 3:]) @ T_odom_cam[:3, :3]
    moved = se3.se3(R, T_odom_cam[:3, 3] + errors[:, :3]) @ T_cam_base
    T_odom_base = T_odom_cam @ T_cam_base
    turned = se3.rotation_log(moved[:, :3, :3] @ T_odom_base[:3, :3].T)
    sampled = np.cov(np.hstack([moved[:, :3, 3] - T_odom_base[:3, 3], turned]).T)
    computed = conversion.base_covariance(covariance, T_odom_cam, T_odom_base)
    np.testing.assert_allclose(computed, sampled, atol=0.05 * np.abs(sampled).max())


def test_cloud_message_holds_what_rviz_reads():
    rng = np.random.default_rng(0)
    cloud = PointCloud(rng.normal(size=(100, 3)).astype(np.float32), rng.integers(0, 256, (100, 3)).astype(np.uint8))
    message = conversion.cloud_to_message(STAMP_NS, "map", cloud)
    assert [field.name for field in message.fields] == ["x", "y", "z", "rgb"]
    assert [field.offset for field in message.fields] == [0, 4, 8, 12]
    assert all(field.datatype == field.FLOAT32 and field.count == 1 for field in message.fields)
    assert (message.height, message.width, message.point_step, message.row_step) == (1, 100, 16, 1600)
    assert not message.is_bigendian
    raw = np.frombuffer(message.data, np.uint8).reshape(100, 16)
    np.testing.assert_array_equal(raw[:, :12].copy().view("<f4"), cloud.points)
    np.testing.assert_array_equal(raw[:, 12:15], cloud.colours[:, ::-1])  # bytes of rgb are blue, green, red


def test_sensor_msgs_py_reads_the_cloud_back():
    reader = pytest.importorskip("sensor_msgs_py.point_cloud2", reason="comes with a ROS installation only")
    points = np.random.default_rng(0).normal(size=(100, 3)).astype(np.float32)
    message = conversion.cloud_to_message(STAMP_NS, "map", PointCloud(points, np.zeros((100, 3), np.uint8)))
    read = reader.read_points(message, field_names=("x", "y", "z"))
    np.testing.assert_array_equal(np.stack([read[name] for name in "xyz"], axis=1), points)


def test_a_cloud_is_dense_whatever_is_installed(tmp_path):
    """Every point of it is finite; the packing of sensor_msgs_py would not say so."""
    package = tmp_path / "sensor_msgs_py"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "point_cloud2.py").write_text(
        "from sensor_msgs.msg import PointCloud2\n"
        "def dtype_from_fields(fields, point_step=None):\n    return '<f4,<f4,<f4,<f4'\n"
        "def create_cloud(header, fields, points):\n    return PointCloud2(header=header, is_dense=False)\n"
    )
    script = (
        "import numpy as np; from scal3r_ros.mapping.values import PointCloud;"
        "from scal3r_ros.nodes.ros.messages import cloud_to_message as make;"
        "cloud = make(0, 'map', PointCloud(np.ones((3, 3), np.float32), np.ones((3, 3), np.uint8)));"
        "print(cloud.is_dense, cloud.width)"
    )
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=200)
    assert done.stdout.split() == ["True", "3"], done.stderr


def test_points_that_are_not_finite_are_left_out():
    points = np.array([[0, 0, 0], [np.nan, 0, 0], [0, np.inf, 0], [1, 2, 3]], np.float32)
    message = conversion.cloud_to_message(0, "map", PointCloud(points, np.zeros((4, 3), np.uint8)))
    assert message.width == 2


def test_an_empty_cloud_is_a_valid_message():
    empty = PointCloud(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint8))
    message = conversion.cloud_to_message(0, "map", empty)
    assert (message.width, len(message.data)) == (0, 0)


def test_a_large_cloud_is_packed_without_a_copy_by_bytes():
    """A list of bytes would take a second and more for this one."""
    import time

    cloud = PointCloud(np.ones((500_000, 3), np.float32), np.ones((500_000, 3), np.uint8))
    start = time.process_time()
    conversion.cloud_to_message(0, "map", cloud)
    assert time.process_time() - start < 0.5


@given(st.integers(0, 5000), st.integers(2, 100))
def test_thinned_indices_are_spread_and_keep_both_ends(count, limit):
    chosen = conversion.thinned(count, limit)
    assert len(chosen) == min(count, limit)
    assert np.all(np.diff(chosen) > 0)
    if count:
        assert (chosen[0], chosen[-1]) == (0, count - 1)
        assert np.ptp(np.diff(chosen)) <= 1 if len(chosen) > 1 else True


def test_odometry_carries_pose_covariance_and_twist():
    covariance = np.arange(36.0).reshape(6, 6)
    twist = velocity.Twist(np.arange(6.0), np.eye(6))
    message = conversion.odometry_message(STAMP_NS, "odom", "base_link", pose(3), covariance, twist)
    np.testing.assert_array_equal(message.pose.covariance, np.arange(36.0))
    linear, angular = message.twist.twist.linear, message.twist.twist.angular
    assert [linear.x, linear.y, linear.z, angular.x, angular.y, angular.z] == [0, 1, 2, 3, 4, 5]
    assert (message.header.frame_id, message.child_frame_id) == ("odom", "base_link")


def test_velocity_of_a_screw_motion_is_its_twist():
    xi = np.array([1.0, 0.2, -0.3, 0.1, -0.2, 0.4])
    meter = velocity.VelocityMeter()
    start = pose(5)
    first = meter.measure(0, start)
    assert first.covariance[0, 0] == velocity.UNKNOWN_VARIANCE
    second = meter.measure(500_000_000, start @ se3.exp(xi * 0.5))
    np.testing.assert_allclose(second.velocity, xi, atol=1e-9)


@pytest.mark.parametrize("sigma_m", [0.002, 0.02, 0.2])
def test_the_covariance_of_a_velocity_is_that_of_its_errors(sigma_m):
    """7 m/s at 10 Hz, positions with independent errors: the normalised squared error is that of three dimensions."""
    rng, meter, speed = np.random.default_rng(0), velocity.VelocityMeter(), 7.0
    squares, deviations = [], []
    for index in range(400):
        T = se3.se3(np.eye(3), np.array([speed * index * 0.1, 0.0, 0.0]) + rng.normal(0.0, sigma_m, 3))
        twist = meter.measure(index * 100_000_000, T)
        if index > 20:
            error = twist.velocity[:3] - [speed, 0.0, 0.0]
            squares.append(error @ np.linalg.solve(twist.covariance[:3, :3], error))
            deviations.append(np.sqrt(twist.covariance[0, 0]))
    assert 1.0 < np.mean(squares) < 6.0 or sigma_m < 0.01  # below, the floor is wider than the errors
    assert np.median(deviations) < 3.0 * np.sqrt(2.0) * sigma_m / 0.1 + 0.01 * speed


def test_what_is_not_known_of_the_scale_is_in_the_velocity_along_the_way():
    meter, speed, sigma = velocity.VelocityMeter(), 7.0, 0.05
    exact = velocity.VelocityMeter()
    for index in range(12):
        T = se3.se3(np.eye(3), [speed * index * 0.1, 0.0, 0.0])
        unsure, sure = (
            one.measure(index * 100_000_000, T, scale_sigma=s).covariance for one, s in ((meter, sigma), (exact, 0.0))
        )
    more = np.diag(unsure) - np.diag(sure)
    np.testing.assert_allclose(more, [(sigma * speed) ** 2, 0.0, 0.0, 0.0, 0.0, 0.0], rtol=1e-6, atol=1e-9)


def test_an_extrapolated_velocity_may_be_wrong_by_all_of_it():
    meter = velocity.VelocityMeter()
    poses = [se3.se3(np.eye(3), [0.7 * index, 0.0, 0.0]) for index in range(12)]
    measured = [meter.measure(index * 100_000_000, T, index == 11) for index, T in enumerate(poses)]
    assert np.sqrt(measured[10].covariance[0, 0]) < 0.5
    assert np.sqrt(measured[11].covariance[0, 0]) >= 7.0


def test_calibration_keeps_every_field(camera_info_message):
    calibration = conversion.calibration_of(camera_info_message(d=[0.1, 0.2, 0.0, 0.0, 0.3]))
    assert (calibration.width, calibration.height, calibration.distortion_model) == (64, 48, "plumb_bob")
    assert calibration.d == (0.1, 0.2, 0.0, 0.0, 0.3)
    assert (calibration.k[0], calibration.p[6]) == (50.0, 24.0)


def test_a_cloud_of_the_map_keeps_confidence_and_submaps():
    rng = np.random.default_rng(0)
    cloud = PointCloud(
        rng.normal(size=(50, 3)).astype(np.float32),
        rng.integers(0, 256, (50, 3)).astype(np.uint8),
        confidence=rng.uniform(0, 1, 50).astype(np.float32),
        submaps=rng.integers(0, 9, 50).astype(np.int32),
    )
    message = conversion.cloud_to_message(STAMP_NS, "map", cloud)
    assert [field.name for field in message.fields] == ["x", "y", "z", "rgb", "confidence", "submap"]
    assert [field.offset for field in message.fields] == [0, 4, 8, 12, 16, 20]
    assert message.fields[-1].datatype == message.fields[-1].INT32
    read = conversion.cloud_of_message(message)
    for name in ("points", "colours", "confidence", "submaps"):
        np.testing.assert_array_equal(getattr(read, name), getattr(cloud, name))
    message.point_step = 20
    assert conversion.cloud_of_message(message) is None
