"""Wrong input: one clear message, a count in the diagnostics, and a node that lives on."""

import threading

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from sensor_msgs.msg import CompressedImage, PointCloud2

from scal3r_ros.errors import MappingError
from scal3r_ros.io.results.writer import ResultWriter

pytestmark = pytest.mark.ros


@pytest.fixture
def told(bench):
    """The values of the newest diagnostics message."""
    bench.listen(diagnostics=DiagnosticArray)

    def read() -> dict[str, str]:
        messages = bench.heard["diagnostics"]
        return {item.key: item.value for item in messages[-1].status[0].values} if messages else {}

    return read


BAD_IMAGES = {
    "unknown encoding": {"encoding": "jpeg2000"},
    "truncated data": {"data": bytes(100)},
    "zero size": {"width": 0, "height": 0, "data": b""},
    "size mismatch": {"step": 10},
}


@pytest.mark.parametrize("reason", BAD_IMAGES)
def test_bad_images_are_dropped_said_once_and_counted(
    reason, make_node, bench, image_message, scripted, told, waiting, log_lines
):
    make_node(diagnostics_period_s=0.2).start()
    for index in range(3):
        bench.publish("/image", image_message(1000.0 + index, **BAD_IMAGES[reason]))
    bench.publish("/image", image_message(1003.0))
    assert waiting(lambda: len(scripted.frames) == 1)
    assert waiting(lambda: told().get(f"dropped: {reason}") == "3")
    said = log_lines()
    assert said.count("an image was dropped") == 1
    assert "Traceback" not in said


def test_a_damaged_compressed_image_is_dropped(make_node, bench, told, waiting):
    make_node(image_transport="compressed", diagnostics_period_s=0.2).start()
    bench.publish("/image/compressed", CompressedImage(format="jpeg", data=b"no picture"))
    assert waiting(lambda: told().get("dropped: undecodable picture") == "1")


def test_drops_raise_the_level_to_warn_and_it_falls_again(make_node, bench, image_message, waiting, told):
    make_node(diagnostics_period_s=0.2).start()
    bench.publish("/image", image_message(1000.0, encoding="jpeg2000"))
    levels = lambda: [message.status[0].level for message in bench.heard["diagnostics"]]  # noqa: E731
    assert waiting(lambda: DiagnosticStatus.WARN in levels())
    assert waiting(lambda: levels()[-1] == DiagnosticStatus.OK)
    assert told()["dropped"] == "1"


def test_camera_info_of_zeros_means_uncalibrated(
    make_node, bench, image_message, camera_info_message, scripted, waiting, log_lines
):
    make_node(camera_info_wait_s=10.0).start()
    bench.publish("/camera_info", camera_info_message(k=[0.0] * 9, p=[0.0] * 12, d=[]))
    for index in range(3):
        bench.publish("/image", image_message(1000.0 + index))
    assert waiting(lambda: len(scripted.frames) == 3)
    assert scripted.frames[0].intrinsics is None
    assert log_lines().count("camera_info is all zeros") == 1


def test_camera_info_of_another_size_drops_the_images(
    make_node, bench, image_message, camera_info_message, scripted, told, waiting, log_lines
):
    make_node(camera_info_wait_s=10.0, diagnostics_period_s=0.2).start()
    bench.publish("/camera_info", camera_info_message(width=640, height=480))
    for index in range(3):
        bench.publish("/image", image_message(1000.0 + index))
    assert waiting(lambda: told().get("dropped: calibration of another size") == "3")
    assert log_lines().count("an image was dropped") == 1
    bench.publish("/camera_info", camera_info_message())
    assert waiting(
        lambda: bench.publish("/image", image_message(1010.0 + len(bench.heard["diagnostics"]))) or scripted.frames
    )


def test_an_unknown_lens_is_not_used(
    make_node, bench, image_message, camera_info_message, scripted, waiting, log_lines
):
    make_node(camera_info_wait_s=10.0).start()
    bench.publish("/camera_info", camera_info_message(distortion_model="fish_and_chips", d=[0.1] * 5))
    for index in range(2):
        bench.publish("/image", image_message(1000.0 + index))
    assert waiting(lambda: len(scripted.frames) == 2)
    assert log_lines().count("camera_info is not used") == 1


def test_stamps_that_go_back_a_little_are_dropped(make_node, bench, image_message, scripted, told, waiting, log_lines):
    make_node(diagnostics_period_s=0.2).start()
    for stamp in (1000.0, 1000.1, 1000.05, 1000.1, 1000.2):
        bench.publish("/image", image_message(stamp))
    assert waiting(lambda: len(scripted.frames) == 3)
    assert waiting(lambda: told().get("dropped: stamp not later") == told().get("dropped: stamp repeated") == "1")
    assert log_lines().count("an image was dropped") == 2  # once for each reason
    assert scripted.resets == 0


