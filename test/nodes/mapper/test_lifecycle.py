"""Transitions while the mapper is at work: one mapping thread, nothing left behind, nothing said of a defect."""

from __future__ import annotations

import socket
import threading
import time

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")

from nav_msgs.msg import Odometry
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from sensor_msgs.msg import PointCloud2

from scal3r_ros.mapping.values import PointCloud

pytestmark = pytest.mark.ros

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


@pytest.fixture
def send(bench, image_message):
    """Sends images stamped at 10 Hz from `first_s` on."""

    def send(number: int, first_s: float = 1000.0) -> None:
        for index in range(number):
            bench.publish("/image", image_message(first_s + 0.1 * index))
            time.sleep(0.01)

    return send


def test_a_chunk_in_work_is_finished_before_those_of_the_next_activation(make_node, bench, send, waiting, scripted):
    gate = scripted.chunk_gate = threading.Event()
    node = make_node(drain_timeout_s=0.2)
    node.start()
    send(4)
    assert waiting(lambda: scripted.most_at_once == 1)
    assert node.trigger_deactivate() == SUCCESS
    assert node.trigger_activate() == SUCCESS
    bench._publishers.clear()
    send(4, first_s=1000.5)
    assert waiting(lambda: len(scripted.chunks) == 2)
    assert not waiting(lambda: scripted.most_at_once > 1, timeout_s=1.5)
    gate.set()
    assert waiting(lambda: len(scripted.mapped) == 2)
    assert scripted.mapped == [0, 1]
    assert scripted.most_at_once == 1


def test_cleaning_up_waits_for_the_chunk_in_work(make_node, send, waiting, scripted):
    gate = scripted.chunk_gate = threading.Event()
    node = make_node(drain_timeout_s=0.1)
    node.start()
    send(4)
    assert waiting(lambda: scripted.most_at_once == 1)
    assert node.trigger_deactivate() == SUCCESS
    threading.Timer(2.0, gate.set).start()
    assert node.trigger_cleanup() == SUCCESS
    assert scripted.mapped == [0]
    assert scripted.closed


def test_what_was_mapped_after_the_result_was_written_is_written_too(make_node, send, waiting, scripted, tmp_path):
    gate = scripted.chunk_gate = threading.Event()
    node = make_node(drain_timeout_s=0.1, result_directory=str(tmp_path / "run"))
    node.start()
    send(4)
    assert waiting(lambda: scripted.most_at_once == 1)
    assert node.trigger_deactivate() == SUCCESS
    assert (tmp_path / "run" / "trajectory.tum").read_text() == ""
    gate.set()
    assert node.trigger_cleanup() == SUCCESS
    assert len((tmp_path / "run" / "trajectory.tum").read_text().splitlines()) == 4


def test_a_configure_that_fails_closes_its_mapper(make_node, scripted, log_lines):
    node = make_node(autostart=False, result_directory="/dev/null/run")
    assert node.trigger_configure() == FAILURE
    assert log_lines().count("cannot configure") == 1
    assert scripted.closed
    scripted.closed = False
    node.set_parameters([Parameter("result_directory", value="")])
    assert node.trigger_configure() == SUCCESS
    assert not scripted.closed


def test_a_map_being_published_when_the_node_ends_is_no_fault(make_node, bench, send, waiting, scripted, log_lines):
    bench.listen(odometry=Odometry, map=PointCloud2)
    begun, gate, cloud = threading.Event(), threading.Event(), scripted.cloud

    def slow_cloud(max_points: int | None = None) -> PointCloud:
        begun.set()
        assert gate.wait(30.0)
        return cloud(max_points)

    scripted.cloud = slow_cloud
    node = make_node(drain_timeout_s=0.1)
    node.start()
    send(4)
    assert begun.wait(20.0)
    node.finish()
    gate.set()
    assert waiting(lambda: "mapping" not in {thread.name.split("_")[0] for thread in threading.enumerate()})
    said = log_lines()
    assert "could not be published" not in said
    assert "by a defect" not in said


@pytest.mark.parametrize(
    ("name", "wrong", "right"),
    [("result_directory", "/dev/null/run", ""), ("window.overlap", 50, 2)],
    ids=["folder", "contradiction"],
)
def test_a_name_among_memory_peers_is_free_again_after_a_configure_that_fails(name, wrong, right, bench, log_lines):
    from scal3r_ros.assembly import build_mapper
    from scal3r_ros.nodes.mapper.config import MapperNodeConfig
    from scal3r_ros.nodes.mapper.node import MapperNode

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        rendezvous = f"127.0.0.1:{probe.getsockname()[1]}"
    given = {
        "autostart": False,
        "reconstructor": "scal3r",
        "network.preset": "nano",
        "network.allow_random_weights": True,
        "network.device": "cpu",
        "memory_peers.rendezvous": rendezvous,
        "memory_peers.name": "robot",
        name: wrong,
    }
    overrides = [Parameter(key, value=value) for key, value in given.items()]
    node = bench.add(MapperNode(MapperNodeConfig, build_mapper, context=bench.context, parameter_overrides=overrides))
    assert node.trigger_configure() == FAILURE
    assert node.set_parameters([Parameter(name, value=right)])[0].successful
    assert node.trigger_configure() == SUCCESS, log_lines()
