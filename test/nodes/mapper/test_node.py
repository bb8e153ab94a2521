"""The node over a real middleware, with a mapper whose poses are known."""

import itertools
import time

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.srv import ChangeState, GetState
from nav_msgs.msg import Odometry, Path
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CameraInfo, CompressedImage, PointCloud2
from std_srvs.srv import SetBool, Trigger
from tf2_msgs.msg import TFMessage

from scal3r_ros.geometry import se3
from scal3r_ros.nodes.ros.messages import matrix_of, stamp_ns, transform_message

pytestmark = pytest.mark.ros

CONFIGURE, CLEANUP, ACTIVATE, DEACTIVATE = 1, 2, 3, 4
T_BASE_CAM = se3.se3(np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]), [1.0, 0.0, 1.5])


@pytest.fixture
def outputs(bench):
    bench.listen(tf=TFMessage, odometry=Odometry, path=Path, points=PointCloud2, map=PointCloud2)
    bench.listen(diagnostics=DiagnosticArray)
    return bench.heard


@pytest.fixture
def send(bench, image_message):
    """Sends images stamped at 10 Hz from `first_s` on, ten times as fast."""

    def send(number: int, first_s: float = 1000.0) -> list[int]:
        stamps = [first_s + 0.1 * index for index in range(number)]
        for stamp in stamps:
            bench.publish("/image", image_message(stamp))
            time.sleep(0.01)
        return [round(stamp * 1e9) for stamp in stamps]

    return send


def transforms(messages, child):
    return {
        stamp_ns(item.header.stamp): matrix_of(item.transform)
        for message in messages
        for item in message.transforms
        if item.child_frame_id == child
    }


def test_every_image_gets_a_pose_under_its_own_stamp(make_node, outputs, send, waiting):
    make_node().start()
    stamps = send(12)
    assert waiting(lambda: len(outputs["odometry"]) == 12)
    assert waiting(lambda: len(transforms(outputs["tf"], "base_link")) == 12)
    assert sorted(transforms(outputs["tf"], "base_link")) == stamps
    assert [stamp_ns(message.header.stamp) for message in outputs["odometry"]] == stamps
    poses = transforms(outputs["tf"], "base_link")
    for message in outputs["odometry"]:
        position = message.pose.pose.position
        stamp = stamp_ns(message.header.stamp)
        np.testing.assert_allclose([position.x, position.y, position.z], poses[stamp][:3, 3], atol=1e-9)
        np.testing.assert_allclose(poses[stamp][0, 3], (stamp - 1000 * 10**9) * 1e-9, atol=1e-6)
        assert (message.header.frame_id, message.child_frame_id) == ("odom", "base_link")
        assert message.pose.covariance[0] > 0


def test_before_the_first_chunk_there_is_only_the_frame_of_the_map(make_node, outputs, send, waiting, scripted):
    make_node().start()
    stamps = send(3)
    assert waiting(lambda: len(scripted.frames) == 3)
    assert waiting(lambda: stamps[-1] in transforms(outputs["tf"], "odom"))
    for T_map_odom in transforms(outputs["tf"], "odom").values():
        np.testing.assert_array_equal(T_map_odom, np.eye(4))
    assert waiting(lambda: len(outputs["diagnostics"]) >= 2)
    assert not transforms(outputs["tf"], "base_link")
    assert not any(outputs[name] for name in ("odometry", "path", "points", "map"))


def test_the_path_follows_the_camera_between_chunks(make_node, outputs, send, waiting, scripted):
    make_node().start()
    send(4)
    assert waiting(lambda: outputs["path"])
    scripted.size = 1000  # no further chunk
    stamps = send(6, first_s=1000.4)
    assert waiting(lambda: outputs["path"] and stamp_ns(outputs["path"][-1].header.stamp) == stamps[-1])
    path = outputs["path"][-1]
    assert len(path.poses) == 10
    x = [pose.pose.position.x for pose in path.poses]
    np.testing.assert_allclose(np.diff(x), 0.1, atol=1e-6)


def test_the_path_is_bounded_between_chunks_too(make_node, outputs, send, waiting, scripted):
    make_node(output__path_max_poses=5).start()
    send(4)
    assert waiting(lambda: outputs["path"])
    scripted.size = 1000
    stamps = send(20, first_s=1000.4)
    assert waiting(lambda: stamp_ns(outputs["path"][-1].header.stamp) == stamps[-1])
    assert max(len(path.poses) for path in outputs["path"]) == 5


