"""Holds the walls of docs/architecture.md: which room may import which other room, and which large library.

Sources are parsed, not run. Imports inside functions and under `TYPE_CHECKING` count like any other.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "scal3r_ros"

ROS = "ROS"
LARGE = {"cv2", "evo", "faiss", "gtsam", "matplotlib", "mcap", "numba", "open3d", "rosbags", "torch", ROS}
ROS_NAMES = re.compile(
    r"rclpy|launch(_ros|_testing)?|ament_\w+|\w+_msgs(_py)?|\w+_interfaces|std_srvs|cv_bridge|image_transport_py"
    r"|tf_transformations|tf2_\w+|rosidl_\w+|rosbag2_\w+|ros2\w+|rpyutils|message_filters"
)
OPEN_TO_ALL = {f"{PACKAGE}.errors", f"{PACKAGE}.configuration"}
PROTOCOL = "reconstruction.protocol"


@dataclass(frozen=True)
class Room:
    """What a room may import itself, rooms or single modules and large libraries, and what it must not even pull in."""

    rooms: frozenset[str]
    large: frozenset[str]
    never: frozenset[str]


def room(rooms: str, large: str, never: str) -> Room:
    return Room(frozenset(rooms.split()), frozenset(large.split()), frozenset(never.split()))


EVERY_ROOM = "geometry features model reconstruction sync mapping io evaluation simulation"
WALLS = {
    "geometry": room("", "", "torch ROS cv2"),
    "features": room(PROTOCOL, "cv2", "torch ROS"),
    "model": room("", "torch", "ROS"),
    "reconstruction": room("model geometry features", "cv2 gtsam torch", "ROS"),
    "sync": room("model reconstruction", "torch", "ROS"),
    "mapping": room(f"geometry features io.atomic_write {PROTOCOL}", "cv2 faiss gtsam open3d", "torch ROS"),
    "io": room(f"geometry mapping.values {PROTOCOL}", "cv2 mcap rosbags", "torch ROS"),
    "evaluation": room("geometry io", "evo open3d matplotlib", "torch ROS"),
    "simulation": room("geometry io", "numba", "torch ROS"),
    "training": room("geometry model reconstruction io simulation", "cv2 torch", "ROS"),
    "assembly": room("mapping reconstruction sync", "", "ROS"),
    "nodes": room(f"{EVERY_ROOM} assembly", "ROS", ""),
    "cli": room(f"{EVERY_ROOM} training assembly", " ".join(LARGE - {ROS}), "ROS"),
    "": room("", "", "torch ROS cv2"),  # errors.py and configuration.py
}


def imported_names(source: str, module: str, is_package: bool) -> Iterator[tuple[int, str]]:
    """Line and absolute dotted name of everything a source imports, also by `import_module("…")` and `__import__("…")`.

    `from a import b` gives `a.b`: whether b is a module or an attribute, the wall is the same.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = module.split(".")
                kept = parents[: len(parents) - node.level + is_package]
                base = ".".join([*kept, *filter(None, [node.module])])
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            function = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if function in {"import_module", "__import__"} and isinstance(node.args[0].value, str):
                yield node.lineno, node.args[0].value


def large_library(name: str) -> str | None:
    """Which of `LARGE` an imported name belongs to."""
    top = name.split(".")[0]
    if ROS_NAMES.fullmatch(top):
        return ROS
    return top if top in LARGE else None


