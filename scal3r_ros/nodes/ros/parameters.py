"""Parameters of the ROS nodes: their dataclasses, and how a config dataclass is declared and read on a node."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from scal3r_ros.configuration import ParameterInfo, from_parameters, parameter, parameters_of, section
from scal3r_ros.errors import ConfigurationError

ConfigT = TypeVar("ConfigT")

AT_ONCE = (
    "map_directory",
    "drain_timeout_s",
    "no_image_warning_s",
    "publish_tf",
    "output.map_rate",
    "output.map_byte_budget",
    "output.path_max_poses",
    "output.correction_step_m",
    "output.correction_step_deg",
    "output.local_size_m",
    "output.local_voxel_m",
)
"""Parameters of the mapper that take effect whenever they are set; all others do when the node is configured."""

ROS_OWN_PREFIXES = ("use_sim_time", "qos_overrides.", "start_type_description_service")
"""Parameters that rclpy declares by itself on every node."""


@dataclass(frozen=True)
class ImageQosConfig:
    """Quality of service of the image and camera_info subscriptions."""

    reliability: str = parameter(
        "best_effort",
        "reliability asked of the image's publisher; best_effort matches every publisher, reliable only reliable ones",
        choices=("best_effort", "reliable"),
    )
    depth: int = parameter(10, "images the middleware keeps until the node takes them", minimum=1, maximum=1000)


@dataclass(frozen=True)
class QosConfig:
    """Quality of service of the inputs."""

    image: ImageQosConfig = section(ImageQosConfig)


@dataclass(frozen=True)
class QueueConfig:
    """Bounds between the node's threads."""

    frames: int = parameter(
        8, "images that may wait for the tracker; the oldest is dropped and counted", minimum=1, maximum=1000
    )
    chunks: int = parameter(
        1, "full chunks that may wait for reconstruction before keyframes are thinned", minimum=1, maximum=16
    )


@dataclass(frozen=True)
class OutputConfig:
    """Bounds of what is published whole, the cloud on `map` and the trajectory on `path`, and of corrections."""

    map_rate: float = parameter(
        1.0, "how often the global cloud is published at most", unit="Hz", minimum=0.01, maximum=1.0
    )
    map_byte_budget: int = parameter(
        24_000_000,
        "size of the global cloud's message at most; the cloud is decimated to it",
        unit="bytes",
        minimum=16_000,
        maximum=1_000_000_000,
    )
    path_max_poses: int = parameter(
        2000, "poses of the published path at most; a longer one is thinned evenly", minimum=2, maximum=100_000
    )
    correction_step_m: float = parameter(
        0.1,
        "how far a loop may move map → odom, and the robot in map, from one publication to the next",
        unit="m", minimum=1e-4, maximum=1e6,
    )  # fmt: skip
    correction_step_deg: float = parameter(
        0.5, "how far a loop may turn map → odom from one publication to the next",
        unit="degrees", minimum=1e-3, maximum=180.0,
    )  # fmt: skip
    local_size_m: float = parameter(
        20.0, "edge of the rolling grid on occupancy_local", unit="m", minimum=0.1, maximum=1000.0
    )
    local_voxel_m: float = parameter(
        0.1, "edge of a voxel of points_local, which has one point in each", unit="m", minimum=0.001, maximum=100.0
    )


@dataclass(frozen=True)
class NodeConfig:
    """Parameters of the node `mapper` itself; those of the core are declared next to them."""

    autostart: bool = parameter(True, "configure and activate at start, instead of waiting for a lifecycle manager")
    image_transport: str = parameter(
        "raw",
        "raw subscribes to sensor_msgs/Image on the topic image, compressed to sensor_msgs/CompressedImage on "
        "image/compressed",
        choices=("raw", "compressed"),
    )
    rectification: str = parameter(
        "auto",
        "whether the images are raw, and camera_info's distortion is to be removed, or rectified already, and P is "
        "their camera; auto takes those on a topic named image_rect… as rectified",
        choices=("auto", "raw", "rectified"),
    )
    base_frame: str = parameter("base_link", "frame of the robot whose pose in odom is published")
    odom_frame: str = parameter("odom", "frame in which the pose is continuous")
    map_frame: str = parameter("map", "frame of the map; map → odom carries the corrections")
    earth_frame: str = parameter(
        "",
        "frame whose axes are east, north and up at the first satellite fix; once known, it becomes the parent of map "
        "on /tf_static; empty publishes none",
    )
    camera_frame: str = parameter("", "optical frame of the camera; empty takes frame_id of the images")
    publish_tf: bool = parameter(True, "publish odom → base and map → odom on /tf")
    separate_process: bool = parameter(
        True,
        "let the reconstructor work in a separate process of lower priority, so that poses do not wait for it; where "
        "that process ends a new one takes its place, and one chunk is lost",
    )
    no_image_warning_s: float = parameter(
        5.0, "silence of the topic image after which the node explains itself", unit="s", minimum=0.1, maximum=3600.0
    )
    camera_info_wait_s: float = parameter(
        2.0,
        "how long the first image waits for a camera_info before the camera is taken as uncalibrated",
        unit="s",
        minimum=0.0,
        maximum=60.0,
    )
    diagnostics_period_s: float = parameter(
        1.0, "time between two messages on /diagnostics", unit="s", minimum=0.1, maximum=60.0
    )
    result_directory: str = parameter(
        "", "folder that gets trajectory, map, timings and run at deactivation and shutdown; empty writes none"
    )
    map_directory: str = parameter(
        "", "folder that ~/save_map writes to and ~/load_map reads from; read anew by each call"
    )
    drain_timeout_s: float = parameter(
        60.0,
        "how long deactivation, and shutdown with a result_directory, may take to map what was received",
        unit="s",
        minimum=0.0,
        maximum=3600.0,
    )
    qos: QosConfig = section(QosConfig)
    queue: QueueConfig = section(QueueConfig)
    output: OutputConfig = section(OutputConfig)


