"""Launch files, loaded with stand-ins for the launch system, which comes with a ROS installation only."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@dataclass
class Recorded:
    """Stands in for whatever launch class: keeps what it was made with."""

    positional: tuple[Any, ...] = ()
    named: dict[str, Any] = field(default_factory=dict)


def recorder(name: str) -> type[Recorded]:
    def make(self: Recorded, *positional: Any, **named: Any) -> None:
        Recorded.__init__(self, positional, named)

    return type(name, (Recorded,), {"__init__": make})


class LaunchConfiguration:
    """Stands in for the substitution of an argument by its value."""

    def __init__(self, name: str) -> None:
        self._name = name

    def perform(self, context: SimpleNamespace) -> str:
        return context.given[self._name]


@pytest.fixture
def installed() -> set[str]:
    """The packages that the stand-in for the package index knows."""
    return {"scal3r_ros", "rviz2"}


@pytest.fixture
def load_launch_file(monkeypatch: pytest.MonkeyPatch, installed: set[str]) -> Callable[[str], ModuleType]:
    """Loads a file in launch/ with stand-ins for `launch`, `launch_ros` and the package index."""

    def share(name: str) -> str:
        if name not in installed:
            raise KeyError(name)
        return str(ROOT)

    contents = {
        "launch": {
            "LaunchDescription": recorder("LaunchDescription"),
            "LaunchDescriptionEntity": Recorded,
            "LaunchContext": SimpleNamespace,
        },
        "launch.actions": {
            name: recorder(name)
            for name in (
                "DeclareLaunchArgument",
                "IncludeLaunchDescription",
                "OpaqueFunction",
                "RegisterEventHandler",
                "Shutdown",
            )
        },
        "launch.launch_description_sources": {
            "PythonLaunchDescriptionSource": recorder("PythonLaunchDescriptionSource")
        },
        "launch.event_handlers": {"OnProcessExit": recorder("OnProcessExit")},
        "launch.substitutions": {"LaunchConfiguration": LaunchConfiguration},
        "launch_ros": {},
        "launch_ros.actions": {"Node": recorder("Node")},
        "ament_index_python": {},
        "ament_index_python.packages": {"get_package_share_directory": share, "PackageNotFoundError": KeyError},
    }
    monkeypatch.setattr(sys, "path", list(sys.path))  # each launch file puts its folder there
    for name, members in contents.items():
        module = ModuleType(name)
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, name, module)

    def load(name: str) -> ModuleType:
        specification = importlib.util.spec_from_file_location(name.split(".")[0], ROOT / "launch" / name)
        assert specification is not None
        assert specification.loader is not None
        module = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(module)
        return module

    return load
