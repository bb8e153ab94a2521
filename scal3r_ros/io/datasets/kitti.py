"""KITTI: odometry (sequences/NN/image_0, calib.txt, times.txt, poses/NN.txt) and raw drives (image_00/data, oxts).

https://www.cvlibs.net/datasets/kitti
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from scal3r_ros.errors import SequenceError
from scal3r_ros.geometry import se3
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.io.calibration import read_calibration
from scal3r_ros.io.datasets.sequence import ImageSequence, as_many
from scal3r_ros.io.images.folder import find_images, read_image
from scal3r_ros.io.trajectories import read_times, read_trajectory

ODOMETRY_CAMERAS = ("image_0", "image_2", "image_1", "image_3")
RIG = ("calib_imu_to_velo.txt", "calib_velo_to_cam.txt", "calib_cam_to_cam.txt")
EARTH_RADIUS_M = 6378137.0
RAW_CAMERAS = ("image_00", "image_02", "image_01", "image_03")


def is_odometry(folder: Path) -> bool:
    """Whether a folder is a sequence of KITTI odometry."""
    calibration = folder / "calib.txt"
    if not calibration.is_file() or _first(folder, ODOMETRY_CAMERAS) is None or not _times(folder):
        return False
    first = calibration.read_text(errors="replace").partition("\n")[0].split()
    return len([word for word in first if not word.endswith(":")]) == 12  # a projection, not a matrix of 3 × 3


def is_raw(folder: Path) -> bool:
    """Whether a folder is a synchronized drive of KITTI raw."""
    camera = _first(folder, RAW_CAMERAS)
    return camera is not None and (camera / "data").is_dir() and (camera / "timestamps.txt").is_file()


def read_odometry(folder: Path) -> ImageSequence:
    """A sequence of KITTI odometry; poses are those of camera 0, moved along the rig for another one."""
    camera = _first(folder, ODOMETRY_CAMERAS)
    if camera is None:
        raise SequenceError(f"{folder} has none of {', '.join(ODOMETRY_CAMERAS)}")
    paths = find_images(camera).paths
    stamps = as_many(str(folder), paths, read_times(_times(folder)[0]))
    height, width = read_image(paths[0]).shape[:2]
    number = int(camera.name[-1])
    poses = [*sorted(folder.glob("poses*.txt")), folder.parents[1] / "poses" / f"{folder.name}.txt"]
    found = next((path for path in poses if path.is_file()), None)
    truth = None if found is None or number not in (0, 2) else _poses(found, stamps)
    calibration = read_calibration(folder / "calib.txt", width, height, number if _is_labelled(folder) else 0)
    return ImageSequence("KITTI odometry", folder.name, paths, stamps, calibration, truth)


def read_raw(folder: Path) -> ImageSequence:
    """A drive of KITTI raw; calibration from `calib_cam_to_cam.txt` in it or above it."""
    camera = _first(folder, RAW_CAMERAS)
    if camera is None:
        raise SequenceError(f"{folder} has none of {', '.join(RAW_CAMERAS)}")
    paths = find_images(camera / "data").paths
    stamps = as_many(str(folder), paths, read_timestamps(camera / "timestamps.txt"))
    height, width = read_image(paths[0]).shape[:2]
    files = [place / "calib_cam_to_cam.txt" for place in (folder, folder.parent)]
    file = next((path for path in files if path.is_file()), None)
    calibration = None if file is None else read_calibration(file, width, height, int(camera.name[-2:]))
    truth = None
    if (folder / "oxts" / "data").is_dir() and camera.name in ("image_00", "image_01"):
        truth = read_oxts(folder)
    return ImageSequence("KITTI raw", folder.name, paths, stamps, calibration, truth)


def read_oxts(folder: Path) -> Trajectory | None:
    """Poses of camera 0 by the drive's GNSS and IMU, in a frame of the first; None where a calibration is missing.

    As the raw development kit makes them: latitude and longitude by a Mercator projection at the first latitude, roll,
    pitch and yaw as rotations about x, y and z.
    """
    files = [place / name for name in RIG for place in (folder, folder.parent) if (place / name).is_file()]
    rows = sorted((folder / "oxts" / "data").glob("*.txt"))
    if {file.name for file in files} != set(RIG) or not rows:
        return None
    by_name = {file.name: _named_rows(file) for file in reversed(files)}
    try:
        numbers = np.array([path.read_text().split()[:6] for path in rows], np.float64)
        T_velo_imu = _rigid(by_name["calib_imu_to_velo.txt"])
        T_cam_velo = _rigid(by_name["calib_velo_to_cam.txt"])
        R_rect = np.array(by_name["calib_cam_to_cam.txt"]["R_rect_00"]).reshape(3, 3)
    except (KeyError, ValueError):
        raise SequenceError(f"the oxts or calibration files of {folder} are damaged") from None
    T_imu_cam = se3.invert(se3.se3(R_rect, np.zeros(3)) @ T_cam_velo @ T_velo_imu)
    latitude, longitude, altitude, roll, pitch, yaw = numbers.T
    scale = np.cos(np.radians(latitude[0]))
    east = scale * EARTH_RADIUS_M * np.radians(longitude)
    north = scale * EARTH_RADIUS_M * np.log(np.tan(np.radians(90 + latitude) / 2))
    R = Rotation.from_euler("ZYX", np.stack([yaw, pitch, roll], axis=1)).as_matrix()
    T = se3.se3(R, np.stack([east, north, altitude], axis=1)) @ T_imu_cam
    stamps = read_timestamps(folder / "oxts" / "timestamps.txt")[: len(T)]
    order = np.unique(stamps, return_index=True)[1]
    return Trajectory(stamps[order], se3.invert(T[0]) @ T[order])


def _named_rows(path: Path) -> dict[str, list[float]]:
    rows = {}
    for line in path.read_text().splitlines():
        name, _, values = line.partition(":")
        try:
            rows[name.strip()] = [float(word) for word in values.split()]
        except ValueError:
            continue  # a time of calibration
    return rows


def _rigid(rows: dict[str, list[float]]) -> NDArray[np.float64]:
    return se3.se3(np.array(rows["R"]).reshape(3, 3), np.array(rows["T"]))


def _poses(path: Path, stamps_ns: NDArray[np.int64]) -> Trajectory:
    return read_trajectory(path, stamps_ns)


def _first(folder: Path, names: tuple[str, ...]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_dir()), None)


def _times(folder: Path) -> list[Path]:
    return sorted(folder.glob("times*.txt"))


def _is_labelled(folder: Path) -> bool:
    return "P0:" in (folder / "calib.txt").read_text(errors="replace")


def read_timestamps(path: Path) -> NDArray[np.int64]:
    """Lines such as `2011-09-26 13:02:25.594360375`, to the nanosecond."""
    stamps = []
    for line in path.read_text().splitlines():
        if line.strip():
            seconds, _, fraction = line.strip().partition(".")
            try:
                whole = datetime.fromisoformat(f"{seconds}+00:00")
                stamps.append(int(whole.timestamp()) * 10**9 + int(f"{fraction:0<9}"[:9]))
            except ValueError:
                raise SequenceError(f"times file {path} holds the time {line!r}, which is none") from None
    return np.array(stamps, np.int64)
