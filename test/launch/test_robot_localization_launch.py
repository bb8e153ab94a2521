"""The launch of the mapper beside robot_localization's filter, with stand-ins for the launch system."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]


@pytest.fixture
def nodes(load_launch_file, installed):
    """The nodes that come of arguments, by executable: the filter, and what the included launch file starts."""
    installed.add("robot_localization")
    launch_file, included = (load_launch_file(f"{name}.launch.py") for name in ("robot_localization", "mapping"))

    def make(**given: str) -> dict[str, dict[str, Any]]:
        defaults = {name: default for file in (included, launch_file) for name, (default, _) in file.ARGUMENTS.items()}
        assert set(given) <= set(defaults)
        mapping, *filters = launch_file.make_nodes(context(defaults | given))
        assert mapping.positional[0].positional == (str(ROOT / "launch" / "mapping.launch.py"),)
        passed_on = dict(mapping.named["launch_arguments"])
        assert set(passed_on) <= set(included.ARGUMENTS)
        made = included.make_nodes(context(defaults | given | passed_on)) + filters
        return {item.named["executable"]: item.named for item in made if type(item).__name__ == "Node"}

    return make


def context(given: dict[str, str]) -> SimpleNamespace:
    return SimpleNamespace(given=given)


def own(node: dict[str, Any]) -> dict[str, Any]:
    """The parameters that a node is given beside files."""
    return {name: value for part in node["parameters"] if isinstance(part, dict) for name, value in part.items()}


def test_one_node_alone_publishes_the_base_in_odom(nodes):
    made = nodes(namespace="car1", profile="driving")
    assert own(made["mapper"])["publish_tf"] is False
    parameters = yaml.safe_load(Path(made["ekf_node"]["parameters"][0]).read_text())["/**"]["ros__parameters"]
    assert parameters["publish_tf"] is True
    assert (parameters["world_frame"], parameters["base_link_frame"]) == ("odom", "base_link")
    assert made["mapper"]["namespace"] == made["ekf_node"]["namespace"] == "car1"


def test_arguments_of_the_mapper_and_a_bag_are_taken(nodes, tmp_path):
    made = nodes(bag=str(tmp_path), camera_height="1.5", imu="/imu/data")
    assert own(made["mapper"])["scale.camera_height"] == 1.5
    assert dict(made["mapper"]["remappings"])["imu"] == "/imu/data"
    assert own(made["player"])["bag"] == str(tmp_path)
    assert own(made["mapper"])["use_sim_time"] is own(made["ekf_node"])["use_sim_time"] is True
    assert own(nodes()["ekf_node"])["use_sim_time"] is False


def test_the_filter_takes_all_six_of_the_pose_of_odometry(nodes):
    parameters = yaml.safe_load(Path(nodes()["ekf_node"]["parameters"][0]).read_text())["/**"]["ros__parameters"]
    assert parameters["odom0"] == "odometry"
    assert parameters["odom0_config"] == [True] * 6 + [False] * 9
    assert parameters["two_d_mode"] is False


@pytest.mark.parametrize(
    ("given", "message"),
    [({"profile": "sailing"}, "argument profile is 'sailing'"), ({"filter_parameters": "no.yaml"}, "'no.yaml'")],
)
def test_a_wrong_argument_is_named(nodes, given, message):
    with pytest.raises(RuntimeError, match=message):
        nodes(**given)


def test_without_the_filter_nothing_starts(load_launch_file):
    launch_file = load_launch_file("robot_localization.launch.py")
    defaults = {name: default for name, (default, _) in launch_file.ARGUMENTS.items()}
    with pytest.raises(RuntimeError, match="the package robot_localization is not installed"):
        launch_file.make_nodes(context(defaults))