class DeclaredParameters(Generic[ConfigT]):
    """The parameters of a config dataclass on a node; `read` gives the config.

    The node has to be built with `automatically_declare_parameters_from_overrides=True`. A value from the command line
    or a file that has the wrong type or range does not stop the node: the default stands in, and `read` raises.

    While `in_use` is true, only parameters in `AT_ONCE` can be set, and `changed` is called when they were; another one
    is refused with the reason.
    """

    def __init__(self, node: Node, config: type[ConfigT], changed: Callable[[], None] = lambda: None) -> None:
        self._changed = changed
        self.in_use = False
        self._node = node
        self._config = config
        self._infos = {info.name: info for info in parameters_of(config)}
        self._refused: dict[str, ConfigurationError] = {}
        given = {name: item.value for name, item in node.get_parameters_by_prefix("").items()}
        for info in self._infos.values():
            self._declare(info, given)
        for name in given:
            if name not in self._infos and not name.startswith(ROS_OWN_PREFIXES):
                node.get_logger().warning(f"parameter {name} is unknown and has no effect{self._nearest(name)}")
        node.add_on_set_parameters_callback(self._judge)
        node.add_post_set_parameters_callback(self._after_set)

    def read(self) -> ConfigT:
        """The config as the parameters stand now.

        Raises:
            ConfigurationError: a value has the wrong type or is out of range.
        """
        if self._refused:
            raise next(iter(self._refused.values()))
        return from_parameters(self._config, {name: self._node.get_parameter(name).value for name in self._infos})

    def _declare(self, info: ParameterInfo, given: dict[str, object]) -> None:
        value = info.default
        if info.name in given:
            self._node.undeclare_parameter(info.name)
            try:
                value = info.check(given[info.name])
            except ConfigurationError as error:
                self._refused[info.name] = error
        self._node.declare_parameter(info.name, value, descriptor_of(info), ignore_override=True)

    def _judge(self, asked: list[Parameter]) -> SetParametersResult:
        for item in asked:
            info = self._infos.get(item.name)
            if info is None:
                continue
            try:
                info.check(item.value)
            except ConfigurationError as error:
                return SetParametersResult(successful=False, reason=str(error))
            if self.in_use and item.name not in AT_ONCE:
                reason = f"parameter {item.name} takes effect when the node is configured, which has been done"
                return SetParametersResult(successful=False, reason=f"{reason}: clean up, set it, configure again")
        return SetParametersResult(successful=True)

    def _after_set(self, done: list[Parameter]) -> None:
        for item in done:
            self._refused.pop(item.name, None)
        if self.in_use and any(item.name in self._infos for item in done):
            self._changed()

    def _nearest(self, name: str) -> str:
        near = difflib.get_close_matches(name, self._infos, n=1)
        return f"; did you mean {near[0]}?" if near else ""


def descriptor_of(info: ParameterInfo) -> ParameterDescriptor:
    """What `ros2 param describe` shows: meaning with unit, range and choices."""
    descriptor = ParameterDescriptor(description=info.doc + (f" [{info.unit}]" if info.unit else ""))
    when = "at once" if info.name in AT_ONCE else "when the node is configured"
    descriptor.additional_constraints = f"takes effect {when}"
    if info.choices:
        descriptor.additional_constraints = f"one of {', '.join(info.choices)}; " + descriptor.additional_constraints
    if info.minimum is None and info.maximum is None:
        return descriptor
    if info.kind is int:
        low = -(2**63) if info.minimum is None else int(info.minimum)
        high = 2**63 - 1 if info.maximum is None else int(info.maximum)
        descriptor.integer_range = [IntegerRange(from_value=low, to_value=high, step=0)]
    elif info.kind is float:
        from_value = -sys.float_info.max if info.minimum is None else float(info.minimum)
        to_value = sys.float_info.max if info.maximum is None else float(info.maximum)
        descriptor.floating_point_range = [FloatingPointRange(from_value=from_value, to_value=to_value, step=0.0)]
    return descriptor