def test_a_transform_of_the_camera_that_comes_late_is_taken_over(make_node, bench, outputs, send, waiting, log_lines):
    make_node().start()
    send(6)
    assert waiting(lambda: len(outputs["odometry"]) == 6)
    tree = TFMessage(transforms=[transform_message(0, "base_link", "camera_optical", T_BASE_CAM)])
    bench.publish("/tf_static", tree, latched=True)
    tenths = itertools.count(6)

    def taken_over() -> bool:  # an image may overtake the transform
        send(1, first_s=1000.0 + next(tenths) / 10)
        return "is used from here on" in log_lines()

    assert waiting(taken_over)
    x = next(tenths) / 10
    (stamp,) = send(1, first_s=1000.0 + x)
    assert waiting(lambda: stamp in transforms(outputs["tf"], "base_link"))
    expected = [x - 1.0, 0.0, -1.5]  # the base is 1 m behind and 1.5 m below the camera
    np.testing.assert_allclose(transforms(outputs["tf"], "base_link")[stamp][:3, 3], expected, atol=1e-6)
    assert log_lines().count("is used from here on") == 1


def test_path_points_and_map_follow_a_chunk(make_node, outputs, send, waiting):
    make_node(output__map_byte_budget=24_000).start()
    stamps = send(4)
    assert waiting(lambda: outputs["path"] and outputs["points"] and outputs["map"])
    path, points, cloud = outputs["path"][-1], outputs["points"][-1], outputs["map"][-1]
    assert {message.header.frame_id for message in (path, points, cloud)} == {"map"}
    assert stamp_ns(points.header.stamp) == stamps[3]
    assert (points.width, [field.name for field in points.fields]) == (5, ["x", "y", "z", "rgb"])
    assert cloud.width == 1000  # 24 000 bytes of 24 a point
    assert [stamp_ns(pose.header.stamp) for pose in path.poses] == stamps
    np.testing.assert_allclose(path.poses[0].pose.position.x, 0.1, atol=1e-9)  # corrected


def test_corrections_move_only_map_to_odom(make_node, outputs, send, waiting):
    make_node().start()
    stamps = send(12)
    assert waiting(lambda: len(transforms(outputs["tf"], "base_link")) == 12)
    assert waiting(lambda: transforms(outputs["tf"], "odom").get(stamps[-1], np.zeros((4, 4)))[0, 3] > 0.25)
    base = transforms(outputs["tf"], "base_link")
    np.testing.assert_allclose(np.diff([base[stamp][0, 3] for stamp in stamps]), 0.1, atol=1e-6)


def test_map_to_odom_is_repeated_at_ten_hertz_without_images(make_node, outputs, send, waiting):
    make_node().start()
    stamps = send(4)
    assert waiting(lambda: len(transforms(outputs["tf"], "base_link")) == 4)
    before = len(outputs["tf"])
    assert waiting(lambda: len(outputs["tf"]) >= before + 5)
    assert {stamp_ns(item.header.stamp) for message in outputs["tf"][before:] for item in message.transforms} == {
        stamps[-1]
    }


def test_the_camera_sits_where_tf_static_says(make_node, bench, outputs, send, waiting):
    tree = TFMessage(transforms=[transform_message(0, "base_link", "camera_optical", T_BASE_CAM)])
    make_node().start()
    bench.publish("/tf_static", tree, latched=True)
    stamps = send(4)
    assert waiting(lambda: len(transforms(outputs["tf"], "base_link")) == 4)
    poses = transforms(outputs["tf"], "base_link")
    # The camera starts at the origin and looks along x, as the base does: the base is 1 m behind and 1.5 m below.
    np.testing.assert_allclose(poses[stamps[0]], se3.se3(np.eye(3), [-1.0, 0.0, -1.5]), atol=1e-9)


def test_a_camera_without_tf_static_warns_once(make_node, bench, send, waiting, outputs, log_lines):
    make_node().start()
    send(8)
    assert waiting(lambda: len(outputs["odometry"]) == 8)
    bench.call(Trigger, "/mapper/reset", Trigger.Request())  # as for a bag that loops
    send(8)
    assert waiting(lambda: len(outputs["odometry"]) == 16)
    assert log_lines().count("/tf_static does not connect") == 1


def test_compressed_images_are_taken(make_node, bench, scripted, waiting):
    import cv2

    make_node(image_transport="compressed").start()
    picture = cv2.imencode(".png", np.zeros((48, 64, 3), np.uint8))[1].tobytes()
    bench.publish("/image/compressed", CompressedImage(format="png", data=picture))
    assert waiting(lambda: scripted.frames)


def test_a_calibration_that_was_published_once_before_the_node_started_is_heard(
    make_node, bench, image_message, camera_info_message, scripted, waiting
):
    """As by drivers that latch it: published once, transient local."""
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    publisher = bench.probe.create_publisher(CameraInfo, "/camera_info", latched)
    publisher.publish(camera_info_message())
    make_node(camera_info_wait_s=10.0).start()
    bench.publish("/image", image_message(1000.0))
    assert waiting(lambda: scripted.frames)
    assert scripted.frames[0].intrinsics is not None
    bench.probe.destroy_publisher(publisher)


