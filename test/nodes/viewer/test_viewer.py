"""The viewer over the middleware: what is published is what the page has."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")

import rclpy
from browser import Page
from builtin_interfaces.msg import Time
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Path
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from scal3r_ros.mapping.values import PointCloud
from scal3r_ros.nodes.ros.messages import cloud_to_message, loop_markers
from scal3r_ros.nodes.ros.qos import LATCHED, STREAM
from scal3r_ros.nodes.viewer import node as viewer_node
from scal3r_ros.nodes.viewer.node import ViewerNode

pytestmark = pytest.mark.ros


class Published:
    """A mapper's topics, and the viewer that hears them."""

    def __init__(self, context: Context) -> None:
        self.viewer = ViewerNode(context=context, parameter_overrides=[Parameter("port", value=0)])
        self.mapper = Node("stand_in", context=context)
        self.points = self.mapper.create_publisher(PointCloud2, "points", STREAM)
        self.map = self.mapper.create_publisher(PointCloud2, "map", LATCHED)
        self.path = self.mapper.create_publisher(Path, "path", LATCHED)
        self.loops = self.mapper.create_publisher(MarkerArray, "loop_closures", LATCHED)
        self.executor = SingleThreadedExecutor(context=context)
        self.executor.add_node(self.viewer)
        self.executor.add_node(self.mapper)

    def spin_until(self, holds: Any, timeout_s: float = 60.0) -> None:
        end_s = time.monotonic() + timeout_s
        while not holds():
            assert time.monotonic() < end_s
            self.executor.spin_once(timeout_sec=0.05)


@pytest.fixture
def published(ros_environment) -> Iterator[Published]:
    context = Context()
    rclpy.init(context=context)
    made = Published(context)
    made.viewer.start()
    yield made
    made.viewer.finish()
    made.executor.shutdown()
    rclpy.shutdown(context=context)


def wall(count: int) -> PointCloud:
    points = np.random.default_rng(0).uniform((30, -6, -4), (40, 6, 4), (count, 3)).astype(np.float32)
    return PointCloud(points, np.tile(np.array([[250, 120, 10]], np.uint8), (count, 1)))


def test_points_add_up_and_a_loop_brings_the_whole_map(published: Published, page: Page) -> None:
    view = published.viewer._view
    assert view is not None
    published.spin_until(lambda: published.points.get_subscription_count() == 1)
    published.points.publish(cloud_to_message(1, "map", wall(300)))
    published.spin_until(lambda: view.points_shown == 300)
    assert published.mapper.count_subscribers("image") == 0  # a player would begin before the mapper is there
    published.path.publish(Path(poses=[PoseStamped(header=Header(stamp=Time(nanosec=1 + i))) for i in range(5)]))
    page.open(view.url)
    page.wait_until(lambda: published.executor.spin_once(timeout_sec=0.01) or page.points() >= 0)
    published.spin_until(lambda: published.mapper.count_subscribers("image") == 1)
    published.spin_until(lambda: published.map.get_subscription_count() == 0, 30.0)  # nobody listens to it for nothing
    published.loops.publish(loop_markers(6, "map", np.zeros((1, 2, 3))))
    published.spin_until(lambda: published.map.get_subscription_count() == 1)
    published.map.publish(cloud_to_message(6, "map", wall(100)))
    published.spin_until(lambda: view.points_shown == 100)
    published.path.publish(Path())
    published.spin_until(lambda: view.points_shown == 0)


def test_points_that_fusion_took_away_go_from_the_page(published: Published, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(viewer_node, "FUSED_MAP_S", 0.0)
    view = published.viewer._view
    assert view is not None
    published.spin_until(lambda: published.map.get_subscription_count() == 1)
    published.spin_until(lambda: published.map.get_subscription_count() == 0)
    published.points.publish(cloud_to_message(1, "map", wall(300)))
    published.spin_until(lambda: published.map.get_subscription_count() == 1)
    published.map.publish(cloud_to_message(1, "map", wall(200)))
    published.spin_until(lambda: view.points_shown == 200)
