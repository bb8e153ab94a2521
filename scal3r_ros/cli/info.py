"""`scal3r info`: what is installed here, what stands in for what, what is missing and how to get it.

ROS is looked for, never imported: this command has to answer where ROS is broken, too.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table
from rich.text import Text

from scal3r_ros.reconstruction.network.bundled_weights import all_bundled_weights

PACKAGE = "scal3r_ros"

LIBRARIES = (
    ("evo",),
    ("gtsam",),
    ("matplotlib",),
    ("numba",),
    ("numpy",),
    ("open3d-cpu", "open3d"),
    ("opencv-python-headless", "opencv-python", "opencv-contrib-python", "opencv"),
    ("psutil",),
    ("PyYAML",),
    ("rich",),
    ("rosbags",),
    ("safetensors",),
    ("scipy",),
    ("torch",),
    ("typer",),
)
"""Distributions the core needs; where several are named, any one of them."""

ROS_PACKAGES = (
    "rclpy",
    "builtin_interfaces",
    "diagnostic_msgs",
    "geometry_msgs",
    "lifecycle_msgs",
    "nav_msgs",
    "rcl_interfaces",
    "rosgraph_msgs",
    "sensor_msgs",
    "std_msgs",
    "std_srvs",
    "tf2_msgs",
    "visualization_msgs",
)
"""Packages the nodes need."""

STAND_INS = {
    "cv_bridge": "images are converted by scal3r_ros.io.images.decoding",
    "sensor_msgs_py": "point clouds are packed by scal3r_ros.nodes.ros.messages",
    "launch_ros": "no launch files; start `mapper` and `player` by hand",
}
"""Packages of a ROS installation that the nodes do without, and how."""

DISTRIBUTION_OF_RCLPY = {"7": "jazzy", "9": "kilted"}
"""ROS 2 distribution by the major version of the rclpy wheel."""


@dataclass(frozen=True)
class Line:
    """One line of the answer: what, what is there, and what to do where something is missing."""

    name: str
    found: str
    remedy: str = ""


def info() -> None:
    """Show versions, devices, the ROS 2 found, and what is missing."""
    console = Console()
    sections = {
        "here": list(machine()),
        "libraries": list(libraries()),
        "ROS 2": list(ros()),
    }
    for title, lines in sections.items():
        console.print(f"[bold]{title}[/bold]")
        table = Table(box=None, show_header=False, pad_edge=True)
        table.add_column(no_wrap=True, min_width=24)
        table.add_column(overflow="fold")
        for line in lines:
            table.add_row(line.name, Text(line.found, style="yellow" if line.remedy else ""))
        console.print(table)
    missing = [line for lines in sections.values() for line in lines if line.remedy]
    if not missing:
        console.print("[bold green]nothing is missing[/bold green]")
        return
    console.print("[bold yellow]to do[/bold yellow]")
    remedies: dict[str, list[str]] = {}
    for line in missing:
        remedies.setdefault(line.remedy, []).append(line.name)
    for remedy, names in remedies.items():
        console.print(f"  {', '.join(names)}: {remedy}", soft_wrap=True, markup=False)


def machine() -> Iterator[Line]:
    """This package, Python, and the devices to compute on."""
    yield Line(PACKAGE, f"{version_of((PACKAGE,)) or 'not installed, run from source'}, {Path(__file__).parents[1]}")
    yield Line("Python", f"{platform.python_version()}, {sys.executable}")
    yield Line("system", platform.platform())
    memory = psutil.virtual_memory()
    yield Line("CPU", f"{len(os.sched_getaffinity(0))} of {os.cpu_count()} cores, {platform.machine()}")
    yield Line("memory", f"{memory.total / 2**30:.1f} GiB, {memory.available / 2**30:.1f} GiB available")
    yield cuda()
    yield weights()


def cuda() -> Line:
    """The CUDA devices torch sees."""
    try:
        import torch
    except ImportError as error:
        return Line("CUDA", f"unknown: {error}", "run scripts/setup.sh")
    if torch.cuda.is_available():
        devices = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
        return Line("CUDA", ", ".join(f"{device.name} ({device.total_memory / 2**30:.0f} GiB)" for device in devices))
    if torch.version.cuda is None and Path("/proc/driver/nvidia/version").exists():
        remedy = "name an index of CUDA builds in SCAL3R_TORCH_INDEX and run scripts/setup.sh"
        return Line("CUDA", "a GPU, but a torch without CUDA", remedy)
    return Line("CUDA", "none, torch computes on the CPU")


def weights() -> Line:
    """The networks whose weights come with this package."""
    bundled = all_bundled_weights()
    if not bundled:
        return Line("weights", "none come with this package; `scal3r weights` lists where to get some")
    sizes = ", ".join(f"{preset} ({file.stat().st_size / 1e6:.0f} MB)" for preset, file in bundled.items())
    return Line("weights", f"{sizes}, used where network.checkpoint is empty")


def libraries() -> Iterator[Line]:
    """Versions of the Python libraries."""
    for names in LIBRARIES:
        version = version_of(names)
        yield Line(names[0], version) if version else Line(names[0], "missing", "run scripts/setup.sh")


def ros() -> Iterator[Line]:
    """Where ROS 2 comes from, and which of its packages are here."""
    rclpy = importlib.util.find_spec("rclpy")
    distribution = os.environ.get("ROS_DISTRO", "")
    if rclpy is None or rclpy.origin is None:
        sourced = f"{distribution} is sourced, but" if distribution else "no ROS 2 is sourced, and"
        remedy = "source an installed ROS 2 if there is one, then run scripts/setup.sh"
        yield Line("rclpy", f"{sourced} this Python finds no rclpy", remedy)
        return
    wheel = version_of(("ros-rclpy",))
    if wheel and Path(rclpy.origin).is_relative_to(sys.prefix):
        yield Line("distribution", f"{DISTRIBUTION_OF_RCLPY.get(wheel.split('.')[0], 'unknown')}, from wheels")
    else:
        yield Line("distribution", f"{distribution or 'unknown'}, installed")
    yield Line("rclpy", f"{version_of(('rclpy', 'ros-rclpy')) or 'version unknown'}, {Path(rclpy.origin).parent}")
    yield Line("middleware", os.environ.get("RMW_IMPLEMENTATION", "the default, Fast DDS"))
    profile = os.environ.get("FASTDDS_DEFAULT_PROFILES_FILE") or os.environ.get("FASTRTPS_DEFAULT_PROFILES_FILE")
    if profile and Path(profile).exists():
        yield Line("shared memory", profile)
    else:
        found = f"{profile} does not exist" if profile else "default size: large images get lost"
        yield Line("shared memory", found, "source scripts/env.sh")
    yield share()
    for name in ROS_PACKAGES[1:]:
        if importlib.util.find_spec(name) is None:
            remedy = f"sudo apt-get install ros-{distribution}-{name.replace('_', '-')}"
            yield Line(name, "missing", remedy if distribution else "run scripts/setup.sh")
    absent = {name for name in (*ROS_PACKAGES, *STAND_INS) if importlib.util.find_spec(name) is None}
    yield Line("packages", " ".join(name for name in ROS_PACKAGES if name not in absent))
    for name, stand_in in STAND_INS.items():
        yield Line(name, f"not here: {stand_in}" if name in absent else "here")


def share() -> Line:
    """Whether ROS finds this package's launch and configuration files."""
    for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep):
        if prefix and (Path(prefix) / "share/ament_index/resource_index/packages" / PACKAGE).exists():
            return Line("package index", str(Path(prefix) / "share" / PACKAGE))
    return Line("package index", f"{PACKAGE} is not in AMENT_PREFIX_PATH", "source scripts/env.sh")


def version_of(distributions: tuple[str, ...]) -> str | None:
    """The version of the first of these distributions that is installed."""
    for name in distributions:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None
