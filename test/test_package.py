"""The package as it is built, pinned and installed."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "scal3r_ros"
EXECUTABLES = {"scal3r", "mapper", "player", "viewer"}
IMPORT_NAMES = {
    "faiss-cpu": "faiss",
    "open3d-cpu": "open3d",
    "opencv-python-headless": "cv2",
    "pillow": "PIL",
    "PyYAML": "yaml",
    "rerun-sdk": "rerun",
}


def pins(name: str) -> dict[str, str]:
    """Requirement to version of a requirements file, without comments."""
    found = {}
    for line in (ROOT / "requirements" / name).read_text(encoding="utf-8").splitlines():
        requirement = line.split("#")[0].split(";")[0].strip()
        if requirement:
            match = re.fullmatch(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.+!]+)", requirement)
            assert match, f"{name}: {requirement} is not an exact pin"
            found[match[1]] = match[2]
    return found


def imports(folder: Path) -> set[str]:
    """Top-level names that the sources of a folder import from outside the standard library and the package."""
    names: set[str] = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.split(".")[0])
    return names - set(sys.stdlib_module_names) - {PACKAGE}


def declared() -> tuple[dict[str, Requirement], dict[str, list[str]]]:
    """What setup.py says that the package requires, by name, and its extras."""
    tree = ast.parse((ROOT / "setup.py").read_text(encoding="utf-8"))
    values = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id in ("REQUIRES", "EXTRAS")
    }  # fmt: skip
    return {each.name: each for each in map(Requirement, values["REQUIRES"])}, values["EXTRAS"]


def manifest() -> ElementTree.Element:
    return ElementTree.parse(ROOT / "package.xml").getroot()


def test_one_version_everywhere() -> None:
    version = manifest().findtext("version")
    assert f'version="{version}"' in (ROOT / "setup.py").read_text(encoding="utf-8")
    assert f"{version}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert importlib.metadata.version(PACKAGE) == version


@pytest.mark.parametrize("name", ["runtime.txt", "ros.txt", "dev.txt", "constraints.txt"])
def test_every_requirement_is_pinned_once(name: str) -> None:
    others = [pins(other) for other in {"runtime.txt", "ros.txt", "dev.txt", "constraints.txt"} - {name}]
    assert pins(name)
    assert not [requirement for requirement in pins(name) for other in others if requirement in other]


def test_what_the_package_imports_is_pinned_or_a_ros_dependency() -> None:
    dependencies = {element.text for element in manifest().iter("exec_depend")}
    pinned = {IMPORT_NAMES.get(name, name) for file in ("runtime.txt", "rerun.txt") for name in pins(file)}
    assert imports(ROOT / PACKAGE) - pinned - dependencies == set()


def test_pip_brings_along_what_the_package_imports_without_ros() -> None:
    requires, extras = declared()
    names = {IMPORT_NAMES.get(name, name) for name in requires}
    optional = [Requirement(each).name for name in ("training", "rerun") for each in extras[name]]
    of_extras = {IMPORT_NAMES.get(name, name) for name in optional}
    of_ros = {element.text for element in manifest().iter("exec_depend")}
    assert imports(ROOT / PACKAGE) - names - of_extras - of_ros == set()
    # What only an extra brings is asked for where it is used, not when the command starts.
    for path in (ROOT / PACKAGE).rglob("*.py"):
        top = {name for node in ast.parse(path.read_text()).body if isinstance(node, ast.ImportFrom | ast.Import)
               for name in [getattr(node, "module", None) or node.names[0].name]}  # fmt: skip
        assert not {name.split(".")[0] for name in top} & of_extras, path


def test_what_pip_may_install_includes_what_is_pinned_and_ends_before_the_next_major_version() -> None:
    requires, extras = declared()
    ranges = {**requires, **{each.name: each for each in map(Requirement, extras["training"])}}
    pinned = pins("runtime.txt")
    assert set(ranges) == set(pinned) - {"setuptools"}
    for name, requirement in ranges.items():
        version = Version(pinned[name])
        assert version in requirement.specifier, name
        if version.major < {"numpy": 2, "opencv-python-headless": 5}.get(name, 0):
            continue  # scripts/test_older_libraries.sh pins those that ROS brings along
        assert Version(f"{version.major + 1}.0") not in requirement.specifier, name
        assert Version("0.0.1") not in requirement.specifier, name


def test_the_libraries_of_a_distribution_are_declared_by_their_rosdep_keys() -> None:
    """Ubuntu 24.04 has these, at versions within the declared ranges (packages.ubuntu.com, rosdep's python.yaml)."""
    apt = {
        "python3-matplotlib": ("matplotlib", "3.6.3"),
        "python3-numba": ("numba", "0.58.1"),
        "python3-numpy": ("numpy", "1.26.4"),
        "python3-pil": ("pillow", "10.2.0"),
        "python3-psutil": ("psutil", "5.9.8"),
        "python3-pymap3d": ("pymap3d", "3.1.0"),
        "python3-rich": ("rich", "13.7.1"),
        "python3-scipy": ("scipy", "1.11.4"),
        "python3-typer": ("typer", "0.9.0"),
        "python3-yaml": ("PyYAML", "6.0.1"),
    }
    requires, _ = declared()
    keys = {element.text for element in manifest().iter("exec_depend") if str(element.text).startswith("python3-")}
    assert keys == set(apt)
    for key, (name, version) in apt.items():
        assert Version(version) in requires[name].specifier, key


def test_every_pin_of_the_core_is_imported() -> None:
    built_with = {"setuptools"}
    same = {"open3d"}  # the build of another platform
    plugins = {"lazrs"}  # laspy loads it for compressed files
    pinned = {IMPORT_NAMES.get(name, name) for name in pins("runtime.txt")}
    assert pinned - imports(ROOT / PACKAGE) <= built_with | same | plugins


def test_the_container_files_have_no_findings() -> None:
    if shutil.which("hadolint") is None:
        pytest.skip("no hadolint here")
    command = [sys.executable, str(ROOT / "scripts" / "check_docker.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_executables_lead_to_functions_of_the_source() -> None:
    points = {point.name: point for point in importlib.metadata.distribution(PACKAGE).entry_points}
    assert set(points) == EXECUTABLES
    for name, point in points.items():
        source = ROOT.joinpath(*point.module.split(".")).with_suffix(".py").read_text(encoding="utf-8")
        assert re.search(rf"^(def {point.attr}\(|{point.attr}\b.* = )", source, flags=re.MULTILINE), name


@pytest.mark.ros
def test_ros_finds_the_shared_files_in_the_environment() -> None:
    packages = pytest.importorskip("ament_index_python.packages", reason="no ROS 2 here")
    share = Path(packages.get_package_share_directory(PACKAGE))
    for folder in ("config", "launch", "rviz"):
        wanted = {path.name for path in (ROOT / folder).iterdir()} - {"__pycache__"}
        assert {path.name for path in (share / folder).iterdir()} >= wanted


def test_shared_files_are_found_without_following_linked_folders(tmp_path: Path) -> None:
    """As `ros2 launch` looks for a launch file."""
    for _ in range(2):  # also over an older state
        subprocess.run([ROOT / "scripts" / "link_share.sh", tmp_path], check=True, timeout=60)
    share = tmp_path / "share" / PACKAGE
    found = {Path(folder, name) for folder, _, names in os.walk(share, followlinks=False) for name in names}
    assert share / "launch" / "mapping.launch.py" in found
    assert share / "config" / "training" / "tiny.yaml" in found
    assert all(path.resolve().is_relative_to(ROOT) and path.is_file() for path in found)


def test_a_library_that_is_there_is_never_reported_as_missing(tmp_path: Path) -> None:
    """Although the list of libraries goes on for long after it."""
    fake = tmp_path / "ldconfig"
    names = ("libusb-1.0.so.0", "libGL.so.1", "libEGL.so.1", "libX11.so.6", "libgomp.so.1")
    listed = "".join(f"\t{name} (libc6,x86-64) => /lib/{name}\n" for name in names)
    fake.write_text(f"#!/bin/sh\ncat <<'END'\n{listed}END\nseq 1 300000\n")
    fake.chmod(0o755)
    setup = (ROOT / "scripts" / "setup.sh").read_text()
    function = re.search(r"^missing_packages\(\) \{.*?^\}", setup, flags=re.MULTILINE | re.DOTALL)
    assert function is not None
    script = f"set -euo pipefail; ros=none; python={sys.executable}; version=3; {function[0]}; missing_packages"
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert not done.stdout.strip()


@pytest.mark.ros
def test_tf2_msgs_is_the_message_of_every_other_ros_2() -> None:
    """The type hash in the installed definition is that of the message's own definition, computed by rosbags."""
    message = pytest.importorskip("tf2_msgs.msg", reason="no ROS 2 here").TFMessage
    packages = pytest.importorskip("ament_index_python.packages")
    from rosbags.typesys import Stores, get_typestore

    definition = Path(packages.get_package_share_directory("tf2_msgs"), "msg", "TFMessage.json").read_text()
    assert get_typestore(Stores.ROS2_JAZZY).hash_rihs01("tf2_msgs/msg/TFMessage") in definition
    assert message.get_fields_and_field_types() == {"transforms": "sequence<geometry_msgs/TransformStamped>"}


@pytest.mark.slow
def test_a_wheel_holds_the_weights_and_their_card(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("setup.py", "setup.cfg", "pyproject.toml", "package.xml"):
        shutil.copy(ROOT / name, source)
    for name in (PACKAGE, "resource", "launch", "config", "rviz"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    weights = source / PACKAGE / "weights"
    weights.mkdir(exist_ok=True)
    for name in ("nano.safetensors", "MODEL_CARD.md"):
        (weights / name).write_text("made up")
    command = [sys.executable, "setup.py", "-q", "bdist_wheel", "--dist-dir", str(tmp_path)]
    built = subprocess.run(command, cwd=source, capture_output=True, text=True, timeout=100)
    assert built.returncode == 0, built.stdout + built.stderr
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        packed = {name for name in wheel.namelist() if name.startswith(f"{PACKAGE}/weights/")}
    assert packed == {f"{PACKAGE}/weights/{path.name}" for path in weights.iterdir()}
    assert len(packed) >= 2


@pytest.mark.slow
@pytest.mark.ros
def test_colcon_builds_a_workspace_that_ros_finds(tmp_path: Path) -> None:
    pytest.importorskip("ament_index_python", reason="no ROS 2 here")
    assert shutil.which("colcon"), "colcon is missing; run scripts/setup.sh --dev and source scripts/env.sh"
    bases = [f"--{kind}-base={tmp_path / kind}" for kind in ("build", "install")]
    command = ["colcon", f"--log-base={tmp_path / 'log'}", "build", f"--base-paths={ROOT}", *bases]
    built = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert built.returncode == 0, built.stdout + built.stderr

    ask = (
        "import importlib.metadata as m; from ament_index_python.packages import get_package_share_directory as share;"
        f"print(share('{PACKAGE}'));"
        f"print(*[point.name for point in m.distribution('{PACKAGE}').entry_points]);"
        f"import {PACKAGE}; print({PACKAGE}.__file__)"
    )
    script = f'. "{tmp_path}/install/setup.bash" && "{sys.executable}" -c "{ask}"'
    answer = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert answer.returncode == 0, answer.stderr
    share_line, points_line, module_line = answer.stdout.splitlines()

    installed = tmp_path / "install" / PACKAGE
    share = Path(share_line)
    assert share == installed / "share" / PACKAGE
    assert set(points_line.split()) == EXECUTABLES
    assert Path(module_line).is_relative_to(installed)
    assert {name for name in EXECUTABLES if os.access(installed / "lib" / PACKAGE / name, os.X_OK)} == EXECUTABLES
    for folder in ("config", "config/training", "config/integrations", "launch", "rviz"):
        sources = {path.name for path in (ROOT / folder).iterdir() if path.is_file()}
        assert {path.name for path in (share / folder).iterdir() if path.is_file()} == sources
    for name in EXECUTABLES:
        assert (installed / "lib" / PACKAGE / name).read_text().startswith("#!/usr/bin/env python3\n")

    options = ["--pytest-args", "-k", "test_one_version_everywhere"]
    command = ["colcon", f"--log-base={tmp_path / 'log'}", "test", f"--base-paths={ROOT}", *bases, *options]
    tested = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200)
    assert tested.returncode == 0, tested.stdout + tested.stderr
    command = ["colcon", "test-result", "--all", "--test-result-base", str(tmp_path / "build")]
    results = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert re.search(r"Summary: [1-9]\d* tests?, 0 errors, 0 failures", results.stdout), results.stdout
    for path in (ROOT / PACKAGE / "weights").glob("*"):
        assert (Path(module_line).parent / "weights" / path.name).is_file()


def test_no_folder_holds_more_than_twelve_sources() -> None:
    folders = {path.parent for part in (PACKAGE, "test", "benchmarks") for path in (ROOT / part).rglob("*.py")}
    counts = {str(folder.relative_to(ROOT)): len(list(folder.glob("*.py"))) for folder in folders}
    assert not {folder: number for folder, number in counts.items() if number > 12}
