"""Other sensors in, metres out: over a real middleware."""

import math
import time

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import Point, Pose, Quaternion
from nav_msgs.msg import Odometry
from oracle import Oracle
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo, Image, Imu, NavSatFix, NavSatStatus
from std_msgs.msg import Float64, Header
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage

from scal3r_ros.geometry import se3
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.mapping import MapperConfig, OnlineMapper
from scal3r_ros.mapping.graph.observations import Source
from scal3r_ros.mapping.scale.agreement import Conflict
from scal3r_ros.mapping.scale.estimator import EarthReference
from scal3r_ros.mapping.scale.stage import ScaleEstimate
from scal3r_ros.mapping.values import Fix, ImuSample, WheelOdometry
from scal3r_ros.nodes.mapper.node import MapperNode
from scal3r_ros.nodes.ros.messages import matrix_of, pose_message, stamp_message, stamp_ns, transform_message
from scal3r_ros.nodes.ros.parameters import NodeConfig
from scal3r_ros.simulation.sensors.motion import SmoothMotion
from scal3r_ros.simulation.sensors.wheels import WheelModel, simulate_wheels

pytestmark = pytest.mark.ros

T_BASE_CAM = se3.se3(np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]), [1.0, 0.0, 1.5])
T_BASE_IMU = se3.se3(np.eye(3), [0.2, 0.0, 0.4])
T_BASE_GNSS = se3.se3(np.eye(3), [-0.5, 0.0, 2.0])
STAMP = 1000 * 10**9 + 5 * 10**7


def header(nanoseconds, frame):
    return Header(stamp=stamp_message(nanoseconds), frame_id=frame)


def odometry(nanoseconds=STAMP, pose=None):
    message = Odometry(header=header(nanoseconds, "wheel_odom"), child_frame_id="base_link")
    message.pose.pose = pose or Pose(position=Point(x=2.0), orientation=Quaternion(w=1.0))
    return message


def imu():
    message = Imu(header=header(STAMP, "imu_link"))
    message.linear_acceleration.z = 9.8
    return message


def fix(status=NavSatStatus.STATUS_FIX):
    return NavSatFix(
        header=header(STAMP, "gnss_link"), status=NavSatStatus(status=status), latitude=49.0, longitude=8.4,
        altitude=100.0,        position_covariance=np.diag([1.0, 2.0, 3.0]).ravel(), position_covariance_type=3,
    )  # fmt: skip


def mounts(**transforms):
    return TFMessage(transforms=[transform_message(0, "base_link", child, T) for child, T in transforms.items()])


@pytest.fixture
def camera(bench, image_message):
    """Shows the node an image, so that it knows the camera's frame."""

    def show(at_s=1000.0):
        bench.publish("/image", image_message(at_s))

    return show


def test_samples_come_with_where_their_sensors_are_mounted(make_node, bench, scripted, camera, waiting):
    make_node().start()
    tree = mounts(camera_optical=T_BASE_CAM, imu_link=T_BASE_IMU, gnss_link=T_BASE_GNSS)
    bench.publish("/tf_static", tree, latched=True)
    camera()
    assert waiting(lambda: scripted.frames)
    messages = {"/wheel_odometry": odometry(), "/imu": imu(), "/fix": fix()}
    for _ in range(50):  # best effort: one may be lost
        for topic, message in messages.items():
            bench.publish(topic, message)
        if {type(sample) for sample in scripted.samples} == {WheelOdometry, ImuSample, Fix}:
            break
        time.sleep(0.1)
    found = {type(sample): sample for sample in scripted.samples}
    assert set(found) == {WheelOdometry, ImuSample, Fix}
    assert {sample.stamp_ns for sample in found.values()} == {STAMP}
    np.testing.assert_allclose(found[WheelOdometry].T_base_cam, T_BASE_CAM, atol=1e-12)
    np.testing.assert_allclose(found[WheelOdometry].T_wheel_base[:3, 3], [2.0, 0.0, 0.0])
    np.testing.assert_allclose(found[ImuSample].T_imu_cam, se3.invert(T_BASE_IMU) @ T_BASE_CAM, atol=1e-12)
    np.testing.assert_allclose(found[ImuSample].linear_acceleration, [0.0, 0.0, 9.8])
    antenna = se3.invert(T_BASE_CAM) @ T_BASE_GNSS
    np.testing.assert_allclose(found[Fix].antenna_cam, antenna[:3, 3], atol=1e-12)
    np.testing.assert_allclose(found[Fix].covariance_enu, np.diag([1.0, 2.0, 3.0]))


def test_without_a_mount_wheels_and_fixes_are_used_after_a_while_and_the_rest_is_said(
    make_node, bench, scripted, camera, waiting, log_lines
):
    bench.listen(diagnostics=DiagnosticArray)
    make_node().start()
    camera()
    assert waiting(lambda: scripted.frames)

    def ask():
        for topic, message in {"/wheel_odometry": odometry(), "/imu": imu(), "/fix": fix()}.items():
            bench.publish(topic, message)
        bench.publish("/fix", fix(NavSatStatus.STATUS_NO_FIX))
        bench.publish("/wheel_odometry", odometry(pose=Pose(orientation=Quaternion(w=0.0))))
        bench.publish("/imu", Imu())
        time.sleep(0.05)
        return {type(sample) for sample in scripted.samples} == {WheelOdometry, Fix}

    assert waiting(ask)
    assert all(sample.T_base_cam is None for sample in scripted.samples if isinstance(sample, WheelOdometry))
    assert waiting(lambda: ask() and log_lines().count("of imu with the camera's frame") == 1)
    assert waiting(
        lambda: (
            ask()
            and {"fault: wheel_odometry unusable", "fault: imu without stamp", "samples: fix"}
            <= {item.key for message in bench.heard["diagnostics"] for item in message.status[0].values}
        )
    )