def test_calibration_reaches_the_frames(make_node, bench, image_message, camera_info_message, scripted, waiting):
    make_node(camera_info_wait_s=10.0).start()
    bench.publish("/image", image_message(1000.0))
    bench.publish("/camera_info", camera_info_message())
    assert waiting(lambda: scripted.frames)
    assert scripted.frames[0].intrinsics is not None
    assert scripted.frames[0].intrinsics.fx == 50.0


@pytest.mark.parametrize(
    ("topic", "rectification", "is_raw"),
    [("/camera/image_rect", "auto", False), ("/camera/image_rect", "raw", True), ("/camera/image", "auto", True)],
)
def test_images_of_a_rectified_topic_are_not_rectified_again(
    make_node, bench, image_message, camera_info_message, scripted, waiting, topic, rectification, is_raw
):
    make_node(remap={"image": topic}, camera_info_wait_s=10.0, rectification=rectification).start()
    gradient = np.tile(np.arange(64, dtype=np.uint8), (48, 1))
    bench.publish(topic, image_message(1000.0, data=gradient.tobytes()))
    bench.publish("/camera_info", camera_info_message(d=[-0.3, 0.1, 0.0, 0.0, 0.0]))
    assert waiting(lambda: scripted.frames)
    assert np.array_equal(scripted.frames[0].image[..., 0], gradient) != is_raw


def test_a_usual_calibration_is_no_incompatible_one(
    make_node, bench, image_message, camera_info_message, scripted, waiting, capfd
):
    """The node asks for latched ones, too: that a usual one is none of these is no warning."""
    publisher = bench.probe.create_publisher(CameraInfo, "/camera_info", 10)
    make_node(camera_info_wait_s=10.0).start()
    assert waiting(lambda: publisher.get_subscription_count() == 1)
    bench.publish("/image", image_message(1000.0))
    publisher.publish(camera_info_message())
    assert waiting(lambda: scripted.frames)
    assert scripted.frames[0].intrinsics is not None
    bench.probe.destroy_publisher(publisher)
    assert "New publisher discovered" not in capfd.readouterr().err


def test_reset_empties_path_and_map(make_node, bench, outputs, send, waiting, scripted):
    make_node().start()
    send(8)
    assert waiting(lambda: outputs["map"] and len(outputs["odometry"]) == 8)
    answer = bench.call(Trigger, "/mapper/reset", Trigger.Request())
    assert answer.success
    assert scripted.resets == 1
    assert waiting(lambda: not outputs["path"][-1].poses and not outputs["map"][-1].width)
    send(8, first_s=1000.0)  # earlier stamps are welcome again
    assert waiting(lambda: len(outputs["odometry"]) == 16)


def test_pause_ignores_images_until_resume(make_node, bench, send, waiting, scripted):
    make_node().start()
    send(2)
    assert waiting(lambda: len(scripted.frames) == 2)
    assert bench.call(SetBool, "/mapper/pause", SetBool.Request(data=True)).success
    send(3, first_s=1001.0)
    assert not waiting(lambda: len(scripted.frames) > 2, timeout_s=0.5)
    assert bench.call(Trigger, "/mapper/resume", Trigger.Request()).success
    send(1, first_s=1002.0)
    assert waiting(lambda: len(scripted.frames) == 3)
    bench.call(SetBool, "/mapper/pause", SetBool.Request(data=True))
    assert bench.call(SetBool, "/mapper/pause", SetBool.Request(data=False)).success
    send(1, first_s=1003.0)
    assert waiting(lambda: len(scripted.frames) == 4)


def test_services_say_so_before_the_node_is_configured(make_node, bench):
    make_node(autostart=False).start()
    for service, kind, request in (
        ("reset", Trigger, Trigger.Request()),
        ("pause", SetBool, SetBool.Request(data=True)),
        ("resume", Trigger, Trigger.Request()),
    ):
        answer = bench.call(kind, f"/mapper/{service}", request)
        assert not answer.success
        assert "not configured" in answer.message


def test_lifecycle_goes_round_twice(make_node, bench, outputs, send, waiting, scripted):
    make_node(autostart=False).start()

    def change(transition: int) -> bool:
        request = ChangeState.Request()
        request.transition.id = transition
        return bench.call(ChangeState, "/mapper/change_state", request).success

    def state() -> str:
        return bench.call(GetState, "/mapper/get_state", GetState.Request()).current_state.label

    for round_ in range(2):
        assert state() == "unconfigured"
        assert change(CONFIGURE)
        assert state() == "inactive"
        assert change(ACTIVATE)
        assert state() == "active"
        scripted.reset()
        before = len(outputs["odometry"])
        bench._publishers.clear()
        send(6, first_s=1000.0 + 10 * round_)
        assert waiting(lambda before=before: len(outputs["odometry"]) >= before + 4)
        assert change(DEACTIVATE)
        assert state() == "inactive"
        assert waiting(lambda before=before: len(outputs["odometry"]) == before + 6)
        assert change(CLEANUP)


