"""The parameter files are in step with the dataclasses they are written from."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")

from scal3r_ros.configuration import from_parameters, parameters_of, read_parameter_file, to_parameters
from scal3r_ros.nodes.mapper.config import MapperNodeConfig

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script():
    specification = importlib.util.spec_from_file_location("write_config", ROOT / "scripts" / "write_config.py")
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module  # where dataclasses look up their own module
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def default_values():
    return read_parameter_file(ROOT / "config" / "default.yaml")


@pytest.mark.parametrize("name", ["default", "driving", "handheld"])
def test_files_are_as_the_script_writes_them(name, script):
    written = (ROOT / "config" / f"{name}.yaml").read_text()
    assert written == script.render(name), "run scripts/write_config.py"


def test_the_default_file_holds_every_parameter(default_values):
    assert set(default_values) == {info.name for info in parameters_of(MapperNodeConfig)}
    assert to_parameters(from_parameters(MapperNodeConfig, default_values)) == to_parameters(MapperNodeConfig())


@pytest.mark.parametrize("name", ["driving", "handheld"])
def test_an_overlay_holds_only_what_differs(name, script, default_values):
    overlay = read_parameter_file(ROOT / "config" / f"{name}.yaml")
    assert overlay == script.PROFILES[name].changes
    assert all(default_values[parameter] != value for parameter, value in overlay.items())
    profile = to_parameters(from_parameters(MapperNodeConfig, default_values | overlay))
    assert profile == to_parameters(MapperNodeConfig()) | overlay


def test_every_parameter_says_what_it_means():
    for info in parameters_of(MapperNodeConfig):
        assert info.doc, info.name
        if info.kind in (int, float):
            assert info.minimum is not None or info.maximum is not None, f"{info.name} has no range"
