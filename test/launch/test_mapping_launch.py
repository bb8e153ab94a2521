"""The launch file, with the real launch_ros where it is installed, and with stand-ins for it everywhere."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
LAUNCH_FILE = ROOT / "launch" / "mapping.launch.py"
HAS_LAUNCH_ROS = importlib.util.find_spec("launch_ros") is not None


@pytest.fixture
def launch_file(load_launch_file):
    """The launch file, loaded with stand-ins for what it imports."""
    return load_launch_file(LAUNCH_FILE.name)


@pytest.fixture
def nodes(launch_file):
    """The nodes that come of arguments, by executable."""

    def make(**given: str) -> dict[str, dict[str, Any]]:
        defaults = {
            item.positional[0]: item.named["default_value"]
            for item in launch_file.generate_launch_description().positional[0][:-1]
        }
        assert set(given) <= set(defaults)
        made = launch_file.make_nodes(SimpleNamespace(given=defaults | given))
        return {node.named["executable"]: node.named for node in made}

    return make


def test_a_camera_needs_only_the_mapper(nodes):
    made = nodes(image="/front/image_raw", camera_info="/front/camera_info")
    assert list(made) == ["mapper"]
    assert dict(made["mapper"]["remappings"]) == {"image": "/front/image_raw", "camera_info": "/front/camera_info"}
    assert made["mapper"]["parameters"][-1] == {"use_sim_time": False}


def test_a_bag_brings_the_player_and_its_clock(nodes):
    made = nodes(bag="drive", rate="2.0")
    assert made["player"]["parameters"] == [{"bag": "drive", "rate": 2.0, "loop": False, "clock": True}]
    assert made["mapper"]["parameters"][-1] == {"use_sim_time": True}
    assert nodes(bag="drive", use_sim_time="false")["mapper"]["parameters"][-1] == {"use_sim_time": False}


def test_rviz_follows_the_namespace(nodes):
    made = nodes(rviz="true", namespace="robot_1")
    assert {made[name]["namespace"] for name in ("mapper", "rviz2")} == {"robot_1"}
    assert ("/points", "points") in made["rviz2"]["remappings"]
    assert Path(made["rviz2"]["arguments"][1]).is_file()


@pytest.mark.parametrize("profile", ["driving", "handheld", str(ROOT / "config" / "driving.yaml")])
def test_a_profile_is_loaded_after_the_defaults(profile, nodes):
    defaults, changes = nodes(profile=profile)["mapper"]["parameters"][:2]
    assert Path(defaults) == ROOT / "config" / "default.yaml"
    assert Path(changes) == ROOT / "config" / f"{Path(profile).stem}.yaml"


def test_the_default_profile_is_loaded_once(nodes):
    files = [item for item in nodes()["mapper"]["parameters"] if isinstance(item, str)]
    assert files == [str(ROOT / "config" / "default.yaml")]


def test_parameters_are_known_to_the_nodes(nodes):
    pytest.importorskip("rclpy", reason="rclpy is not installed")
    from scal3r_ros.configuration import from_parameters
    from scal3r_ros.nodes.player.node import PlayerConfig
    from scal3r_ros.nodes.ros.parameters import NodeConfig

    made = nodes(bag="drive")
    from_parameters(NodeConfig, made["mapper"]["parameters"][1])
    from_parameters(PlayerConfig, made["player"]["parameters"][0])


@pytest.mark.parametrize(("name", "value"), [("profile", "flying"), ("rviz", "perhaps"), ("use_sim_time", "now")])
def test_wrong_arguments_are_named(name, value, nodes):
    with pytest.raises(RuntimeError, match=f"argument {name} is '{value}'"):
        nodes(**{name: value})


def test_rviz_shows_every_topic_under_the_map_frame():
    manager = yaml.safe_load((ROOT / "rviz" / "mapping.rviz").read_text())["Visualization Manager"]
    assert manager["Global Options"]["Fixed Frame"] == "map"
    topics = {display["Topic"]["Value"] for display in manager["Displays"] if "Topic" in display}
    assert topics == {"/map", "/points", "/path", "/loop_closures", "/odometry", "/camera/image"}
    latched = {
        display["Topic"]["Value"]
        for display in manager["Displays"]
        if display.get("Topic", {}).get("Durability Policy") == "Transient Local"
    }
    assert latched == {"/map", "/path", "/loop_closures"}


@pytest.mark.skipif(not HAS_LAUNCH_ROS, reason="launch_ros is not installed: it comes with a ROS installation only")
def test_the_real_launch_takes_the_description():
    from launch import LaunchContext
    from launch.actions import DeclareLaunchArgument
    from launch.launch_description_sources import get_launch_description_from_python_launch_file

    description = get_launch_description_from_python_launch_file(str(LAUNCH_FILE))
    arguments = [item for item in description.entities if isinstance(item, DeclareLaunchArgument)]
    assert {"image", "camera_info", "profile", "rviz", "use_sim_time", "bag", "namespace"} <= {
        argument.name for argument in arguments
    }
    context = LaunchContext()
    for argument in arguments:
        argument.execute(context)
    assert description.entities[-1].execute(context)