def test_scale_is_unknown_until_it_is_known_and_again_after(make_node, bench, scripted, waiting):
    bench.listen(scale=Float64, diagnostics=DiagnosticArray, tf_static=TFMessage)
    make_node(earth_frame="enu").start()
    heard = bench.heard

    def reported(key):
        values = (
            {item.key: item.value for item in heard["diagnostics"][-1].status[0].values} if heard["diagnostics"] else {}
        )
        return values.get(key)

    assert waiting(lambda: reported("scale [m/unit]") == "unknown")
    assert not heard["scale"]
    wheels = Conflict(Source.WHEEL_ODOMETRY, float(np.log(1.08)), 5.0)
    sources = (Source.CAMERA_HEIGHT, Source.GNSS, Source.WHEEL_ODOMETRY)
    scripted.scale.known = ScaleEstimate(1.25, 0.02, sources, (wheels,))
    scripted.scale.place = EarthReference(se3.se3(np.eye(3), [5.0, -3.0, 0.5]), 49.0, 8.4, 115.0)
    assert waiting(lambda: heard["scale"] and heard["scale"][-1].data == 1.25)
    assert waiting(lambda: reported("scale sources") == "camera_height, gnss, wheel_odometry")
    assert reported("scale [m/unit]") == "1.25000"
    assert reported("scale sigma [%]") == "2.00"
    assert reported("scale conflict: wheel_odometry") == "+8.0 % (5.0 sigma)"
    assert heard["diagnostics"][-1].status[0].level == DiagnosticStatus.WARN
    assert waiting(lambda: heard["tf_static"])
    (placed,) = heard["tf_static"][-1].transforms
    assert (placed.header.frame_id, placed.child_frame_id) == ("enu", "map")
    np.testing.assert_allclose(matrix_of(placed.transform)[:3, 3], [5.0, -3.0, 0.5])
    scripted.scale.known = None
    assert waiting(lambda: math.isnan(heard["scale"][-1].data))
    assert len(heard["scale"]) == 2  # only changes


def test_wheels_turn_tf_into_metres(bench, street_frames, street_camera, waiting):
    stamps = np.array([frame.stamp_ns for frame in street_frames], np.int64)
    poses = np.stack([frame.T_ref_cam for frame in street_frames])
    samples = simulate_wheels(SmoothMotion(Trajectory(stamps, poses)), 1, WheelModel(circumference=0.0, slip_most=0.0))
    mapper = OnlineMapper(
        MapperConfig(initial_median_depth_m=40.0), Oracle({frame.stamp_ns: frame for frame in street_frames})
    )
    overrides = [
        Parameter(name, value=value)
        for name, value in {"queue.frames": 100, "qos.image.depth": 100, "no_image_warning_s": 60.0}.items()
    ]
    node = bench.add(
        MapperNode(NodeConfig, lambda config: mapper, context=bench.context, parameter_overrides=overrides)
    )
    bench.listen(tf=TFMessage, scale=Float64)
    node.start()
    bench.publish("/tf_static", mounts(camera_optical=samples[0].T_base_cam), latched=True)
    k = street_camera.K
    info = CameraInfo(
        header=header(int(stamps[0]), "camera_optical"), width=street_camera.width, height=street_camera.height,
        distortion_model="plumb_bob", d=[0.0] * 5, k=k.ravel(), r=np.eye(3).ravel(),
        p=np.hstack([k, np.zeros((3, 1))]).ravel(),
    )  # fmt: skip
    bench.publish("/camera_info", info)
    wheels = iter(samples)
    ahead = next(wheels)
    for frame in street_frames:
        while ahead is not None and ahead.stamp_ns <= frame.stamp_ns + 10**8:
            pose = pose_message(ahead.T_wheel_base)
            bench.publish("/wheel_odometry", odometry(ahead.stamp_ns, pose))
            ahead = next(wheels, None)
        image = np.ascontiguousarray(frame.image)
        bench.publish(
            "/image",
            Image(
                header=header(frame.stamp_ns, "camera_optical"), encoding="rgb8", height=image.shape[0],
                width=image.shape[1], step=image.shape[1] * 3, data=image.tobytes(),
            ),
        )  # fmt: skip
        time.sleep(0.1)
    assert waiting(lambda: bench.heard["scale"] and abs(bench.heard["scale"][-1].data - 1.0) < 0.02)

    def base():
        transforms = [item for message in bench.heard["tf"] for item in message.transforms]
        return {stamp_ns(t.header.stamp): matrix_of(t.transform) for t in transforms if t.child_frame_id == "base_link"}

    last = [int(stamp) for stamp in stamps[-9:]]
    assert waiting(lambda: set(last) <= set(base()))
    posed = base()
    true = poses[np.searchsorted(stamps, last)] @ se3.invert(samples[0].T_base_cam)
    ways = [np.linalg.norm(T[-1][:3, 3] - T[0][:3, 3]) for T in (np.stack([posed[stamp] for stamp in last]), true)]
    assert ways[0] / ways[1] == pytest.approx(1.0, abs=0.03)
    call = bench.call(Trigger, "/mapper/reset", Trigger.Request())
    assert call.success
    assert waiting(lambda: math.isnan(bench.heard["scale"][-1].data))
