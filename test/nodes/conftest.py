"""A middleware of the tests' own, a mapper that needs no camera, and a probe that talks to the node under test."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scal3r_ros.geometry import se3
from scal3r_ros.geometry.sim3 import Sim3
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.mapping.frontend.timestamp_filter import StampVerdict, TimestampFilter
from scal3r_ros.mapping.scale.estimator import EarthReference
from scal3r_ros.mapping.scale.stage import ScaleEstimate
from scal3r_ros.mapping.values import (
    DroppedFrame,
    FramePose,
    MapUpdate,
    Observation,
    OccupancyGrid,
    PointCloud,
    PoseSource,
    ScaleHistory,
    SensorSample,
    SubmapSummary,
)
from scal3r_ros.reconstruction.protocol import Chunk, ChunkHealth, Frame

R_ODOM_CAM = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
"""A camera that looks along x of odom, with z up."""


def true_pose(stamp_ns: int) -> np.ndarray:
    """T_odom_cam of the scripted mapper: 1 m/s along x since 1000 s."""
    return se3.se3(R_ODOM_CAM, [(stamp_ns - 1000 * 10**9) * 1e-9, 0.0, 0.0])


@dataclass
class ScriptedScale:
    """Knows of scale what a test sets."""

    known: ScaleEstimate | None = None
    place: EarthReference | None = None

    def estimate(self) -> ScaleEstimate | None:
        return self.known

    def earth(self) -> EarthReference | None:
        return self.place

    def summary(self) -> dict[str, object]:
        return {}

    def history(self) -> ScaleHistory:
        return ScaleHistory(*np.zeros((5, 0)), observations=(), metric=False)


@dataclass
class ScriptedOccupancy:
    """Has the grid and the points that a test sets."""

    known: OccupancyGrid | None = None
    points: PointCloud | None = None

    @property
    def reason(self) -> str:
        return "" if self.known else "not in metres"

    def grid(self) -> OccupancyGrid | None:
        return self.known

    def window(self, size: float) -> OccupancyGrid | None:
        return self.known

    def local_cloud(self, update: MapUpdate, voxel_size: float) -> PointCloud | None:
        return self.points

    def placed(self) -> None:
        return None


@dataclass
class ScriptedMapper:
    """Stands in for OnlineMapper: a chunk every `size` frames, poses by `true_pose`, a correction of 0.1 m a chunk."""

    size: int = 4
    chunk_s: float = 0.0
    fail: bool = False
    frames: list[Frame] = field(default_factory=list)
    busy: list[bool] = field(default_factory=list)
    chunks: list[Chunk] = field(default_factory=list)
    resets: int = 0
    loop_gate: threading.Event | None = None
    chunk_gate: threading.Event | None = None
    mapped: list[int] = field(default_factory=list)
    most_at_once: int = 0
    closed: bool = False
    scale: ScriptedScale = field(default_factory=ScriptedScale)
    occupancy: ScriptedOccupancy = field(default_factory=ScriptedOccupancy)
    samples: list[SensorSample] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._lock = threading.RLock()
        self._window: list[Frame] = []
        self._waiting: list[Frame] = []
        self._posed: list[int] = []
        self._submaps = self._in_work = 0
        self._stamps = TimestampFilter(3.0)

    def observe(self, frame: Frame, busy: bool = False) -> Observation:
        with self._lock:
            verdict = self._stamps.judge(frame.stamp_ns)
            if not verdict.accepted:
                return Observation((), None, DroppedFrame(verdict.value, f"image stamp {frame.stamp_ns} is refused"))
            restarted = verdict is StampVerdict.NEW_CLOCK
            if restarted:
                self.reset()
                self._stamps.judge(frame.stamp_ns)
            self.frames.append(frame)
            self.busy.append(busy)
            self._window.append(frame)
            chunk = None
            if len(self._window) >= self.size and not busy:
                chunk = self._close()
            if not self._submaps:
                self._waiting.append(frame)
                return Observation((), chunk, restarted=restarted)
            self._posed.append(frame.stamp_ns)
            return Observation((self._pose(frame),), chunk, restarted=restarted)

    @property
    def max_parallel_chunks(self) -> int:
        return 1

    def map_chunk(self, chunk: Chunk, following: Sequence[Chunk] = ()) -> MapUpdate:
        with self._lock:
            self._in_work += 1
            self.most_at_once = max(self.most_at_once, self._in_work)
        time.sleep(self.chunk_s)
        if self.chunk_gate is not None:
            assert self.chunk_gate.wait(30.0)
        with self._lock:
            self._in_work -= 1
            self.mapped.append(chunk.index)
        if self.fail:
            raise RuntimeError("the script says so")
        with self._lock:
            poses = tuple(self._pose(frame) for frame in self._waiting)
            self._posed += [frame.stamp_ns for frame in self._waiting]
            self._waiting = []
            self._submaps += 1
            cloud = PointCloud(np.ones((5, 3), np.float32), np.full((5, 3), (255, 128, 0), np.uint8))
            first, last = chunk.frames[0].stamp_ns, chunk.frames[-1].stamp_ns
            submap = SubmapSummary(
                index=chunk.index,
                first_stamp_ns=first,
                last_stamp_ns=last,
                keyframes=len(chunk.frames),
                health=ChunkHealth.OK,
                note="",
                scale_to_previous=1.0,
                S_map_submap=Sim3.identity(),
                cloud_map=cloud,
            )
            return MapUpdate(poses, se3.se3(np.eye(3), [0.1 * self._submaps, 0.0, 0.0]), submap, corrected=True)

    def add_sensor(self, sample: SensorSample) -> None:
        self.samples.append(sample)

    def close_window(self) -> Chunk | None:
        with self._lock:
            return self._close() if self._window else None

    def reset(self) -> None:
        with self._lock:
            self._window, self._waiting, self._posed, self._submaps = [], [], [], 0
            self._stamps.forget()
            self.resets += 1

    def trajectory(self) -> Trajectory:
        with self._lock:
            stamps = np.array(sorted(self._posed), np.int64)
            correction = se3.se3(np.eye(3), [0.1 * self._submaps, 0.0, 0.0])
            poses = np.array([correction @ true_pose(int(stamp)) for stamp in stamps]).reshape(-1, 4, 4)
            return Trajectory(stamps, poses)

    def cloud(self, max_points: int | None = None) -> PointCloud:
        number = min(2000, max_points or 2000) if self._submaps else 0
        return PointCloud(np.ones((number, 3), np.float32), np.zeros((number, 3), np.uint8))

    def close(self) -> None:
        """Takes note of it."""
        self.closed = True

    @property
    def loops_waiting(self) -> int:
        return int(self.loop_gate is not None and self._submaps > 0)

    def close_loops(self) -> MapUpdate | None:
        """One loop that moves the map by 3 m, as soon as its gate opens."""
        assert self.loop_gate is not None
        assert self.loop_gate.wait(30.0)
        self.loop_gate = None
        return MapUpdate((), se3.se3(se3.rotation_exp([0.0, 0.0, 0.1]), [3.0, 0.0, 0.0]), corrected=True, loops=1)

    def loop_ends(self) -> np.ndarray:
        return np.array([[[0.0, 0.0, 0.0], [3.0, 1.0, 0.0]]])

    def counters(self) -> dict[str, int | float]:
        return {"submaps": self._submaps, "frames_posed": len(self._posed)}

    def _close(self) -> Chunk:
        chunk = Chunk(len(self.chunks), tuple(self._window), 0)
        self.chunks.append(chunk)
        self._window = []
        return chunk

    def _pose(self, frame: Frame) -> FramePose:
        covariance = np.diag([0.01, 0.01, 0.01, 1e-4, 1e-4, 1e-4])
        return FramePose(frame.index, frame.stamp_ns, true_pose(frame.stamp_ns), covariance, PoseSource.TRACKED)


def wait_for(condition: Callable[[], Any], timeout_s: float = 40.0) -> bool:
    """Whether `condition` came true in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


