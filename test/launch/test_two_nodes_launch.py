"""The launch of two mappers that share their memory, with stand-ins for the launch system."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
HAS_LAUNCH_ROS = importlib.util.find_spec("launch_ros") is not None


@pytest.fixture
def nodes(load_launch_file):
    """The nodes that come of arguments, by namespace and executable."""
    launch_file = load_launch_file("two_nodes.launch.py")

    def make(**given: str) -> dict[tuple[str, str], dict[str, Any]]:
        declared = launch_file.generate_launch_description().positional[0][:-1]
        defaults = {item.positional[0]: item.named["default_value"] for item in declared}
        assert set(given) <= set(defaults)
        made = launch_file.make_nodes(SimpleNamespace(given=defaults | given))
        assert all(item.named["description"] and "{" not in item.named["description"] for item in declared)
        started = [node for node in made if type(node).__name__ == "Node"]
        return {(node.named["namespace"], node.named["executable"]): node.named for node in started}

    return make


def test_two_mappers_meet_under_names_of_their_own(nodes):
    made = nodes(checkpoint="scal3r.pt", device_b="cuda:1")
    assert list(made) == [("robot_a", "mapper"), ("robot_b", "mapper")]
    a, b = (made[robot, "mapper"]["parameters"][1] for robot in ("robot_a", "robot_b"))
    assert a["memory_peers.rendezvous"] == b["memory_peers.rendezvous"] == "127.0.0.1:29500"
    assert (a["network.device"], b["network.device"]) == ("auto", "cuda:1")
    for name in ("memory_peers.name", "map_frame", "odom_frame", "base_frame"):
        assert a[name] != b[name]
    for name in ("network.checkpoint", "network.preset", "reconstructor"):
        assert a[name] == b[name]
    assert dict(made["robot_b", "mapper"]["remappings"]) == {
        "image": "/robot_b/camera/image",
        "camera_info": "/robot_b/camera/camera_info",
        "wheel_odometry": "/robot_b/wheel_odometry",
        "imu": "/robot_b/imu",
        "fix": "/robot_b/fix",
    }


def test_two_boxes_of_several_devices_share_their_memory(nodes):
    made = nodes(devices_a="cpu,cpu", key_file="robots.key")
    a, b = (made[robot, "mapper"]["parameters"][1] for robot in ("robot_a", "robot_b"))
    assert (a["network.devices"], b["network.devices"]) == (["cpu", "cpu"], [""])
    assert a["memory_peers.key_file"] == b["memory_peers.key_file"] == "robots.key"


def test_a_bag_plays_into_the_topics_of_its_robot_and_sets_nobodys_clock(nodes, tmp_path):
    made = nodes(robot_a="north", bag_a=str(tmp_path), image_a="/front/image", result_directory="out")
    player = made["north", "player"]
    assert ("robot_b", "player") not in made
    assert player["parameters"][0]["clock"] is False
    assert dict(player["remappings"])["/camera/image"] == "/front/image"
    assert dict(player["remappings"])["/camera/camera_info"] == "/north/camera/camera_info"
    assert made["north", "mapper"]["parameters"][1]["result_directory"] == str(Path("out") / "north")


def test_sensors_of_metres_reach_the_mapper_live_and_from_bags(nodes, tmp_path):
    made = nodes(robot_a="north", bag_a=str(tmp_path), imu_a="/north/imu/data", wheel_odometry_b="/base/odom")
    a, b = (dict(made[robot, "mapper"]["remappings"]) for robot in ("north", "robot_b"))
    assert (a["imu"], a["fix"], b["wheel_odometry"]) == ("/north/imu/data", "/north/fix", "/base/odom")
    player = made["north", "player"]
    played = player["parameters"][0]["topics"].split(",")
    for name in ("imu", "wheel_odometry", "fix"):
        assert f"/{name}" in played
        assert dict(player["remappings"])[f"/{name}"] == a[name]


def test_parameters_are_known_to_the_nodes(nodes, tmp_path):
    pytest.importorskip("rclpy", reason="rclpy is not installed")
    from scal3r_ros.configuration import from_parameters
    from scal3r_ros.nodes.mapper.config import MapperNodeConfig
    from scal3r_ros.nodes.player.node import PlayerConfig

    made = nodes(bag_a=str(tmp_path), allow_random_weights="true")
    config = from_parameters(MapperNodeConfig, made["robot_a", "mapper"]["parameters"][1])
    assert config.network.allow_random_weights
    assert Path(made["robot_a", "mapper"]["parameters"][0]) == ROOT / "config" / "default.yaml"
    from_parameters(PlayerConfig, made["robot_a", "player"]["parameters"][0])


def test_without_arguments_the_weights_are_those_of_the_package(nodes):
    from scal3r_ros.assembly import bundled_weights_used, core_config

    given = nodes()["robot_a", "mapper"]["parameters"][-1]
    config, _ = core_config(given)
    weights = bundled_weights_used(config)
    assert weights is not None
    assert weights.is_file()


def test_wrong_arguments_are_named(nodes, tmp_path):
    with pytest.raises(RuntimeError, match="argument rate is 'fast'"):
        nodes(rate="fast", bag_b=str(tmp_path))
    with pytest.raises(RuntimeError, match=r"argument bag_[ab] is .*there is no such file or folder"):
        nodes(bag_b="/no/such/bag")
    with pytest.raises(RuntimeError, match="robot_a and robot_b are both 'robot_b'"):
        nodes(robot_a="robot_b")
    with pytest.raises(RuntimeError, match="argument profile is 'flying'"):
        nodes(profile="flying")
    with pytest.raises(RuntimeError, match="argument allow_random_weights is 'perhaps'"):
        nodes(allow_random_weights="perhaps")


@pytest.mark.skipif(not HAS_LAUNCH_ROS, reason="launch_ros is not installed: it comes with a ROS installation only")
def test_the_real_launch_takes_the_description():
    from launch import LaunchContext
    from launch.actions import DeclareLaunchArgument
    from launch.launch_description_sources import get_launch_description_from_python_launch_file

    path = ROOT / "launch" / "two_nodes.launch.py"
    description = get_launch_description_from_python_launch_file(str(path))
    context = LaunchContext()
    for item in description.entities:
        if isinstance(item, DeclareLaunchArgument):
            item.execute(context)
    assert len(description.entities[-1].execute(context)) == 2
