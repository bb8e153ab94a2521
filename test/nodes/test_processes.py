"""Node and player as two processes over the middleware, on a simulated drive with known poses."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import psutil
import pytest
import yaml

pytest.importorskip("rclpy", reason="rclpy is not installed")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from evo.core.geometry import umeyama_alignment
from lifecycle_msgs.srv import GetState
from nav_msgs.msg import Odometry
from nav_msgs.msg import Path as PathMessage
from sensor_msgs.msg import PointCloud2
from std_srvs.srv import SetBool, Trigger
from tf2_msgs.msg import TFMessage

from scal3r_ros.io.bags.writer import BagWriter
from scal3r_ros.io.calibration import read_calibration
from scal3r_ros.io.trajectories import even_stamps, read_trajectory
from scal3r_ros.nodes.ros.messages import matrix_of, stamp_ns
from scal3r_ros.simulation.drives.street import street_drive
from scal3r_ros.simulation.simulate import pinhole, simulate

pytestmark = [pytest.mark.ros, pytest.mark.slow, pytest.mark.timeout(1200)]

OUTPUTS = {
    "tf": TFMessage,
    "odometry": Odometry,
    "path": PathMessage,
    "points": PointCloud2,
    "map": PointCloud2,
    "diagnostics": DiagnosticArray,
}
REMAPS = ("-r", "image:=/camera/image", "-r", "camera_info:=/camera/camera_info")

# The machine that tests may be busy with other tests: it then maps later instead of dropping images.
PATIENT = {"queue__frames": 200, "qos__image__depth": 200, "camera_info_wait_s": 60.0, "drain_timeout_s": 300.0}

UNTRAINED = {
    "reconstructor": "scal3r",
    "network__preset": "small",
    "network__allow_random_weights": True,
    "network__device": "cpu",
    # What an untrained network is sure of: about one.
    "network__confidence_half": 1.2,
}
"""A map of nonsense, in which all that does not depend on what is mapped has to hold."""


@pytest.fixture(scope="module")
def simulated(tmp_path_factory) -> SimpleNamespace:
    """A bag of a short simulated drive, and its true poses."""
    truth = street_drive(50.0, speed_mps=8.0, seed=3)
    bag = tmp_path_factory.mktemp("drive") / "bag"
    simulate(truth, bag, pinhole(384, 192, 80.0), seed=3, depth_every=0)
    return SimpleNamespace(bag=bag, truth=truth, parameters={})


@pytest.fixture(scope="module", params=["simulated", "untrained", pytest.param("recorded", marks=pytest.mark.data)])
def drive(request, tmp_path_factory) -> SimpleNamespace:
    """The simulated drive, also for a network that never was trained, and one through a real street."""
    if request.param == "simulated":
        return request.getfixturevalue("simulated")
    if request.param == "untrained":
        given = request.getfixturevalue("simulated")
        return SimpleNamespace(bag=given.bag, truth=given.truth, parameters=UNTRAINED)
    folder = Path(__file__).resolve().parents[3] / "shared" / "data" / "kitti00_160"
    if not folder.is_dir():
        pytest.skip("recorded sequence kitti00_160 is not at hand in ../shared/data")
    images = sorted((folder / "image_0").iterdir())
    truth = read_trajectory(folder / "poses_first160.txt", even_stamps(len(images), 10.0))
    bag = tmp_path_factory.mktemp("kitti") / "bag"
    with BagWriter(bag) as writer:
        for stamp, path in zip(truth.stamps_ns.tolist(), images, strict=True):
            image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
            writer.write_camera_info(stamp, read_calibration(folder / "calib.txt", image.shape[1], image.shape[0]))
            writer.write_image(stamp, image)
    return SimpleNamespace(bag=bag, truth=truth, parameters={})


@contextmanager
def starting() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts nodes of the package as processes; all are ended with it."""
    started: list[subprocess.Popen[str]] = []

    def start(name: str, *words: str, **parameters: object) -> subprocess.Popen[str]:
        given = [word for key, value in parameters.items() for word in ("-p", f"{key.replace('__', '.')}:={value}")]
        command = [sys.executable, "-m", f"scal3r_ros.nodes.{name}_main", "--ros-args", *words, *given]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        started.append(process)
        return process

    try:
        yield start
    finally:
        for process in started:
            if process.poll() is None:
                process.kill()
            process.communicate()