class Bench:
    """A middleware context with the node under test and a probe beside it, both spun by one thread."""

    def __init__(self) -> None:
        import rclpy
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.node import Node

        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.probe = Node("probe", context=self.context)
        self.heard: dict[str, list[Any]] = defaultdict(list)
        self.nodes: list[Any] = []
        self._publishers: dict[str, Any] = {}
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.probe)
        self._stopping = False
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def add(self, node: Any) -> Any:
        """Spins a node from now on."""
        self.nodes.append(node)
        self._executor.add_node(node)
        return node

    def listen(self, **topics: Any) -> None:
        """Gathers the messages of topics in `heard`; latched ones too where the publisher is latched."""
        from rclpy.qos import DurabilityPolicy, QoSProfile

        for name, kind in topics.items():
            topic = "/" + name.replace("__", "/")
            latched = name in ("path", "map", "scale", "tf_static", "occupancy", "occupancy_local")
            durability = DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE
            qos = QoSProfile(depth=1000, durability=durability)
            self.probe.create_subscription(kind, topic, self.heard[name].append, qos)

    def publish(self, topic: str, message: Any, reliable: bool = True, latched: bool = False) -> None:
        """Publishes, once somebody has subscribed."""
        from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

        if topic not in self._publishers:
            qos = QoSProfile(
                depth=100,
                reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
                durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
            )
            self._publishers[topic] = self.probe.create_publisher(type(message), topic, qos)
            assert wait_for(lambda: self._publishers[topic].get_subscription_count() > 0)
        self._publishers[topic].publish(message)

    def call(self, kind: Any, service: str, request: Any) -> Any:
        """The answer of a service.

        A middleware that has just found a server may lose its answer, so the question is repeated where none comes.
        """
        client = self.probe.create_client(kind, service)
        assert client.wait_for_service(40.0)
        for _ in range(3):
            future = client.call_async(request)
            if wait_for(future.done, timeout_s=8.0):
                return future.result()
        raise AssertionError(f"{service} does not answer")

    def close(self) -> None:
        """Ends everything."""
        self._stopping = True
        self._thread.join(10.0)
        for node in self.nodes:
            if hasattr(node, "finish"):
                node.finish()
            node.destroy_node()
        self.probe.destroy_node()
        self.context.try_shutdown()

    def _spin(self) -> None:
        while not self._stopping:
            self._executor.spin_once(timeout_sec=0.05)


