"""What every test runs in: a middleware of its own, caches and logs that leave no trace in the home directory."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from scal3r_ros.geometry.intrinsics import Intrinsics
    from scal3r_ros.geometry.trajectory import Trajectory
    from scal3r_ros.simulation.simulate import SimulatedFrame
    from scal3r_ros.simulation.town.town import Town

# At import, before any test module loads numba, matplotlib or rclpy, each of which reads these once.
ROOT = Path(__file__).resolve().parents[1]
os.environ.setdefault("AMENT_PREFIX_PATH", sys.prefix)
PROFILES = "FASTRTPS" if os.environ.get("ROS_DISTRO") == "jazzy" else "FASTDDS"  # a later one warns of the old name
os.environ.setdefault(f"{PROFILES}_DEFAULT_PROFILES_FILE", str(ROOT / "config" / "fastdds.xml"))
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("NUMBA_CACHE_DIR", str(Path(sys.prefix) / "cache" / "numba"))
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("ROS_LOG_DIR", str(Path(sys.prefix) / "log"))
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ["ROS_DOMAIN_ID"] = str(1 + os.getpid() % 100)  # each worker of pytest-xdist is a process of its own


# An example may take as long as it does: whether a test passes must not depend on the machine.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")

pytest_plugins = ["box_room", "browser"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files first whose tests may take longest: at the end, no process is left alone with one of them."""
    longest: dict[Path, float] = {}
    for item in items:
        limit = item.get_closest_marker("timeout")
        allowed = limit.args[0] if limit else float(item.get_closest_marker("slow") is not None)
        longest[item.path] = max(allowed, longest.get(item.path, 0.0))
    items.sort(key=lambda item: -longest[item.path])


# One street for all rooms: 90 m at 8 m/s, seen by a small camera; its first 50 frames (40 m) rendered once.


@pytest.fixture(scope="session")
def street_camera() -> Intrinsics:
    from scal3r_ros.simulation.simulate import pinhole

    return pinhole(320, 160, 85.0)


@pytest.fixture(scope="session")
def street_drive() -> Trajectory:
    from scal3r_ros.simulation.drives.street import street_drive

    return street_drive(90.0)


@pytest.fixture(scope="session")
def street_town(street_drive: Trajectory) -> Town:
    from scal3r_ros.simulation.town.town import build_town

    return build_town(street_drive)


@pytest.fixture(scope="session")
def street_frames(street_drive: Trajectory, street_camera: Intrinsics, street_town: Town) -> list[SimulatedFrame]:
    from scal3r_ros.geometry.trajectory import Trajectory
    from scal3r_ros.simulation.simulate import render_frames

    start = Trajectory(street_drive.stamps_ns[:50], street_drive.T_ref_cam[:50])
    return list(render_frames(start, street_camera, town=street_town, workers=2))


@pytest.fixture
def ship(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Gives the package weights for the length of a test: untrained ones for each preset named, or none."""
    from scal3r_ros.model import preset_named, random_model, save_checkpoint
    from scal3r_ros.reconstruction.network import bundled_weights

    def write(*presets: str) -> Path:
        folder = tmp_path_factory.mktemp("weights")
        for name in presets:
            save_checkpoint(random_model(preset_named(name), 7), folder / f"{name}.safetensors")
        monkeypatch.setattr(bundled_weights, "_folder", lambda: folder)
        return folder

    return write