@pytest.fixture
def start(ros_environment) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a node of the package as a process; all are ended with the test."""
    with starting() as start:
        yield start


@pytest.fixture(scope="module")
def run(shared_bench, drive, tmp_path_factory) -> Iterator[SimpleNamespace]:
    """The whole drive mapped live at the camera's rate, ended by SIGINT; what was heard, said and written."""
    with starting() as start:
        yield mapped(shared_bench, drive, start, tmp_path_factory)


def mapped(shared_bench, drive, start, tmp_path_factory) -> SimpleNamespace:
    shared_bench.heard.clear()
    shared_bench.listen(**OUTPUTS)
    result = tmp_path_factory.mktemp("result") / "run"
    mapper = start("mapper", *REMAPS, result_directory=result, **PATIENT, **drive.parameters)
    player = start("player", bag=drive.bag, rate=1.0, topics="/camera/image,/camera/camera_info")
    player_output, _ = player.communicate(timeout=300)
    assert player.returncode == 0, player_output
    mapper.send_signal(signal.SIGINT)
    mapper_output, _ = mapper.communicate(timeout=400)
    time.sleep(0.5)
    heard = {name: list(messages) for name, messages in shared_bench.heard.items()}
    return SimpleNamespace(heard=heard, code=mapper.returncode, said=mapper_output, result=result)


def transforms(run: SimpleNamespace, child: str) -> dict[int, np.ndarray]:
    return {
        stamp_ns(item.header.stamp): matrix_of(item.transform)
        for message in run.heard["tf"]
        for item in message.transforms
        if item.child_frame_id == child
    }


def values(message: DiagnosticArray) -> dict[str, str]:
    return {item.key: item.value for item in message.status[0].values}


def test_it_ends_cleanly(run):
    assert run.code == 0, run.said
    assert "Traceback" not in run.said
    assert "[ERROR]" not in run.said


def test_every_image_has_a_pose_with_its_own_stamp(run, drive):
    stamps = list(drive.truth.stamps_ns)
    assert sorted(transforms(run, "base_link")) == stamps
    assert sorted(stamp_ns(message.header.stamp) for message in run.heard["odometry"]) == stamps


def test_the_pose_in_odom_never_jumps(run, drive):
    poses = transforms(run, "base_link")
    if drive.parameters:
        # The first poses are those of the first chunk itself, which are nonsense here.
        first_chunk = (run.result / "timings.csv").read_text().splitlines()[1].split(",")
        poses = {stamp: T for stamp, T in poses.items() if stamp > int(first_chunk[2])}
    steps = np.linalg.norm(np.diff([poses[stamp][:3, 3] for stamp in sorted(poses)], axis=0), axis=1)
    assert steps.max() <= 3.0 * np.median(steps) + 1e-3


def test_the_path_is_that_of_the_drive(run, drive):
    if drive.parameters:
        pytest.skip("an untrained network knows no way")
    path = run.heard["path"][-1]
    assert path.header.frame_id == "map"
    index = {int(stamp): row for row, stamp in enumerate(drive.truth.stamps_ns)}
    rows = [index[stamp_ns(pose.header.stamp)] for pose in path.poses]
    assert rows == sorted(rows)
    assert len(rows) == len(drive.truth)
    estimated = np.array([[p.pose.position.x, p.pose.position.y, p.pose.position.z] for p in path.poses])
    true = drive.truth.T_ref_cam[rows, :3, 3]
    rotation, translation, scale = umeyama_alignment(estimated.T, true.T, with_scale=True)
    error = np.linalg.norm(scale * estimated @ rotation.T + translation - true, axis=1)
    way = np.linalg.norm(np.diff(true, axis=0), axis=1).sum()
    assert np.sqrt(np.mean(error**2)) < 0.02 * way


def test_map_and_odom_stay_connected(run):
    corrections = transforms(run, "odom")
    assert set(transforms(run, "base_link")) <= set(corrections)
    for T_map_odom in corrections.values():
        np.testing.assert_allclose(T_map_odom[:3, :3] @ T_map_odom[:3, :3].T, np.eye(3), atol=1e-6)