@pytest.fixture(scope="session")
def ros_environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of this process and of those it starts: a domain of their own, on this machine only."""
    pytest.importorskip("rclpy", reason="rclpy is not installed")
    from scal3r_ros.nodes.ros.transport import prefer_shared_memory

    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    os.environ["ROS_DOMAIN_ID"] = str(1 + os.getpid() % 100)
    os.environ.setdefault("AMENT_PREFIX_PATH", sys.prefix)
    os.environ.setdefault("ROS_LOG_DIR", str(tmp_path_factory.mktemp("ros_log")))
    prefer_shared_memory()
    return dict(os.environ)


@pytest.fixture
def bench(ros_environment: dict[str, str]) -> Iterator[Bench]:
    """A middleware with a probe."""
    bench = Bench()
    yield bench
    bench.close()


@pytest.fixture(scope="module")
def shared_bench(ros_environment: dict[str, str]) -> Iterator[Bench]:
    """A middleware with a probe, for all tests of a module."""
    bench = Bench()
    yield bench
    bench.close()


@pytest.fixture
def log_lines(capfd: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """Everything the nodes have logged so far."""
    gathered: list[str] = []

    def read() -> str:
        captured = capfd.readouterr()
        gathered.append(captured.out + captured.err)
        return "".join(gathered)

    return read


@pytest.fixture
def scripted() -> ScriptedMapper:
    """A mapper of known poses."""
    return ScriptedMapper()


@pytest.fixture
def make_node(bench: Bench, scripted: ScriptedMapper) -> Callable[..., Any]:
    """Makes a MapperNode of the scripted mapper with parameters, dots written as two underscores; not configured.

    `remap` are other names of its topics.
    """
    from rclpy.parameter import Parameter

    from scal3r_ros.nodes.mapper.node import MapperNode
    from scal3r_ros.nodes.ros.parameters import NodeConfig

    def make(remap: dict[str, str] | None = None, **parameters: Any) -> Any:
        rules = [word for name, other in (remap or {}).items() for word in ("-r", f"{name}:={other}")]
        patient = {
            "no_image_warning_s": 60.0,
            "camera_info_wait_s": 0.0,
            "queue__frames": 100,
            "qos__image__depth": 100,
        }
        given = patient | parameters
        overrides = [Parameter(name.replace("__", "."), value=value) for name, value in given.items()]
        node = MapperNode(
            NodeConfig,
            lambda config: scripted,
            context=bench.context,
            parameter_overrides=overrides,
            cli_args=["--ros-args", *rules] if rules else None,
        )
        return bench.add(node)

    return make


@pytest.fixture
def image_message() -> Callable[..., Any]:
    """Makes an Image of 64×48 pixels, stamped in seconds."""
    from sensor_msgs.msg import Image
    from std_msgs.msg import Header

    from scal3r_ros.nodes.ros.messages import stamp_message

    def make(stamp_s: float, encoding: str = "mono8", **changes: Any) -> Any:
        channels = {"mono8": 1, "rgb8": 3}.get(encoding, 1)
        header = Header(stamp=stamp_message(round(stamp_s * 1e9)), frame_id="camera_optical")
        fields: dict[str, Any] = {"height": 48, "width": 64, "step": 64 * channels, "data": bytes(64 * 48 * channels)}
        return Image(header=header, encoding=encoding, **(fields | changes))

    return make


@pytest.fixture
def camera_info_message() -> Callable[..., Any]:
    """Makes the CameraInfo of an undistorted camera of 64×48 pixels."""
    from sensor_msgs.msg import CameraInfo

    def make(**changes: Any) -> Any:
        k = [50.0, 0.0, 32.0, 0.0, 50.0, 24.0, 0.0, 0.0, 1.0]
        p = [50.0, 0.0, 32.0, 0.0, 0.0, 50.0, 24.0, 0.0, 0.0, 0.0, 1.0, 0.0]
        fields: dict[str, Any] = {
            "width": 64,
            "height": 48,
            "distortion_model": "plumb_bob",
            "d": [0.0] * 5,
            "k": k,
            "p": p,
        }
        return CameraInfo(**(fields | {"r": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]} | changes))

    return make


@pytest.fixture
def waiting() -> Callable[..., bool]:
    """`wait_for`, for tests, which can not import it."""
    return wait_for


@pytest.fixture
def project_root() -> Path:
    """The root of the source tree."""
    return Path(__file__).parents[2]
