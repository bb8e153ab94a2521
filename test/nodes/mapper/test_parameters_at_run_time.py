"""`ros2 param set` on a node that is configured: what can change does, anything else is refused with the reason."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")

from rclpy.parameter import Parameter
from sensor_msgs.msg import PointCloud2

pytestmark = pytest.mark.ros


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("queue.frames", 20, "takes effect when the node is configured"),
        ("base_frame", "base", "takes effect when the node is configured"),
        ("image_transport", "pigeon", "must be one of raw, compressed"),
    ],
)
def test_what_would_have_no_effect_is_refused(name, value, reason, make_node):
    node = make_node()
    node.start()
    before = node.get_parameter(name).value
    result = node.set_parameters([Parameter(name, value=value)])[0]
    assert not result.successful
    assert reason in result.reason
    assert node.get_parameter(name).value == before


def test_what_is_refused_can_be_set_after_cleaning_up(make_node):
    node = make_node()
    node.start()
    node.trigger_deactivate()
    assert not node.set_parameters([Parameter("queue.frames", value=20)])[0].successful
    node.trigger_cleanup()
    assert node.set_parameters([Parameter("queue.frames", value=20)])[0].successful


def test_the_size_of_the_cloud_changes_at_once(make_node, bench, image_message, waiting):
    bench.listen(map=PointCloud2)
    node = make_node(output__map_byte_budget=24_000)
    node.start()
    stamps = iter(range(1000))

    def send() -> None:
        for _ in range(4):
            bench.publish("/image", image_message(1000.0 + 0.1 * next(stamps)))

    send()
    assert waiting(lambda: bench.heard["map"] and bench.heard["map"][-1].width == 1000)
    assert node.set_parameters([Parameter("output.map_byte_budget", value=36_000)])[0].successful
    send()
    assert waiting(lambda: bench.heard["map"][-1].width == 1500)
