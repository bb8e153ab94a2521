"""`scal3r info` tells the truth about what is and is not installed."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest

from scal3r_ros.cli import info


def findable(monkeypatch: pytest.MonkeyPatch, root: Path, *, missing: set[str]) -> None:
    """Makes every module findable under `root`, but for the missing ones."""

    def find(name: str) -> ModuleSpec | None:
        return None if name in missing else ModuleSpec(name, None, origin=str(root / name / "__init__.py"))

    monkeypatch.setattr(importlib.util, "find_spec", find)


def by_name(lines: Any) -> dict[str, info.Line]:
    return {line.name: line for line in lines}


def test_versions_are_those_of_the_installed_distributions() -> None:
    lines = by_name(info.libraries())
    assert lines["numpy"].found == importlib.metadata.version("numpy")
    assert not [line for line in lines.values() if line.remedy]


def test_weights_that_come_with_the_package_are_named(ship: Callable[..., Path]) -> None:
    ship()
    assert "none come with this package" in by_name(info.machine())["weights"].found
    ship("nano")
    line = by_name(info.machine())["weights"]
    assert line.found.startswith("nano (")
    assert not line.remedy


def test_a_missing_library_comes_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(info, "LIBRARIES", (("no-such-library", "nor-this-one"),))
    assert by_name(info.libraries())["no-such-library"] == info.Line(
        "no-such-library", "missing", "run scripts/setup.sh"
    )


def test_any_of_several_distributions_will_do() -> None:
    assert info.version_of(("no-such-library", "numpy")) == importlib.metadata.version("numpy")
    assert info.version_of(("no-such-library",)) is None


def test_without_ros_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    findable(monkeypatch, tmp_path, missing={"rclpy"})
    lines = by_name(info.ros())
    assert set(lines) == {"rclpy"}
    assert "setup.sh" in lines["rclpy"].remedy


def test_a_missing_message_package_names_its_debian_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    findable(monkeypatch, tmp_path, missing={"tf2_msgs"})
    monkeypatch.setenv("ROS_DISTRO", "jazzy")
    lines = by_name(info.ros())
    assert lines["distribution"].found == "jazzy, installed"
    assert lines["tf2_msgs"].remedy == "sudo apt-get install ros-jazzy-tf2-msgs"
    assert lines["cv_bridge"].found == "here"


def test_the_package_index_is_searched_for_this_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"{tmp_path / 'absent'}:{tmp_path}")
    assert "source scripts/env.sh" in info.share().remedy
    index = tmp_path / "share" / "ament_index" / "resource_index" / "packages"
    index.mkdir(parents=True)
    (index / "scal3r_ros").touch()
    assert info.share() == info.Line("package index", str(tmp_path / "share" / "scal3r_ros"))


def test_the_whole_answer_is_printed_and_ends_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(info, "LIBRARIES", (("numpy",), ("no-such-library",)))
    info.info()
    printed = capsys.readouterr().out
    assert "CPU" in printed
    assert importlib.metadata.version("numpy") in printed
    assert "no-such-library" in printed.split("to do")[1]