def test_clouds_are_coloured_points_in_the_map(run, drive):
    stamps = set(map(int, drive.truth.stamps_ns))
    for cloud in (*run.heard["points"], *run.heard["map"]):
        assert cloud.header.frame_id == "map"
        assert stamp_ns(cloud.header.stamp) in stamps
        assert [field.name for field in cloud.fields] == ["x", "y", "z", "rgb", "confidence", "submap"]
        assert len(cloud.data) == cloud.width * 24
        packed = np.frombuffer(cloud.data, np.uint8).reshape(-1, 24)
        assert np.isfinite(packed[:, :12].copy().view("<f4")).all()
    assert len(run.heard["points"]) >= 2
    assert run.heard["points"][-1].width > 500
    assert run.heard["map"][-1].width > run.heard["points"][0].width
    assert np.frombuffer(run.heard["map"][-1].data, np.uint8).reshape(-1, 24)[:, 12:15].std() > 5


def test_odometry_is_the_transform_with_its_uncertainty_and_speed(run):
    poses = transforms(run, "base_link")
    for message in run.heard["odometry"]:
        assert (message.header.frame_id, message.child_frame_id) == ("odom", "base_link")
        position = message.pose.pose.position
        expected = poses[stamp_ns(message.header.stamp)][:3, 3]
        np.testing.assert_allclose([position.x, position.y, position.z], expected, atol=1e-6)
        assert np.linalg.eigvalsh(message.pose.covariance.reshape(6, 6)).min() >= -1e-12
    # Without /tf_static the base is the camera, which drives along its z.
    forward = [message.twist.twist.linear.z for message in run.heard["odometry"][1:]]
    assert np.median(forward) > 0


def test_diagnostics_report_the_drive(run, drive):
    last = values([message for message in run.heard["diagnostics"] if message.status][-1])
    assert last["dropped"] == "0"
    assert int(last["images received"]) == len(drive.truth)
    assert {message.status[0].level for message in run.heard["diagnostics"]} == {DiagnosticStatus.OK}


def test_diagnostics_show_the_memory_learning(run, drive):
    told = [values(message) for message in run.heard["diagnostics"]]
    seen = [int(said["mapper: memory_chunks"]) for said in told if "mapper: memory_chunks" in said]
    if not drive.parameters:
        assert not seen  # there is no memory without a network
        return
    assert seen == sorted(seen)
    assert seen[-1] == int(told[-1]["mapper: submaps"]) >= 2
    assert float(told[-1]["mapper: memory_norm_3"]) > 0
    assert float(told[-1]["mapper: memory_change_5"]) > 0


def test_the_result_is_written(run, drive):
    assert {item.name for item in run.result.iterdir()} >= {"trajectory.tum", "map.ply", "timings.csv", "run.yaml"}
    rows = np.loadtxt(run.result / "trajectory.tum")
    assert rows.shape == (len(drive.truth), 8)


