"""Loops in the node: nothing waits for them, odom does not notice them, and map → odom moves by bounded steps."""

import itertools
import threading

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")

from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.msg import Odometry, Path
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import Marker, MarkerArray

from scal3r_ros.geometry import se3
from scal3r_ros.nodes.ros.messages import loop_markers, matrix_of, stamp_ns

pytestmark = pytest.mark.ros


def corrections(messages):
    return [
        matrix_of(item.transform)
        for message in messages
        for item in message.transforms
        if item.child_frame_id == "odom"
    ]


def diagnosis(messages):
    return {value.key: value.value for value in messages[-1].status[0].values}


def test_a_loop_moves_the_map_but_neither_odom_nor_the_clock(make_node, bench, scripted, image_message, waiting):
    bench.listen(tf=TFMessage, odometry=Odometry, path=Path, diagnostics=DiagnosticArray, loop_closures=MarkerArray)
    heard = bench.heard
    gate = scripted.loop_gate = threading.Event()
    node = make_node(output__correction_step_m=0.3, output__correction_step_deg=2.0, diagnostics_period_s=0.2)
    node.start()
    stamps = iter(range(1000))

    def send(number):
        for _ in range(number):
            bench.publish("/image", image_message(1000.0 + 0.1 * next(stamps)))

    send(4)
    assert waiting(lambda: len(heard["odometry"]) == 4)
    scripted.size = 1000  # from now on no chunk moves map → odom
    send(10)
    assert waiting(lambda: len(heard["odometry"]) == 14)  # while the loop thread stands
    assert waiting(lambda: heard["diagnostics"])
    assert diagnosis(heard["diagnostics"])["last loop"] == "none"
    paths = len(heard["path"])
    gate.set()
    assert waiting(lambda: len(heard["path"]) > paths)
    send(60)
    assert waiting(lambda: len(heard["odometry"]) == 74)
    assert waiting(lambda: abs(corrections(heard["tf"])[-1][0, 3] - 3.0) < 1e-9)

    given = corrections(heard["tf"])
    steps = [np.linalg.norm((b - a)[:3, 3]) for a, b in itertools.pairwise(given)]
    turns = [np.rad2deg(se3.rotation_angle(a[:3, :3].T @ b[:3, :3])) for a, b in itertools.pairwise(given)]
    assert max(steps) <= 0.3 + 1e-6
    assert max(turns) <= 2.0 + 1e-4
    for message in heard["odometry"]:
        true_x = (stamp_ns(message.header.stamp) - 1000 * 10**9) * 1e-9
        assert message.pose.pose.position.x == pytest.approx(true_x, abs=1e-6)
    assert waiting(lambda: diagnosis(heard["diagnostics"])["last loop"] != "none")
    assert waiting(lambda: any(len(message.markers[0].points) == 2 for message in heard["loop_closures"]))


def test_loops_are_lines_that_replace_those_before():
    marker = loop_markers(5, "map", np.array([[[0.0, 1, 2], [3, 4, 5]], [[6, 7, 8], [9, 10, 11]]])).markers[0]
    assert (marker.type, marker.action, marker.header.frame_id) == (Marker.LINE_LIST, Marker.ADD, "map")
    assert [point.x for point in marker.points] == [0.0, 3.0, 6.0, 9.0]
    assert loop_markers(5, "map", np.zeros((0, 2, 3))).markers[0].action == Marker.DELETEALL
