"""The node `viewer`: subscribes to what a mapper publishes and shows it in the browser, also on another machine."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.msg import Path
from numpy.typing import NDArray
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import MarkerArray

from scal3r_ros.configuration import parameter
from scal3r_ros.errors import ConfigurationError, Scal3rError
from scal3r_ros.geometry import se3
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.io.images.grey_range import GreyRange
from scal3r_ros.mapping.values import PointCloud
from scal3r_ros.nodes.ros.images import image_to_rgb
from scal3r_ros.nodes.ros.messages import cloud_of_message
from scal3r_ros.nodes.ros.parameters import DeclaredParameters, ImageQosConfig
from scal3r_ros.nodes.ros.qos import LATCHED, STATIC_TRANSFORMS, STREAM, image_qos
from scal3r_ros.nodes.ros.transforms import StaticTransforms
from scal3r_ros.viewer.feed import camera_of
from scal3r_ros.viewer.live import LiveView, ViewSettings

Array = NDArray[np.float64]

IMAGE_S = 0.2
"""How often an image is decoded for the page, at most."""

WHOLE_MAP_S = 5.0
"""How long the whole map is listened to after the start and after each loop: it is published at most once a second."""

FUSED_MAP_S = 10.0
"""How long new points are only added, until the whole map is read again: fusion moves points and takes some away."""

DIAGNOSTICS = (
    "state",
    "rate in [Hz]",
    "rate out [Hz]",
    "lag [s]",
    "memory resident [MB]",
    "dropped",
    "mapper: submaps",
    "mapper: loops",
)
"""What of the mapper's diagnostics stands in the panel."""


@dataclass(frozen=True)
class ViewerConfig:
    """Parameters of the node `viewer`."""

    host: str = parameter("127.0.0.1", "address to serve the page at; 0.0.0.0 lets everyone on the network see the map")
    port: int = parameter(8080, "port of the page; the next free one where it is taken", minimum=0, maximum=65535)
    point_size: float = parameter(0.1, "size of a point on the page: the map's voxel", unit="map units", minimum=1e-6)
    max_points: int = parameter(1_000_000, "points on the page at most", unit="points", minimum=1000)
    base_frame: str = parameter("base_link", "frame of the poses on the topic path")
    image_transport: str = parameter(
        "raw", "raw for sensor_msgs/Image, compressed for CompressedImage on <image>/compressed",
        choices=("raw", "compressed"),
    )  # fmt: skip


