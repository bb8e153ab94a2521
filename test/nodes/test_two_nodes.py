"""Two live mappers in namespaces of their own, which share what an untrained network learns from a simulated street."""

from __future__ import annotations

import platform
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

pytest.importorskip("rclpy", reason="rclpy is not installed")

from diagnostic_msgs.msg import DiagnosticArray

from scal3r_ros.simulation.drives.street import street_drive
from scal3r_ros.simulation.simulate import pinhole, simulate

pytestmark = [pytest.mark.ros, pytest.mark.slow, pytest.mark.timeout(500)]

PATIENCE_S = 90.0
NETWORK = {
    "reconstructor": "scal3r",
    "network.preset": "nano",
    "network.allow_random_weights": True,
    "network.device": "cpu",
    "network.confidence_half": 1.5,
    "window.size": 5,
    "window.overlap": 2,
    "diagnostics_period_s": 0.3,
    "memory_peers.period_s": 0.5,
    "memory_peers.deadline_s": 5.0,
}


@pytest.fixture(scope="module")
def bag(tmp_path_factory) -> Path:
    """A short simulated drive."""
    path = tmp_path_factory.mktemp("drive") / "bag"
    simulate(street_drive(30.0, speed_mps=8.0, seed=3), path, pinhole(240, 96, 80.0), seed=3, depth_every=0)
    return path


@pytest.fixture
def rendezvous() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


class Robots:
    """Mappers and players in the namespaces of robots."""

    def __init__(self, rendezvous: str, folder: Path) -> None:
        self._rendezvous = rendezvous
        self._folder = folder
        self._logs: dict[int, Path] = {}
        self.started: list[subprocess.Popen[bytes]] = []

    def map(self, robot: str, **parameters: object) -> subprocess.Popen[bytes]:
        remaps = [f"image:=/{robot}/camera/image", f"camera_info:=/{robot}/camera/camera_info"]
        given = {**NETWORK, "memory_peers.rendezvous": self._rendezvous, **parameters}
        return self._start("mapper", robot, remaps, given)

    def play(self, robot: str, bag: Path) -> subprocess.Popen[bytes]:
        remaps = [f"/camera/{name}:=/{robot}/camera/{name}" for name in ("image", "camera_info")]
        return self._start("player", robot, remaps, {"bag": bag, "topics": "/camera/image,/camera/camera_info"})

    def said(self, process: subprocess.Popen[bytes]) -> str:
        return self._logs[process.pid].read_text()

    def _start(
        self, name: str, robot: str, remaps: list[str], parameters: dict[str, object]
    ) -> subprocess.Popen[bytes]:
        words = [word for remap in (f"__ns:=/{robot}", *remaps) for word in ("-r", remap)]
        words += [word for key, value in parameters.items() for word in ("-p", f"{key}:={value}")]
        command = [sys.executable, "-m", f"scal3r_ros.nodes.{name}_main", "--ros-args", *words]
        log = self._folder / f"{len(self.started)}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
        self._logs[process.pid] = log
        self.started.append(process)
        return process


@pytest.fixture
def robots(ros_environment, rendezvous, tmp_path) -> Iterator[Robots]:
    """Starts nodes; all are ended with the test."""
    robots = Robots(rendezvous, tmp_path)
    yield robots
    for process in robots.started:
        process.kill()
        process.wait()


@pytest.fixture
def latest(shared_bench) -> Callable[[str], dict[str, str]]:
    """The values of the last diagnostics of a robot's mapper, as they are called there but for `mapper: `."""
    shared_bench.listen(diagnostics=DiagnosticArray)

    def read(robot: str) -> dict[str, str]:
        for message in reversed(shared_bench.heard["diagnostics"]):
            for status in message.status:
                if status.name == f"{robot}/mapper: mapping":
                    return {item.key.removeprefix("mapper: "): item.value for item in status.values}
        return {}

    return read


def test_robots_share_a_memory_and_outlive_each_other(robots, bag, latest, waiting, tmp_path):
    peer = f"{platform.node()}/robot_b/mapper"
    a = robots.map("robot_a", result_directory=tmp_path / "result")
    assert waiting(lambda: latest("robot_a"), PATIENCE_S), robots.said(a)
    b = robots.map("robot_b")
    assert waiting(lambda: latest("robot_a").get("peers") == "1", PATIENCE_S), robots.said(a) + robots.said(b)
    assert waiting(lambda: latest("robot_b").get("peers") == "1", PATIENCE_S), robots.said(b)

    robots.play("robot_b", bag)
    assert waiting(lambda: int(latest("robot_b").get("memory_chunks", 0)) > 1, PATIENCE_S), robots.said(b)
    assert waiting(lambda: int(latest("robot_a").get(f"peer_bytes_in_{peer}", 0)) > 0, PATIENCE_S), latest("robot_a")
    assert float(latest("robot_a")[f"peer_age_s_{peer}"]) < PATIENCE_S
    assert int(latest("robot_a").get("memory_chunks", 0)) == 0  # all it knows so far, the other has learnt

    b.kill()
    robots.play("robot_a", bag)
    assert waiting(lambda: latest("robot_a")["peers"] == "0", PATIENCE_S), robots.said(a)
    assert waiting(lambda: int(latest("robot_a").get("memory_chunks", 0)) > 1, PATIENCE_S), robots.said(a)
    aged = float(latest("robot_a")[f"peer_age_s_{peer}"])
    assert waiting(lambda: float(latest("robot_a")[f"peer_age_s_{peer}"]) > aged + 1.0, PATIENCE_S)

    again = robots.map("robot_b")
    assert waiting(lambda: latest("robot_a")["peers"] == "1", PATIENCE_S), robots.said(a) + robots.said(again)
    name_of_a = f"{platform.node()}/robot_a/mapper"
    assert waiting(lambda: int(latest("robot_b").get(f"peer_bytes_in_{name_of_a}", 0)) > 0, PATIENCE_S)

    for process in (a, again):
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    said = robots.said(a)
    assert "Traceback" not in said
    for notice in ("joined", "is lost", "is back"):
        assert said.count(f"memory peer {peer} {notice}") == 1, said
    counts = yaml.safe_load((tmp_path / "result" / "run.yaml").read_text())["counts"]
    assert counts["frames_posed"] > 0
    assert counts["peers_known"] == 1
    assert counts[f"peer_bytes_out_{peer}"] > 0
