"""The player as a process, heard over the middleware."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")

from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image
from std_srvs.srv import SetBool

from scal3r_ros.io.bags.writer import BagWriter
from scal3r_ros.io.calibration import CameraCalibration
from scal3r_ros.nodes.ros.messages import stamp_ns

pytestmark = pytest.mark.ros

FRAMES = 10
STEP_NS = 100_000_000
START_NS = 1000 * 10**9


@pytest.fixture(params=["sqlite3", "mcap"])
def bag(request, tmp_path) -> Path:
    """Ten images of 10 Hz, each brighter than the last."""
    return write_bag(tmp_path / "bag", request.param)


def write_bag(path: Path, storage: str = "sqlite3") -> Path:
    calibration = CameraCalibration.pinhole(64, 48, [50, 0, 32, 0, 50, 24, 0, 0, 1])
    with BagWriter(path, storage) as writer:
        for index in range(FRAMES):
            stamp = START_NS + index * STEP_NS
            writer.write_camera_info(stamp, calibration)
            writer.write_image(stamp, np.full((48, 64), index, np.uint8))
            writer.write_pose(stamp, np.eye(4))
    return path


@pytest.fixture
def play(ros_environment):
    """Starts a player with parameters; all are ended after the test."""
    started: list[subprocess.Popen[str]] = []

    def play(*remaps: str, **parameters: object) -> subprocess.Popen[str]:
        words = [word for name, value in parameters.items() for word in ("-p", f"{name}:={value}")]
        words += [word for remap in remaps for word in ("-r", remap)]
        command = [sys.executable, "-m", "scal3r_ros.nodes.player_main", "--ros-args", *words]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        started.append(process)
        return process

    yield play
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def brightness(messages):
    return [message.data[0] for message in messages]


def test_every_message_comes_as_recorded_and_the_end_is_success(bag, bench, play):
    bench.listen(camera__image=Image, camera__camera_info=CameraInfo)
    process = play(bag=bag, rate=10.0)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 0, output
    assert brightness(bench.heard["camera__image"]) == list(range(FRAMES))
    assert [stamp_ns(message.header.stamp) for message in bench.heard["camera__image"]] == [
        START_NS + index * STEP_NS for index in range(FRAMES)
    ]
    assert len(bench.heard["camera__camera_info"]) == FRAMES
    assert f"played {3 * FRAMES + 1} messages" in output


def test_topics_can_be_remapped_and_chosen(tmp_path, bench, play):
    bench.listen(front=Image, camera__camera_info=CameraInfo)
    process = play("/camera/image:=/front", bag=write_bag(tmp_path / "bag"), rate=20.0, topics="/camera/image")
    assert process.wait(timeout=30) == 0
    assert len(bench.heard["front"]) == FRAMES
    assert not bench.heard["camera__camera_info"]


def test_the_clock_runs_at_a_hundred_hertz_and_never_back(tmp_path, bench, play):
    bench.listen(camera__image=Image, clock=Clock)
    process = play(bag=write_bag(tmp_path / "bag"), rate=1.0, clock=True)
    assert process.wait(timeout=30) == 0
    times = np.array([stamp_ns(message.clock) for message in bench.heard["clock"]])
    steps = np.diff(times[times > START_NS]) * 1e-9
    assert np.all(np.diff(times) >= 0)
    assert np.median(steps) <= 0.05  # 0.01 where the machine is not busy
    assert times[-1] >= START_NS + (FRAMES - 1) * STEP_NS


def test_nothing_is_played_before_somebody_listens(tmp_path, bench, play, waiting):
    process = play(bag=write_bag(tmp_path / "bag"), rate=20.0)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=2.0)
    bench.listen(camera__image=Image)
    assert process.wait(timeout=30) == 0
    assert len(bench.heard["camera__image"]) == FRAMES


def test_pause_holds_the_bag_and_goes_on(tmp_path, bench, play, waiting):
    bench.listen(camera__image=Image)
    process = play(bag=write_bag(tmp_path / "bag"), rate=10.0, start_paused=True)
    assert bench.call(SetBool, "/player/pause", SetBool.Request(data=True)).message == "paused"
    time.sleep(1.0)
    assert not bench.heard["camera__image"]
    assert bench.call(SetBool, "/player/pause", SetBool.Request(data=False)).message == "playing"
    assert process.wait(timeout=30) == 0
    assert len(bench.heard["camera__image"]) == FRAMES


def test_a_looping_bag_starts_again_until_told_to_stop(tmp_path, bench, play, waiting):
    bench.listen(camera__image=Image)
    process = play(bag=write_bag(tmp_path / "bag"), rate=20.0, loop=True)
    assert waiting(lambda: len(bench.heard["camera__image"]) > 2 * FRAMES)
    assert brightness(bench.heard["camera__image"])[: 2 * FRAMES] == 2 * list(range(FRAMES))
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 0


def cut(path: Path) -> Path:
    write_bag(path)
    (path / "metadata.yaml").unlink()
    (storage,) = path.glob("*.db3")
    storage.write_bytes(storage.read_bytes()[:3000])
    return path


def empty(path: Path) -> Path:
    path.mkdir()
    return path


@pytest.mark.parametrize(
    ("make", "said"), [(lambda path: path, "does not exist"), (empty, "is no bag"), (cut, "damaged")]
)
def test_a_bag_that_can_not_be_played_ends_with_one_message(make, said, tmp_path, play):
    process = play(bag=make(tmp_path / "bag"))
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    assert said in output
    assert output.count("[ERROR]") == 1
    assert "Traceback" not in output


def test_a_bag_cut_in_its_middle_plays_what_is_whole_and_ends_with_one_message(tmp_path, bench, play):
    path = write_bag(tmp_path / "bag", "mcap")
    (storage,) = path.glob("*.mcap")
    storage.write_bytes(storage.read_bytes()[:-2000])
    bench.listen(camera__image=Image)
    process = play(bag=path, rate=20.0)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    assert output.count("[ERROR]") == 1
    assert "damaged or cut off" in output
    assert bench.heard["camera__image"]


@pytest.mark.parametrize(
    ("parameters", "said"),
    [({}, "parameter bag is empty"), ({"rate": -1.0}, "parameter rate"), ({"rate": "fast"}, "parameter rate")],
)
def test_a_wrong_parameter_ends_with_one_message(parameters, said, tmp_path, play):
    bag = {"bag": write_bag(tmp_path / "bag")} if parameters else {}
    process = play(**bag, **parameters)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    assert said in output
    assert output.count("[ERROR]") == 1
    assert "Traceback" not in output


def test_arguments_that_ros_can_not_read_end_with_one_message(ros_environment):
    command = [
        sys.executable,
        "-m",
        "scal3r_ros.nodes.player_main",
        "--ros-args",
        "--params-file",
        "/no/such/file.yaml",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "/no/such/file.yaml" in done.stderr