class ViewerNode(Node):
    """Shows `points`, `path`, `loop_closures`, the images and the mapper's diagnostics.

    New points come with `points`; the whole `map` is subscribed to only at the start, after a loop has moved it, and
    while new points come, now and then: fusion has moved points since, and taken some away.
    """

    def __init__(self, **node_arguments: Any) -> None:
        super().__init__("viewer", automatically_declare_parameters_from_overrides=True, **node_arguments)
        self._declared = DeclaredParameters(self, ViewerConfig)
        self._transforms = StaticTransforms()
        self._view: LiveView | None = None
        self._whole: Subscription[Any] | None = None
        self._whole_until_s = 0.0
        self._image: NDArray[np.uint8] | None = None
        self._image_s = -float("inf")
        self._grey_range = GreyRange()
        self._frame_id = ""
        self._watching = False
        self._intrinsics: Intrinsics | None = None
        self._told: set[str] = set()
        self.exit_code: int | None = None
        self.stopped = True

    def start(self) -> None:
        """Serves the page and subscribes; with one message, ends with exit code 1 where it cannot."""
        try:
            config = self._config = self._declared.read()
            self._view = LiveView(
                ViewSettings(config.host, config.port, unit=config.point_size, most_points=config.max_points)
            )
        except (ConfigurationError, Scal3rError) as error:
            self.get_logger().error(str(error))
            self.exit_code = 1
            return
        self._declared.in_use = True
        self.get_logger().info(self._view.announcement)
        self.create_subscription(PointCloud2, "points", self._on_points, STREAM)
        self.create_subscription(Path, "path", self._on_path, LATCHED)
        self.create_subscription(MarkerArray, "loop_closures", self._on_loops, LATCHED)
        self.create_subscription(TFMessage, "/tf_static", self._on_static_transforms, STATIC_TRANSFORMS)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, STREAM)
        self.create_timer(0.5, self._end_whole_map, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self._want_whole_map()

    def finish(self) -> None:
        """Takes the page off."""
        if self._view is not None:
            self._view.close()

    def give_up(self) -> None:
        """Nothing to hurry: `finish` takes a second."""

    def _on_points(self, message: PointCloud2) -> None:
        if self._view is not None and (cloud := self._cloud_of(message)) is not None:
            self._view.add_points(cloud)
            if time.monotonic() - self._whole_until_s > FUSED_MAP_S:
                self._want_whole_map()

    def _on_map(self, message: PointCloud2) -> None:
        if self._view is not None and (cloud := self._cloud_of(message)) is not None:
            self._view.replace_points(cloud)

    def _on_path(self, message: Path) -> None:
        if self._view is None:
            return
        if not message.poses:
            self._view.clear()  # the map was reset
            return
        self._watch_images()
        positions = np.array([[p.pose.position.x, p.pose.position.y, p.pose.position.z] for p in message.poses])
        if not np.isfinite(positions).all():
            self._tell("path has positions that are not finite")
            return
        turned = message.poses[-1].pose.orientation
        R = se3.rotation_from_quat_xyzw([turned.x, turned.y, turned.z, turned.w])
        T_base_cam = self._transforms.lookup(self._config.base_frame, self._frame_id)
        T_map_cam = se3.se3(R, positions[-1]) @ (np.eye(4) if T_base_cam is None else T_base_cam)
        self._view.show_camera(camera_of(T_map_cam, self._intrinsics, self._image))
        self._view.show_path(positions)

    def _watch_images(self) -> None:
        """Subscribes to the images once the mapper has posed some: a player takes any subscriber for the mapper."""
        if self._watching:
            return
        self._watching = True
        compressed = self._config.image_transport == "compressed"
        name = f"{self.resolve_topic_name('image')}/compressed" if compressed else "image"
        qos = image_qos(ImageQosConfig(depth=1))
        self.create_subscription(CompressedImage if compressed else Image, name, self._on_image, qos)
        self.create_subscription(CameraInfo, "camera_info", self._on_camera_info, qos)

    def _on_loops(self, message: MarkerArray) -> None:
        if self._view is not None:
            ends = [[p.x, p.y, p.z] for marker in message.markers for p in marker.points]
            self._view.show_loops(np.array(ends[: len(ends) // 2 * 2]).reshape(-1, 2, 3))
            self._want_whole_map()

    def _on_image(self, message: Image | CompressedImage) -> None:
        now = time.monotonic()
        if now - self._image_s < IMAGE_S:
            return
        self._image_s, self._frame_id = now, message.header.frame_id
        try:
            self._image = image_to_rgb(message, self._grey_range)
        except Scal3rError as error:
            self._tell(f"an image is not shown: {error}")

    def _on_camera_info(self, message: CameraInfo) -> None:
        if message.k[0] > 0 and message.k[4] > 0 and message.width and message.height:
            self._intrinsics = Intrinsics(
                message.k[0], message.k[4], message.k[2], message.k[5], message.width, message.height
            )

    def _on_static_transforms(self, message: TFMessage) -> None:
        self._transforms.add(message.transforms)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if self._view is not None and status.name.endswith(": mapping"):
                values = {item.key: item.value for item in status.values}
                self._view.show_metrics(
                    {key.removeprefix("mapper: "): values[key] for key in DIAGNOSTICS if key in values}
                )

    def _want_whole_map(self) -> None:
        self._whole_until_s = time.monotonic() + WHOLE_MAP_S
        if self._whole is None:
            self._whole = self.create_subscription(PointCloud2, "map", self._on_map, LATCHED)

    def _end_whole_map(self) -> None:
        if self._whole is not None and time.monotonic() > self._whole_until_s:
            self.destroy_subscription(self._whole)
            self._whole = None

    def _cloud_of(self, message: PointCloud2) -> PointCloud | None:
        """The points of a message as the mapper lays them out; None, and one warning, for another layout."""
        cloud = cloud_of_message(message)
        if cloud is None:
            self._tell("a cloud has other fields than the mapper's x, y, z and rgb, and is not shown")
        return cloud

    def _tell(self, text: str) -> None:
        if text not in self._told and len(self._told) < 100:
            self._told.add(text)
            self.get_logger().warning(text)
