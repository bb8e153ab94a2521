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
        return {node.named["executable"]: node.named for node in made if type(node).__name__ == "Node"}

    return make


@pytest.fixture
def bag(tmp_path) -> str:
    """Something that is there where a bag is looked for."""
    (tmp_path / "drive").mkdir()
    return str(tmp_path / "drive")


def rviz_config(made: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return yaml.safe_load(Path(made["rviz2"]["arguments"][1]).read_text())["Visualization Manager"]


def topics(manager: dict[str, Any]) -> set[str]:
    return {display["Topic"]["Value"] for display in manager["Displays"] if "Topic" in display}


def test_a_camera_needs_only_the_mapper(nodes):
    made = nodes(image="/front/image_raw", camera_info="/front/camera_info")
    assert list(made) == ["mapper"]
    remapped = dict(made["mapper"]["remappings"])
    assert (remapped["image"], remapped["camera_info"]) == ("/front/image_raw", "/front/camera_info")
    assert made["mapper"]["parameters"][-1] == {"use_sim_time": False}


def test_sensors_and_camera_height_reach_the_mapper(nodes):
    made = nodes(imu="/camera/imu", fix="/gps/fix", camera_height="1.5", earth_frame="enu")["mapper"]
    remapped = dict(made["remappings"])
    assert (remapped["imu"], remapped["fix"], remapped["wheel_odometry"]) == (
        "/camera/imu",
        "/gps/fix",
        "wheel_odometry",
    )
    own = {name: value for given in made["parameters"] if isinstance(given, dict) for name, value in given.items()}
    assert (own["scale.camera_height"], own["earth_frame"]) == (1.5, "enu")
    silent = [given for given in nodes()["mapper"]["parameters"] if isinstance(given, dict)]
    assert not any({"scale.camera_height", "earth_frame"} & set(given) for given in silent)  # the profile's stay


def test_a_bag_brings_the_player_and_its_clock(nodes, bag):
    made = nodes(bag=bag, rate="2.0")
    assert made["player"]["parameters"] == [{"bag": bag, "rate": 2.0, "loop": False, "clock": True}]
    assert made["mapper"]["parameters"][-1] == {"use_sim_time": True}
    assert nodes(bag=bag, use_sim_time="false")["mapper"]["parameters"][-1] == {"use_sim_time": False}


def test_a_namespace_holds_every_node_topic_and_display(nodes, bag):
    made = nodes(rviz="true", namespace="car1", bag=bag, base_frame="car1/base_link", map_frame="car1/map")
    assert {made[name]["namespace"] for name in ("mapper", "player", "rviz2")} == {"car1"}
    assert all(not name.startswith("/") for name in dict(made["mapper"]["remappings"]).values())
    assert dict(made["player"]["remappings"])["/camera/image"] == "camera/image"
    manager = rviz_config(made)
    assert topics(manager) == {
        f"/car1/{name}" for name in ("map", "occupancy", "points", "path", "loop_closures", "odometry", "camera/image")
    }
    assert manager["Global Options"]["Fixed Frame"] == "car1/map"
    assert manager["Views"]["Current"]["Target Frame"] == "car1/base_link"


def test_all_frames_are_arguments(nodes):
    frames = {"base_frame": "car1/base", "odom_frame": "car1/odom", "map_frame": "car1/map"}
    given = nodes(**frames)["mapper"]["parameters"][1]
    assert {name: given[name] for name in frames} == frames


def test_compressed_images_are_shown_as_such(nodes):
    made = nodes(rviz="true", image="/front/image_raw", image_transport="compressed")
    assert dict(made["mapper"]["remappings"])["image"] == "/front/image_raw"
    assert "/front/image_raw/compressed" in topics(rviz_config(made))


@pytest.mark.parametrize("profile", ["default", "driving", "handheld"])
def test_points_are_shown_in_the_size_of_a_voxel(profile, nodes):
    from scal3r_ros.configuration import read_parameter_file

    size = read_parameter_file(ROOT / "config" / f"{profile}.yaml")["map.voxel_size"]
    clouds = [item for item in rviz_config(nodes(rviz="true", profile=profile))["Displays"] if "Size (m)" in item]
    assert [item["Size (m)"] for item in clouds] == [size] * 3
    assert {item["Style"] for item in clouds} == {"Flat Squares"}


def test_rviz_that_is_not_installed_is_named_before_anything_starts(nodes, installed):
    installed.remove("rviz2")
    assert list(nodes()) == ["mapper"]
    with pytest.raises(RuntimeError, match="argument rviz is 'true', but the package rviz2 is not installed"):
        nodes(rviz="true")


def test_a_bag_that_is_not_there_is_named_before_anything_starts(nodes):
    with pytest.raises(RuntimeError, match="argument bag is '/no/such/bag', but there is no such file or folder"):
        nodes(bag="/no/such/bag")


def test_a_player_that_fails_ends_the_launch_and_one_that_is_done_does_not(launch_file, bag):
    given = {name: default for name, (default, _) in launch_file.ARGUMENTS.items()} | {"bag": bag}
    made = launch_file.make_nodes(SimpleNamespace(given=given))
    player = next(item for item in made if item.named.get("executable") == "player")
    (handler,) = (item.positional[0] for item in made if type(item).__name__ == "RegisterEventHandler")
    assert handler.named["target_action"] is player
    ended = handler.named["on_exit"](SimpleNamespace(returncode=1), None)
    assert [type(item).__name__ for item in ended] == ["Shutdown"]
    assert not handler.named["on_exit"](SimpleNamespace(returncode=0), None)


def test_the_end_of_the_mapper_ends_the_launch_unless_it_is_started_again(nodes):
    assert type(nodes()["mapper"]["on_exit"]).__name__ == "Shutdown"
    again = nodes(respawn="true")["mapper"]
    assert again["respawn"]
    assert "on_exit" not in again


@pytest.mark.parametrize("profile", ["driving", "handheld", str(ROOT / "config" / "driving.yaml")])
def test_a_profile_is_loaded_after_the_defaults(profile, nodes):
    defaults, changes = nodes(profile=profile)["mapper"]["parameters"][:2]
    assert Path(defaults) == ROOT / "config" / "default.yaml"
    assert Path(changes) == ROOT / "config" / f"{Path(profile).stem}.yaml"


def test_the_default_profile_is_loaded_once(nodes):
    files = [item for item in nodes()["mapper"]["parameters"] if isinstance(item, str)]
    assert files == [str(ROOT / "config" / "default.yaml")]


def test_parameters_are_known_to_the_nodes(nodes, bag):
    pytest.importorskip("rclpy", reason="rclpy is not installed")
    from scal3r_ros.configuration import from_parameters
    from scal3r_ros.nodes.player.node import PlayerConfig
    from scal3r_ros.nodes.ros.parameters import NodeConfig

    made = nodes(bag=bag)
    from_parameters(NodeConfig, made["mapper"]["parameters"][1])
    from_parameters(PlayerConfig, made["player"]["parameters"][0])


def test_transforms_are_published_unless_another_node_does(nodes):
    for given, published in ({}, True), ({"publish_tf": "false"}, False):
        own = {
            k: v for part in nodes(**given)["mapper"]["parameters"] if isinstance(part, dict) for k, v in part.items()
        }
        assert own["publish_tf"] is published


@pytest.mark.parametrize(
    ("name", "value"),
    [("profile", "flying"), ("rviz", "auto"), ("rviz", "perhaps"), ("use_sim_time", "now"), ("rate", "fast")],
)
def test_wrong_arguments_are_named(name, value, nodes, bag):
    with pytest.raises(RuntimeError, match=f"argument {name} is '{value}'"):
        nodes(bag=bag, **{name: value})


def test_rviz_shows_every_topic_under_the_map_frame():
    manager = yaml.safe_load((ROOT / "rviz" / "mapping.rviz").read_text())["Visualization Manager"]
    assert manager["Global Options"]["Fixed Frame"] == "map"
    assert topics(manager) == {
        "/map", "/occupancy", "/points", "/path", "/loop_closures", "/odometry", "/camera/image",
    }  # fmt: skip
    latched = {
        display["Topic"]["Value"]
        for display in manager["Displays"]
        if display.get("Topic", {}).get("Durability Policy") == "Transient Local"
    }
    assert latched == {"/map", "/occupancy", "/path", "/loop_closures"}
    displays = {display["Name"]: display for display in manager["Displays"]}
    assert displays["TF"]["Marker Scale"] >= 6
    assert displays["Odometry"]["Covariance"]["Value"]


def test_rviz_opens_with_a_layout_of_its_docks():
    window = yaml.safe_load((ROOT / "rviz" / "mapping.rviz").read_text())["Window Geometry"]
    assert len(bytes.fromhex(window["QMainWindow State"])) > 100


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


def test_the_view_gets_what_the_mapper_gets_and_is_for_this_machine_alone(nodes):
    made = nodes(
        view="true", namespace="car1", image="/front/image_raw", base_frame="car1/base_link", profile="driving"
    )
    viewer = made["viewer"]
    assert viewer["namespace"] == "car1"
    assert ("image", "/front/image_raw") in viewer["remappings"]
    (page,) = viewer["parameters"]
    assert page["host"] == "127.0.0.1"
    assert page["base_frame"] == "car1/base_link"
    assert "viewer" not in nodes()
