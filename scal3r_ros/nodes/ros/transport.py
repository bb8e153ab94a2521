"""Gives Fast DDS a shared-memory segment that holds camera images."""

from __future__ import annotations

import os
from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory

PROFILE_VARIABLE = "FASTDDS_DEFAULT_PROFILES_FILE"
PROFILE_VARIABLE_UP_TO_JAZZY = "FASTRTPS_DEFAULT_PROFILES_FILE"


def share_file(*parts: str) -> Path | None:
    """A file of the package's share folder, or of the source tree where it is not installed; None without it."""
    try:
        roots = [Path(get_package_share_directory("scal3r_ros"))]
    except (PackageNotFoundError, LookupError):
        roots = []
    roots.append(Path(__file__).parents[3])
    return next((path for root in roots if (path := root.joinpath(*parts)).is_file()), None)


def prefer_shared_memory() -> None:
    """Points Fast DDS to the package's profile, unless the user has one; to be called before `rclpy.init`.

    With the default segment of 512 kB, best-effort images of camera size hardly ever arrive.
    """
    profile = share_file("config", "fastdds.xml")
    if profile is None or os.environ.get(PROFILE_VARIABLE) or os.environ.get(PROFILE_VARIABLE_UP_TO_JAZZY):
        return
    up_to_jazzy = os.environ.get("ROS_DISTRO") in ("humble", "iron", "jazzy")
    os.environ[PROFILE_VARIABLE_UP_TO_JAZZY if up_to_jazzy else PROFILE_VARIABLE] = str(profile)
