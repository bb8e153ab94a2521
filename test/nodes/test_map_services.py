"""`~/save_map` and `~/load_map`: they answer when they are done, and images are tracked meanwhile."""

from __future__ import annotations

import threading
import time

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")

from nav_msgs.msg import Odometry, Path
from rclpy.parameter import Parameter
from sensor_msgs.msg import PointCloud2
from std_srvs.srv import Trigger

from scal3r_ros.errors import MappingError
from scal3r_ros.mapping.storage.map_store import MapWriter

pytestmark = pytest.mark.ros


@pytest.fixture
def stored(tmp_path):
    """A folder that holds a map, if only of nothing."""
    with MapWriter(tmp_path / "town") as writer:
        writer.commit({})
    return tmp_path / "town"


@pytest.fixture
def outputs(bench):
    """What the node publishes of its map."""
    bench.listen(odometry=Odometry, path=Path, map=PointCloud2)
    return bench.heard


@pytest.fixture
def send(bench, image_message):
    """Sends images stamped at 10 Hz from `first_s` on, ten times as fast."""

    def send(number, first_s=1000.0):
        for index in range(number):
            bench.publish("/image", image_message(first_s + 0.1 * index))
            time.sleep(0.01)

    return send


def test_images_are_tracked_while_a_map_is_saved(make_node, bench, send, waiting, scripted, tmp_path):
    goes_on, folders = threading.Event(), []

    def save(folder):
        folders.append(folder)
        assert goes_on.wait(20)

    scripted.save = save
    make_node(map_directory=str(tmp_path)).start()
    send(2)
    client = bench.probe.create_client(Trigger, "/mapper/save_map")
    assert client.wait_for_service(10.0)
    first, second = (client.call_async(Trigger.Request()) for _ in range(2))
    assert waiting(second.done)
    assert "already" in second.result().message
    started = time.monotonic()
    send(6, first_s=1001.0)
    assert waiting(lambda: len(scripted.frames) == 8)
    assert time.monotonic() - started < 20.0
    assert not first.done()
    goes_on.set()
    assert waiting(first.done)
    assert first.result().success
    assert str(tmp_path) in first.result().message
    assert folders == [tmp_path]


def test_what_goes_wrong_is_the_answer(make_node, bench, send, scripted, tmp_path, stored):
    def fail(*arguments):
        raise MappingError("the disk is full")

    scripted.save = scripted.load = fail
    node = make_node()
    node.start()
    for service in ("save_map", "load_map"):
        answer = bench.call(Trigger, f"/mapper/{service}", Trigger.Request())
        assert not answer.success
        assert "map_directory is empty" in answer.message
    node.set_parameters([Parameter("map_directory", value=str(stored))])
    for service in ("save_map", "load_map"):
        answer = bench.call(Trigger, f"/mapper/{service}", Trigger.Request())
        assert not answer.success
        assert answer.message == "the disk is full"
    node.set_parameters([Parameter("map_directory", value=str(tmp_path / "nowhere"))])
    assert "holds no map" in bench.call(Trigger, "/mapper/load_map", Trigger.Request()).message


def test_a_loaded_map_begins_the_drive_anew(make_node, bench, outputs, send, waiting, scripted, stored):
    loaded = []

    def load(map_):
        scripted.reset()
        loaded.append(map_.folder)

    scripted.load = load
    make_node(map_directory=str(stored)).start()
    send(8)
    assert waiting(lambda: outputs["map"] and len(outputs["odometry"]) == 8)
    answer = bench.call(Trigger, "/mapper/load_map", Trigger.Request())
    assert answer.success, answer.message
    assert loaded == [stored]
    assert waiting(lambda: not outputs["path"][-1].poses and not outputs["map"][-1].width)
    send(8, first_s=1000.0)  # the stamps of the new drive may be earlier
    assert waiting(lambda: len(outputs["odometry"]) == 16)


def test_a_map_is_loaded_before_the_node_is_active_and_refused_before_it_is_configured(
    make_node, bench, scripted, stored
):
    loaded = []
    scripted.load = loaded.append
    node = make_node(autostart=False, map_directory=str(stored))
    node.start()
    answer = bench.call(Trigger, "/mapper/load_map", Trigger.Request())
    assert not answer.success
    assert "not configured" in answer.message
    node.trigger_configure()
    assert bench.call(Trigger, "/mapper/load_map", Trigger.Request()).success
    assert [map_.folder for map_ in loaded] == [stored]