def test_deactivation_maps_what_the_window_holds(make_node, bench, outputs, send, waiting, scripted):
    node = make_node()
    node.start()
    send(2)
    assert waiting(lambda: len(scripted.frames) == 2)
    node.trigger_deactivate()
    assert [len(chunk.frames) for chunk in scripted.chunks] == [2]
    assert waiting(lambda: len(outputs["odometry"]) == 2 and outputs["map"])


def test_images_never_wait_for_a_chunk(make_node, outputs, send, waiting, scripted):
    scripted.chunk_s = 1.0
    make_node(queue__frames=100).start()
    send(40)
    assert waiting(lambda: len(scripted.frames) == 40, timeout_s=9.0)  # all chunks together take ten
    assert any(scripted.busy)
    assert waiting(lambda: len(outputs["odometry"]) == 40)
    stamps = [stamp_ns(message.header.stamp) for message in outputs["odometry"]]
    assert stamps == sorted(stamps)


def test_a_clock_set_back_resets_the_map(make_node, outputs, send, waiting, scripted):
    make_node().start()
    send(8, first_s=1000.0)
    assert waiting(lambda: len(outputs["odometry"]) == 8)
    send(10, first_s=900.0)  # two of them until it is clear that the clock itself was set back
    assert waiting(lambda: len(outputs["odometry"]) == 16)
    assert scripted.resets == 1
    assert waiting(lambda: any(not path.poses for path in outputs["path"]))
    assert waiting(lambda: any(values(item).get("dropped: stamp jumped") == "2" for item in outputs["diagnostics"]))


def test_diagnostics_tell_rates_memory_and_submaps(make_node, outputs, send, waiting):
    make_node(diagnostics_period_s=0.3).start()
    send(8)
    assert waiting(lambda: len(outputs["odometry"]) == 8)
    assert waiting(lambda: any("submap 1" in values(message) for message in outputs["diagnostics"]))
    told = values(outputs["diagnostics"][-1])
    assert told["images received"] == told["poses published"] == "8"
    assert float(told["memory resident [MB]"]) > 10
    assert told["mapper: submaps"] == "2"
    assert told["submap 1"].startswith("ok, scale 1.0000, 4 keyframes")
    assert {"lag [s]", "rate in [Hz]", "rate out [Hz]", "dropped", "uptime [s]", "images waiting"} <= set(told)
    assert waiting(lambda: outputs["diagnostics"][-1].status[0].level == DiagnosticStatus.OK)


def values(message):
    return {item.key: item.value for item in message.status[0].values}


def test_pause_reset_and_deactivation_are_logged(make_node, bench, send, waiting, scripted, log_lines):
    node = make_node()
    node.start()
    send(4)
    assert waiting(lambda: len(scripted.mapped) == 1)
    bench.call(SetBool, "/mapper/pause", SetBool.Request(data=True))
    bench.call(Trigger, "/mapper/resume", Trigger.Request())
    bench.call(Trigger, "/mapper/reset", Trigger.Request())
    node.trigger_deactivate()
    said = log_lines()
    order = ["paused: images are ignored", "running again", "the map was reset", "stopping: ", "stopped: "]
    places = [said.index(words) for words in order]
    assert places == sorted(places)


def test_after_a_reset_the_result_counts_what_came_since(
    make_node, bench, send, waiting, scripted, log_lines, tmp_path
):
    node = make_node(result_directory=str(tmp_path / "run"))
    node.start()
    send(8)
    assert waiting(lambda: len(scripted.mapped) == 2)
    bench.call(Trigger, "/mapper/reset", Trigger.Request())
    send(4)
    assert waiting(lambda: len(scripted.mapped) == 3)
    node.trigger_deactivate()
    assert "4 of 4 images posed since the last reset (12 in all)" in log_lines()


def test_a_camera_that_stops_is_not_mistaken_for_a_wrong_topic(make_node, send, waiting, scripted, log_lines):
    make_node(no_image_warning_s=0.5).start()
    send(4)
    said = ""

    def explained() -> bool:
        nonlocal said
        said = log_lines()
        return "no image on /image" in said

    assert waiting(explained)
    assert "after 4 images" in said
    assert "remap" not in said[said.index("no image on /image") :]