def test_memory_does_not_grow_with_the_drive(run, drive):
    if drive.parameters:
        pytest.skip("three chunks are over before the network has had its peak in each of them")
    resident = [float(values(message)["memory resident [MB]"]) for message in run.heard["diagnostics"]]
    second_half = resident[len(resident) // 2 :]
    assert max(second_half) - second_half[0] < 200.0


def test_reset_pause_and_a_looping_bag_leave_the_node_well(shared_bench, simulated, start, waiting):
    shared_bench.heard.clear()
    shared_bench.listen(**OUTPUTS)
    heard = shared_bench.heard
    mapper = start("mapper", *REMAPS, diagnostics_period_s=0.3, geometric__sweep__width=64)
    # Slowly: a busy machine has to finish a chunk before the bag starts again and resets the map.
    start("player", bag=simulated.bag, loop=True, rate=0.4, topics="/camera/image,/camera/camera_info")
    assert waiting(lambda: heard["points"], 300.0)
    assert shared_bench.call(SetBool, "/mapper/pause", SetBool.Request(data=True)).success
    assert waiting(lambda: heard["diagnostics"] and values(heard["diagnostics"][-1])["paused"] == "true")
    assert shared_bench.call(Trigger, "/mapper/resume", Trigger.Request()).success
    assert shared_bench.call(Trigger, "/mapper/reset", Trigger.Request()).success
    assert waiting(lambda: any(not path.poses for path in heard["path"]))
    before = len(heard["odometry"])
    # From late in the bag to its beginning. The first images after the jump back only show that the clock itself has
    # jumped; the next ones are mapped.
    early_ns, late_ns = simulated.truth.stamps_ns[[5, -20]]

    def jumped_back() -> bool:
        stamps = [stamp_ns(m.header.stamp) for m in heard["odometry"][before:]]
        late = next((index for index, stamp in enumerate(stamps) if stamp >= late_ns), len(stamps))
        return any(stamp <= early_ns for stamp in stamps[late:])

    assert waiting(jumped_back, 200.0)
    assert shared_bench.call(GetState, "/mapper/get_state", GetState.Request()).current_state.label == "active"
    mapper.send_signal(signal.SIGTERM)
    output, _ = mapper.communicate(timeout=60)
    assert mapper.returncode == 0
    assert "Traceback" not in output
    assert output.count("time jumped back") >= 1


WRONG = {
    "choice": ("image_transport:=pigeon", "parameter image_transport is 'pigeon'"),
    "type": ("queue.frames:=many", "parameter queue.frames is 'many'"),
    "contradiction": ("window.overlap:=50", "cannot share 50"),
    "folder": ("result_directory:=/dev/null/run", "/dev/null/run cannot be written"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_parameter_leaves_the_node_up_and_unconfigured(kind, shared_bench, start):
    word, said = WRONG[kind]
    name = f"mapper_of_wrong_{kind}"
    mapper = start("mapper", "-p", word, "-r", f"__node:={name}")
    state = shared_bench.call(GetState, f"/{name}/get_state", GetState.Request())
    assert state.current_state.label == "unconfigured"
    mapper.send_signal(signal.SIGINT)
    output, _ = mapper.communicate(timeout=60)
    assert said in output
    assert output.count("[ERROR]") == 1
    assert "Traceback" not in output
    assert mapper.returncode == 0


def test_a_signal_during_the_start_ends_the_process_quietly(start, waiting):
    mapper = start("mapper")
    libraries = Path(f"/proc/{mapper.pid}/maps")
    assert waiting(lambda: "numpy" in libraries.read_text())  # it is past its first lines
    mapper.send_signal(signal.SIGINT)
    output, _ = mapper.communicate(timeout=60)
    assert "Traceback" not in output


def workers_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    children = [child for child in psutil.Process(process.pid).children() if child.status() != psutil.STATUS_ZOMBIE]
    return [child for child in children if "scal3r worker" in child.cmdline()]


def test_a_lost_reconstructor_costs_a_chunk_and_nothing_outlives_the_node(
    shared_bench, simulated, start, waiting, tmp_path
):
    shared_bench.heard.clear()
    shared_bench.listen(**OUTPUTS)
    heard, result = shared_bench.heard, tmp_path / "run"
    mapper = start("mapper", *REMAPS, result_directory=result, geometric__sweep__width=96, **PATIENT)
    player = start("player", bag=simulated.bag, rate=0.5, topics="/camera/image,/camera/camera_info")
    assert waiting(lambda: heard["points"], 300.0)
    (lost,) = workers_of(mapper)
    lost.kill()
    player.communicate(timeout=300)
    waiting(lambda: workers_of(mapper), 60.0)  # a new process may come with the next chunk only
    workers = workers_of(mapper)
    mapper.send_signal(signal.SIGINT)
    output, _ = mapper.communicate(timeout=400)
    assert mapper.returncode == 0, output
    assert "Traceback" not in output
    assert "killed by SIGKILL, and a new one was started" in output
    counts = yaml.safe_load((result / "run.yaml").read_text())["counts"]
    assert counts["reconstructor_restarts"] == 1
    assert counts["frames_posed"] == len(simulated.truth), f"{counts}\n{output}"
    rows = (result / "timings.csv").read_text().splitlines()
    assert sum(",lost," in row for row in rows) == 1, rows
    assert not [worker for worker in workers if worker.is_running()]


def test_the_reconstructor_can_stay_in_the_node(start, waiting):
    mapper = start("mapper", separate_process=False)
    lines: list[str] = []
    threading.Thread(target=lambda: lines.extend(iter(mapper.stdout.readline, "")), daemon=True).start()
    assert waiting(lambda: any("mapping the images" in line for line in lines), 200.0)
    assert not workers_of(mapper)
    mapper.send_signal(signal.SIGINT)
    assert mapper.wait(60) == 0
