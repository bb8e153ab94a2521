"""The walls of docs/architecture.md: import-linter holds them (`.importlinter`); here is what it cannot say."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "scal3r_ros"
ROS_NAMES = re.compile(
    r"rclpy|launch(_ros|_testing)?|ament_\w+|\w+_msgs(_py)?|\w+_interfaces|std_srvs|cv_bridge|image_transport_py"
    r"|tf_transformations|tf2_\w+|rosidl_\w+|rosbag2_\w+|ros2\w+|rpyutils|message_filters"
)
LIBRARY_OF = {"OpenCV": "cv2", "FAISS": "faiss", "GTSAM": "gtsam", "Open3D": "open3d", "PyAV": "av"}
"""Names in the documentation where they differ from those in Python, apart from the case."""
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def contracts() -> dict[str, set[str]]:
    """What each contract forbids, by its name."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / ".importlinter")
    return {
        name.removeprefix("importlinter:contract:"): set(parser[name]["forbidden_modules"].split())
        for name in parser.sections()
        if name.startswith("importlinter:contract:")
    }


def rows() -> dict[str, tuple[str, str]]:
    """What each room may import and what it must never pull in, by the table in docs/architecture.md."""
    table = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    found = re.findall(r"^\| `(\w+)(?:/|\.py)` \|[^|]*\|([^|]*)\|([^|]*)\|$", table, flags=re.MULTILINE)
    return {name: (may_import, never) for name, may_import, never in found}


CONTRACTS, ROWS = contracts(), rows()
ROOMS = set(ROWS)
LIBRARIES = {
    name for name in CONTRACTS["open-to-all"] if not name.startswith(PACKAGE) and not ROS_NAMES.fullmatch(name)
}


def test_the_rooms_are_those_of_the_architecture() -> None:
    folders = {path.parent.name for path in (ROOT / PACKAGE).glob("*/__init__.py")}
    modules = {path.stem for path in (ROOT / PACKAGE).glob("*.py")} - {"__init__", "errors", "configuration"}
    assert folders | modules == ROOMS
    assert set(CONTRACTS) >= ROOMS


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_contracts_forbid_what_the_documentation_does_not_name(room: str) -> None:
    may_import, never = ROWS[room]
    forbidden = CONTRACTS[room]
    if may_import.strip().startswith("everything"):
        open_rooms = ROOMS - {"nodes"} - ({"cli", "training"} if room == "nodes" else set())
    else:
        words = set(re.findall(r"(?<![.`\w])\w+(?![.\w])", re.sub(r"\([^)]*\)", "", may_import)))
        open_rooms = (words & ROOMS) | {room}
        named = {LIBRARY_OF.get(word, word) for word in words}
        assert {name for name in LIBRARIES if name not in forbidden} == named & LIBRARIES
    assert {name for name in ROOMS if f"{PACKAGE}.{name}" not in forbidden} == open_rooms | {room}
    pulled = CONTRACTS.get(f"{room}-never", set())
    assert "torch" not in never or "torch" in pulled
    assert "ROS" not in never or "rclpy" in pulled


def test_contracts_know_every_ros_package_that_is_imported() -> None:
    graph = grimp.build_graph(PACKAGE, include_external_packages=True, cache_dir=None)
    imported = {name for name in graph.modules if ROS_NAMES.fullmatch(name)}
    assert imported <= CONTRACTS["open-to-all"]


def lint(package_root: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()", "--no-cache"]
    environment = {**os.environ, "PYTHONPATH": str(package_root)}
    return subprocess.run(command, cwd=package_root, env=environment, capture_output=True, text=True, timeout=240)


def test_no_import_goes_through_a_wall() -> None:
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout


def test_breaches_are_found(tmp_path: Path) -> None:
    """Imports inside functions, for type checking only and through another module count like any other."""
    ignored = shutil.ignore_patterns("*.safetensors", "*.npz", "__pycache__")
    shutil.copytree(ROOT / PACKAGE, tmp_path / PACKAGE, ignore=ignored)
    shutil.copy(ROOT / ".importlinter", tmp_path)
    breaches = {
        "geometry/se3.py": "def late():\n    import cv2\n",
        "mapping/mapper.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from torch import nn\n",
        "io/trajectories.py": "from scal3r_ros.mapping import OnlineMapper\n",
        "cli/info.py": "from scal3r_ros.nodes.ros import qos\n",
        "evaluation/evaluator.py": "import sensor_msgs.msg\n",
    }
    for name, source in breaches.items():
        with (tmp_path / PACKAGE / name).open("a") as file:
            file.write(source)
    done = lint(tmp_path)
    assert done.returncode != 0
    broken = {line.split()[0] for line in done.stdout.splitlines() if line.endswith("BROKEN")}
    assert broken >= {"geometry", "mapping", "io", "cli", "evaluation"}


def alike() -> list[tuple[str, ...]]:
    """Rooms that must not pull in the same libraries: one process for all of them, as importing takes its time."""
    groups: dict[frozenset[str], list[str]] = {}
    for room in sorted(ROOMS):
        if f"{room}-never" in CONTRACTS:
            groups.setdefault(frozenset(CONTRACTS[f"{room}-never"]), []).append(room)
    return [tuple(rooms) for rooms in groups.values()]


@pytest.mark.parametrize("rooms", alike(), ids=" ".join)
def test_importing_rooms_loads_no_forbidden_library(rooms: tuple[str, ...]) -> None:
    """Asked of Python itself: also sees the packages above a module, and what other libraries load."""
    files = [file for room in rooms for file in [*(ROOT / PACKAGE / room).rglob("*.py")]]
    files += [file for room in rooms if (file := ROOT / PACKAGE / f"{room}.py").is_file()]
    names = [".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for file in files]
    script = (
        f"import importlib, sys\nfor name in {sorted(names)!r}:\n    importlib.import_module(name)\n"
        f"print(*sorted(set(sys.modules) & {CONTRACTS[f'{rooms[0]}-never']!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


def test_only_nodes_import_by_name() -> None:
    """`import_module("…")` and `__import__("…")` are no imports to import-linter."""
    dynamic = re.compile(r"\bimport_module\(|\b__import__\(")
    sources = [path for path in (ROOT / PACKAGE).rglob("*.py") if dynamic.search(path.read_text(encoding="utf-8"))]
    assert {path.relative_to(ROOT / PACKAGE).parts[0] for path in sources} <= {"nodes"}
