"""What other sensors recorded comes back from a bag as it was written, with where they are mounted."""

import sqlite3

import numpy as np
import pytest

from scal3r_ros.errors import SequenceError
from scal3r_ros.geometry.se3 import invert, rotation_exp, se3
from scal3r_ros.io.bags.sensors import (
    SENSOR_TOPICS,
    SensorReader,
    SensorTopics,
    connected,
    message_of,
    mounts_of,
    transforms_of,
)
from scal3r_ros.io.bags.topics import STATIC_TRANSFORM_TOPIC
from scal3r_ros.io.bags.writer import BagWriter
from scal3r_ros.mapping.values import Fix, ImuSample, WheelOdometry

T_BASE_CAM = se3(rotation_exp([0.1, -1.2, 0.8]), [1.4, 0.1, 1.6])
T_IMU_CAM = se3(rotation_exp([1.5, 0.2, -0.3]), [0.1, 0.2, -0.3])
ANTENNA = np.array([0.2, -0.5, -1.0])


def samples():
    for k in range(6):
        stamp = 10**18 + k * 10**7
        yield WheelOdometry(stamp, se3(rotation_exp([0, 0, 0.1 * k]), [0.3 * k, 0.1, 0]), T_BASE_CAM)
        yield ImuSample(stamp + 1, np.array([0.1, k, -3.0]), np.array([k, 2.0, 9.81]), T_IMU_CAM)
        yield Fix(stamp + 2, 49.0 + 1e-6 * k, 8.4, 110.5, np.diag([1.0, 2.0, 4.0]), ANTENNA)


def write(path, some):
    with BagWriter(path, T_base_cam=T_BASE_CAM) as writer:
        writer.write_message(STATIC_TRANSFORM_TOPIC, 10**18, transforms_of(mounts_of(some), 10**18))
        for sample in some:
            writer.write_message(SENSOR_TOPICS[type(sample)], sample.stamp_ns, message_of(sample))
    return path


def test_samples_and_mounts_come_back(tmp_path):
    written = list(samples())
    reader = SensorReader(write(tmp_path / "bag", written))
    read = list(reader.until(2 * 10**18))
    assert [type(s) for s in read] == [type(s) for s in written]
    for a, b in zip(read, written, strict=True):
        assert a.stamp_ns == b.stamp_ns
        match b:
            case WheelOdometry():
                np.testing.assert_allclose(a.T_wheel_base, b.T_wheel_base, atol=1e-12)
                np.testing.assert_allclose(a.T_base_cam, T_BASE_CAM, atol=1e-12)
            case ImuSample():
                np.testing.assert_array_equal(a.angular_velocity, b.angular_velocity)
                np.testing.assert_array_equal(a.linear_acceleration, b.linear_acceleration)
                np.testing.assert_allclose(a.T_imu_cam, T_IMU_CAM, atol=1e-12)
            case Fix():
                assert (a.latitude_deg, a.longitude_deg, a.altitude_m) == (b.latitude_deg, 8.4, 110.5)
                np.testing.assert_array_equal(a.covariance_enu, b.covariance_enu)
                np.testing.assert_allclose(a.antenna_cam, ANTENNA, atol=1e-12)
    assert reader.topics == ("/wheel_odometry", "/imu", "/fix")
    reader.close()


def test_samples_are_given_once_and_up_to_the_time_asked_for(tmp_path):
    reader = SensorReader(write(tmp_path / "bag", list(samples())))
    first = [s.stamp_ns for s in reader.until(10**18 + 2 * 10**7)]
    assert first == sorted(first)
    assert first[-1] == 10**18 + 2 * 10**7
    rest = [s.stamp_ns for s in reader.until(2 * 10**18)]
    assert len(first) + len(rest) == 18
    assert min(rest) > max(first)
    reader.close()


def test_without_transforms_wheels_have_no_mount_and_the_imu_is_silent(tmp_path, caplog):
    # The images have another frame than the one that the bag's transforms place.
    reader = SensorReader(write(tmp_path / "bag", list(samples())), camera_frame="left")
    read = list(reader.until(2 * 10**18))
    assert {type(s) for s in read} == {WheelOdometry, Fix}
    assert all(s.T_base_cam is None for s in read if isinstance(s, WheelOdometry))
    assert all((s.antenna_cam == 0).all() for s in read if isinstance(s, Fix))
    assert sum("no static transform" in record.message for record in caplog.records) == 3
    reader.close()


def test_topics_that_a_bag_lacks_or_has_of_another_type_bring_no_samples(tmp_path, caplog):
    path = write(tmp_path / "bag", [s for s in samples() if isinstance(s, Fix)])
    reader = SensorReader(path)
    assert reader.topics == ("/fix",)
    reader.close()
    with BagWriter(tmp_path / "other") as writer:
        for sample in samples():
            name = "/imu" if isinstance(sample, Fix) else "/my_" + SENSOR_TOPICS[type(sample)][1:]
            writer.write_message(name, sample.stamp_ns, message_of(sample))
    reader = SensorReader(tmp_path / "other")
    assert reader.topics == ()  # nobody asked for its /imu, which is something else
    assert "NavSatFix" in caplog.text
    reader.close()
    with pytest.raises(SequenceError, match="Odometry"):
        SensorReader(tmp_path / "other", topics=SensorTopics(imu="/my_wheel_odometry"))


def test_frames_are_connected_along_and_against_transforms():
    a, b = se3(rotation_exp([0.3, 0, 0]), [1, 2, 3]), se3(rotation_exp([0, 0.5, 0]), [4, 5, 6])
    transforms = {("base", "camera"): a, ("base", "imu"): b}
    np.testing.assert_allclose(connected(transforms, "imu", "camera"), invert(b) @ a)
    np.testing.assert_allclose(connected(transforms, "camera", "camera"), np.eye(4))
    assert connected(transforms, "imu", "wheel") is None


def test_a_static_transform_that_is_none_costs_only_itself(tmp_path):
    """A rotation of zeros, as of a driver that leaves it out, and a message that is cut off."""
    transforms = transforms_of({("base_link", "odd"): np.eye(4), ("imu_link", "camera_optical"): T_IMU_CAM}, 10**18)
    transforms.transforms[0].transform.rotation = type(transforms.transforms[0].transform.rotation)(0.0, 0.0, 0.0, 0.0)
    written = [sample for sample in samples() if isinstance(sample, ImuSample)]
    with BagWriter(tmp_path / "bag") as writer:
        writer.write_message(STATIC_TRANSFORM_TOPIC, 10**18, transforms)
        writer.write_message(STATIC_TRANSFORM_TOPIC, 10**18, transforms)
        for sample in written:
            writer.write_message("/imu", sample.stamp_ns, message_of(sample))
    with sqlite3.connect(tmp_path / "bag" / "bag.db3") as file:
        last = "(SELECT MAX(m.id) FROM messages m JOIN topics t ON m.topic_id = t.id WHERE t.name = ?)"
        file.execute(f"UPDATE messages SET data = substr(data, 1, 40) WHERE id = {last}", [STATIC_TRANSFORM_TOPIC])
    reader = SensorReader(tmp_path / "bag")
    read = list(reader.until(2 * 10**18))
    reader.close()
    assert len(read) == len(written)
    for sample in read:
        np.testing.assert_allclose(sample.T_imu_cam, T_IMU_CAM, atol=1e-12)


def test_sensors_without_a_frame_are_not_taken_for_the_camera():
    assert connected({}, "", "") is None
    assert connected({("", "imu"): np.eye(4)}, "imu", "") is None
    np.testing.assert_array_equal(connected({}, "camera", "/camera"), np.eye(4))