def room_of(module: str) -> str:
    """The room of a module of the package; "" for the modules at its top."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in WALLS else ""


def is_open(name: str, here: str, may_import: frozenset[str]) -> bool:
    """Whether a room may import a name of the package."""
    if room_of(name) == here or any(name == module or name.startswith(f"{module}.") for module in OPEN_TO_ALL):
        return True
    inside = name.removeprefix(f"{PACKAGE}.")
    return any(inside == allowed or inside.startswith(f"{allowed}.") for allowed in may_import)


def breaches(source: str, module: str, is_package: bool = False) -> list[str]:
    """What a source imports through a wall."""
    here = room_of(module)
    walls = WALLS[here]
    found = []
    for line, name in imported_names(source, module, is_package):
        library = large_library(name)
        if name.split(".")[0] == PACKAGE:
            if not is_open(name, here, walls.rooms):
                found.append(f"{module}:{line} imports {name}")
        elif library is not None and library not in walls.large:
            found.append(f"{module}:{line} imports {name}")
    return found


def read_package(root: Path) -> dict[str, tuple[str, bool]]:
    """Source of every module of the package, and whether it is a package itself."""
    modules = {}
    for path in sorted((root / PACKAGE).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        modules[".".join(parts[:-1] if is_package else parts)] = (path.read_text(encoding="utf-8"), is_package)
    return modules


def pulled_in(modules: dict[str, tuple[str, bool]], start: str) -> dict[str, str]:
    """Large libraries that `start` brings in, itself or through other modules, each with the module that asks."""
    libraries: dict[str, str] = {}
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        module = waiting.pop()
        if module in seen or module not in modules:
            continue
        seen.add(module)
        for _, name in imported_names(modules[module][0], module, modules[module][1]):
            library = large_library(name)
            if library is not None:
                libraries.setdefault(library, module)
            parts = name.split(".")
            waiting += [".".join(parts[:end]) for end in range(1, len(parts) + 1)]  # a module runs its packages first
    return libraries


MODULES = read_package(ROOT)


def test_the_rooms_are_those_of_the_architecture() -> None:
    table = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\| `(\w+(?:/|\.py))` \|", table, flags=re.MULTILINE))
    folders = {f"{path.parent.name}/" for path in (ROOT / PACKAGE).glob("*/__init__.py")}
    modules = {path.name for path in (ROOT / PACKAGE).glob("*.py")} - {"__init__.py", "errors.py", "configuration.py"}
    assert documented == folders | modules
    assert {name.removesuffix("/").removesuffix(".py") for name in documented} == set(WALLS) - {""}


@pytest.mark.parametrize("name", sorted(WALLS))
def test_no_module_imports_through_a_wall(name: str) -> None:
    own = {module: source for module, source in MODULES.items() if room_of(module) == name}
    assert own
    assert not [
        breach for module, (source, is_package) in own.items() for breach in breaches(source, module, is_package)
    ]


@pytest.mark.parametrize("name", sorted(WALLS))
def test_no_room_pulls_in_a_forbidden_library_through_another(name: str) -> None:
    through = {
        f"{module} pulls in {library} by {asking}"
        for module in MODULES
        if room_of(module) == name
        for library, asking in pulled_in(MODULES, module).items()
        if library in WALLS[name].never
    }
    assert not through


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("mapping", "torch rclpy std_msgs sensor_msgs"),
        ("io", "torch rclpy sensor_msgs"),
        ("reconstruction.protocol", "torch rclpy gtsam"),
        ("geometry", "torch rclpy cv2"),
        ("cli.info", "rclpy sensor_msgs"),
    ],
)
def test_importing_a_room_loads_no_forbidden_library(module: str, forbidden: str) -> None:
    """What the parsed sources promise, asked of Python itself: also sees what third-party libraries load."""
    script = f"import sys, {PACKAGE}.{module}; print(*sorted(set(sys.modules) & set({forbidden.split()!r})))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("scal3r_ros.geometry.x", "import cv2"),
        ("scal3r_ros.geometry.x", "from scal3r_ros.mapping.values import Submap"),
        ("scal3r_ros.mapping.x", "import torch.nn.functional as F"),
        ("scal3r_ros.mapping.x", "def f():\n    from torch import nn"),
        ("scal3r_ros.mapping.x", "if TYPE_CHECKING:\n    import torch"),
        ("scal3r_ros.mapping.x", "from scal3r_ros.reconstruction import geometric"),
        (
            "scal3r_ros.mapping.x",
            "from scal3r_ros.reconstruction.geometric.reconstructor import GeometricReconstructor",
        ),
        ("scal3r_ros.mapping.x", "from scal3r_ros.reconstruction.protocols import Chunk"),
        ("scal3r_ros.mapping.x", "from ..nodes import qos"),
        ("scal3r_ros.mapping.x", "from .. import nodes"),
        ("scal3r_ros.mapping.x", "import scal3r_ros"),
        ("scal3r_ros.mapping.x", "import importlib\nimportlib.import_module('rclpy')"),
        ("scal3r_ros.mapping.x", "__import__('torch')"),
        ("scal3r_ros.evaluation.x", "from sensor_msgs.msg import Image"),
        ("scal3r_ros.cli.x", "from scal3r_ros.nodes.ros.qos import profile"),
        ("scal3r_ros.cli.x", "import rclpy.node"),
        ("scal3r_ros.mapping.x", "from scal3r_ros.assembly import build_mapper"),
        ("scal3r_ros.assembly", "from scal3r_ros.io.bags import reader"),
        ("scal3r_ros.assembly", "import torch"),
        ("scal3r_ros.nodes.x", "import torch"),
        ("scal3r_ros.configuration", "from scal3r_ros.geometry import se3"),
    ],
)
def test_a_breach_is_found(module: str, source: str) -> None:
    assert len(breaches(source, module)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("scal3r_ros.geometry.x", "import numpy as np\nfrom scipy.spatial import transform\nfrom . import se3"),
        ("scal3r_ros.mapping.x", "from scal3r_ros.reconstruction.protocol import Chunk\nimport gtsam, cv2, open3d"),
        ("scal3r_ros.mapping.x", "from scal3r_ros.errors import MappingError\nfrom scal3r_ros import configuration"),
        ("scal3r_ros.nodes.x", "from tf2_msgs.msg import TFMessage\nimport rclpy"),
        ("scal3r_ros.assembly", "from scal3r_ros.reconstruction.geometric.reconstructor import GeometricReconstructor"),
        ("scal3r_ros.cli.x", "from scal3r_ros.assembly import build_mapper"),
        ("scal3r_ros.io.x", "TEXT = 'import torch'  # import torch"),
    ],
)
def test_an_open_door_is_no_breach(module: str, source: str) -> None:
    assert breaches(source, module) == []


def test_a_library_behind_two_modules_is_found() -> None:
    modules = {
        "scal3r_ros": ("", True),
        "scal3r_ros.mapping": ("from .mapper import OnlineMapper", True),
        "scal3r_ros.mapping.mapper": ("from scal3r_ros.reconstruction.protocol import Chunk", False),
        "scal3r_ros.reconstruction": ("from .geometric import GeometricReconstructor", True),
        "scal3r_ros.reconstruction.geometric": ("import torch", False),
        "scal3r_ros.reconstruction.protocol": ("", False),
    }
    assert pulled_in(modules, "scal3r_ros.mapping") == {"torch": "scal3r_ros.reconstruction.geometric"}
