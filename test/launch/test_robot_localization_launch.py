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
    installed.add("robot_localization")
    launch_file = load_launch_file("robot_localization.launch.py")

    def make(**given: str) -> dict[str, dict[str, Any]]:
        declared = launch_file.generate_launch_description().positional[0][:-1]
        defaults = {item.positional[0]: item.named["default_value"] for item in declared}
        assert set(given) <= set(defaults)
        return {item.named["executable"]: item.named for item in launch_file.make_nodes(context(defaults | given))}

    return make


def context(given: dict[str, str]) -> SimpleNamespace:
    return SimpleNamespace(given=given)


def test_one_node_alone_publishes_the_base_in_odom(nodes):
    made = nodes(namespace="car1", profile="driving")
    assert made["mapper"]["parameters"][-1]["publish_tf"] is False
    parameters = yaml.safe_load(Path(made["ekf_node"]["parameters"][0]).read_text())["/**"]["ros__parameters"]
    assert parameters["publish_tf"] is True
    assert (parameters["world_frame"], parameters["base_link_frame"]) == ("odom", "base_link")
    assert made["mapper"]["namespace"] == made["ekf_node"]["namespace"] == "car1"


def test_the_filter_takes_all_six_of_the_pose_of_odometry(nodes):
    parameters = yaml.safe_load(Path(nodes()["ekf_node"]["parameters"][0]).read_text())["/**"]["ros__parameters"]
    assert parameters["odom0"] == "odometry"
    assert parameters["odom0_config"] == [True] * 6 + [False] * 9
    assert parameters["two_d_mode"] is False


@pytest.mark.parametrize(
    ("given", "message"),
    [({"profile": "sailing"}, "argument profile is 'sailing'"), ({"filter_parameters": "no.yaml"}, "'no.yaml'")],
)
def test_a_wrong_argument_is_named_before_anything_starts(nodes, given, message):
    with pytest.raises(RuntimeError, match=message):
        nodes(**given)


def test_without_the_filter_nothing_starts(load_launch_file):
    launch_file = load_launch_file("robot_localization.launch.py")
    defaults = {name: default for name, (default, _) in launch_file.ARGUMENTS.items()}
    with pytest.raises(RuntimeError, match="the package robot_localization is not installed"):
        launch_file.make_nodes(context(defaults))