def test_a_slow_tracker_drops_the_oldest_and_counts_them(make_node, bench, image_message, scripted, told, waiting):
    observe, go_on = scripted.observe, threading.Event()
    scripted.observe = lambda frame, busy=False: (go_on.wait(30.0), observe(frame, busy))[1]
    make_node(queue__frames=2, diagnostics_period_s=0.2).start()
    bench.publish("/image", image_message(1000.0))
    assert waiting(lambda: told().get("images received") == "1" and told()["images waiting"] == "0")
    for index in range(1, 8):
        bench.publish("/image", image_message(1000.0 + index))
    assert waiting(lambda: told().get("dropped: queue full") == "5")
    go_on.set()
    assert waiting(lambda: len(scripted.frames) == 3)
    assert [frame.stamp_ns // 10**9 for frame in scripted.frames] == [1000, 1006, 1007]


def test_no_images_at_all_explains_itself_once(make_node, bench, image_message, waiting, log_lines, told):
    make_node(no_image_warning_s=0.5, diagnostics_period_s=0.2).start()
    elsewhere = bench.probe.create_publisher(type(image_message(0.0)), "/front/image_raw", 10)
    said = ""

    def explained() -> bool:
        nonlocal said
        said = log_lines()
        return "no image on /image" in said

    assert waiting(explained)
    assert not waiting(lambda: log_lines().count("no image on /image") > 1, timeout_s=1.5)
    assert "/front/image_raw (sensor_msgs/msg/Image)" in said
    assert waiting(lambda: bench.heard["diagnostics"][-1].status[0].level == DiagnosticStatus.WARN)
    assert "no images" in bench.heard["diagnostics"][-1].status[0].message
    bench.probe.destroy_publisher(elsewhere)


def test_a_publisher_of_the_wrong_qos_is_named_with_its_qos(make_node, bench, image_message, waiting, log_lines):
    from rclpy.qos import QoSProfile, ReliabilityPolicy

    qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    bench.probe.create_publisher(type(image_message(0.0)), "/image", qos)
    make_node(no_image_warning_s=0.5, qos__image__reliability="reliable").start()
    assert waiting(lambda: "set qos.image.reliability to best_effort" in log_lines())
    assert "/probe (sensor_msgs/msg/Image, best_effort, volatile)" in log_lines()


def test_a_publisher_of_the_wrong_type_is_named_with_its_type(make_node, bench, waiting, log_lines):
    elsewhere = rclpy.Context()  # one participant of the middleware holds a topic under one type only
    rclpy.init(context=elsewhere)
    camera = rclpy.create_node("camera", context=elsewhere)
    camera.create_publisher(CompressedImage, "/image", 10)
    assert waiting(lambda: bench.probe.count_publishers("/image"))
    make_node(no_image_warning_s=0.5).start()
    assert waiting(lambda: "the type differs, so set image_transport" in log_lines())
    assert "/camera (sensor_msgs/msg/CompressedImage, reliable, volatile)" in log_lines()
    camera.destroy_node()
    rclpy.shutdown(context=elsewhere)


def test_a_mapper_that_fails_costs_a_chunk_not_the_node(
    make_node, bench, image_message, scripted, told, waiting, log_lines
):
    scripted.fail = True
    make_node(diagnostics_period_s=0.2).start()
    for chunk in range(2):
        for index in range(4):
            bench.publish("/image", image_message(1000.0 + 4 * chunk + index))
        assert waiting(lambda failures=str(chunk + 1): told().get("fault: mapping failed") == failures)
    assert log_lines().count("could not be mapped") == 1


def test_a_disk_that_fills_up_is_said_once_and_mapping_goes_on(
    make_node, bench, image_message, told, waiting, log_lines, tmp_path, monkeypatch
):
    def full(*_: object) -> None:
        raise MappingError("timings.csv can not be written: No space left on device; free some space")

    monkeypatch.setattr(ResultWriter, "add", full)
    bench.listen(points=PointCloud2)
    make_node(diagnostics_period_s=0.2, result_directory=str(tmp_path / "run")).start()
    for chunk in range(2):
        for index in range(4):
            bench.publish("/image", image_message(1000.0 + 4 * chunk + index))
        assert waiting(lambda written=str(chunk + 1): told().get("fault: result not written") == written)
    assert len(bench.heard["points"]) == 2
    assert log_lines().count("No space left on device") == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("queue__frames", 0),
        ("image_transport", "carrier pigeon"),
        ("base_frame", 7),
        ("drain_timeout_s", float("nan")),
    ],
)
def test_a_wrong_parameter_fails_the_transition_with_one_message(name, value, make_node, log_lines):
    node = make_node(autostart=False, **{name: value})
    assert node.trigger_configure() == TransitionCallbackReturn.FAILURE
    said = log_lines()
    assert said.count("cannot configure: parameter " + name.replace("__", ".")) == 1
    assert "Traceback" not in said


def test_a_corrected_parameter_lets_the_node_configure(make_node):
    node = make_node(autostart=False, queue__frames=0)
    assert node.trigger_configure() == TransitionCallbackReturn.FAILURE
    assert node.set_parameters([Parameter("queue.frames", value=4)])[0].successful
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS


def test_an_unknown_parameter_is_named_with_its_nearest(make_node, log_lines):
    make_node(autostart=False, base_fram="base")
    assert "parameter base_fram is unknown and has no effect; did you mean base_frame?" in log_lines()
