"""Grids and points for planners, over a real middleware."""

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")

from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.msg import OccupancyGrid
from sensor_msgs.msg import PointCloud2
from std_srvs.srv import Trigger

from scal3r_ros.mapping.values import OccupancyGrid as Grid
from scal3r_ros.mapping.values import PointCloud

pytestmark = pytest.mark.ros

CELLS = np.random.default_rng(0).choice([-1, 0, 100], (30, 50)).astype(np.int8)
POINTS = np.array([[1.0, 2.0, 0.5], [3.0, -1.0, 0.25]], np.float32)


def test_grids_and_points_come_with_a_submap_and_go_with_a_reset(make_node, bench, scripted, image_message, waiting):
    scripted.occupancy.known = Grid(CELLS, 0.1, np.array([-4.0, 7.0]), -1.5)
    scripted.occupancy.points = PointCloud(POINTS, np.zeros((2, 3), np.uint8))
    bench.listen(diagnostics=DiagnosticArray, points_local=PointCloud2)
    make_node().start()
    for number in range(6):
        bench.publish("/image", image_message(1000.0 + 0.1 * number))
    assert waiting(lambda: scripted.mapped)
    bench.listen(occupancy=OccupancyGrid, occupancy_local=OccupancyGrid)  # whoever subscribes later gets the last one
    frames = {"occupancy": "map", "occupancy_local": "odom"}
    assert waiting(lambda: all(bench.heard[name] for name in frames))
    for name, frame in frames.items():
        message = bench.heard[name][-1]
        assert message.header.frame_id == frame
        assert message.info.resolution == pytest.approx(0.1)
        np.testing.assert_array_equal(np.array(message.data).reshape(message.info.height, message.info.width), CELLS)
        corner = message.info.origin.position
        assert (corner.x, corner.y, corner.z, message.info.origin.orientation.w) == (-4.0, 7.0, -1.5, 1.0)
    assert waiting(lambda: bench.heard["points_local"])
    cloud = bench.heard["points_local"][-1]
    assert cloud.header.frame_id == "odom"
    np.testing.assert_array_equal(np.frombuffer(cloud.data, np.float32).reshape(2, 4)[:, :3], POINTS)
    call = bench.call(Trigger, "/mapper/reset", Trigger.Request())
    assert call.success
    assert waiting(lambda: all(list(bench.heard[name][-1].data) == [-1] for name in frames))


def test_without_a_grid_nothing_comes_and_the_diagnostics_say_why(make_node, bench, scripted, image_message, waiting):
    bench.listen(diagnostics=DiagnosticArray, occupancy=OccupancyGrid, occupancy_local=OccupancyGrid)
    make_node().start()
    for number in range(6):
        bench.publish("/image", image_message(1000.0 + 0.1 * number))
    assert waiting(lambda: scripted.mapped)

    def said():
        values = {item.key: item.value for message in bench.heard["diagnostics"] for item in message.status[0].values}
        return values.get("occupancy")

    assert waiting(lambda: said() == "none: not in metres")
    assert not bench.heard["occupancy"]
    assert not bench.heard["occupancy_local"]
