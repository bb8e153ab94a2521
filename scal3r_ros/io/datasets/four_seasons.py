"""4Seasons (recording_…/undistorted_images/cam0, GNSSPoses.txt, imu.txt, septentrio.nmea, calibration/ beside them).

https://www.4seasons-dataset.com/documentation
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.errors import SequenceError
from scal3r_ros.geometry.se3 import invert, rotation_from_quat_xyzw, se3
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.io.calibration import CameraCalibration
from scal3r_ros.io.datasets.sensors.imu import ImuWithFixes, no_imu, read_imu
from scal3r_ros.io.datasets.sensors.nmea import read_nmea
from scal3r_ros.io.datasets.sequence import ImageSequence
from scal3r_ros.io.images.folder import find_images, read_image, stamps_of_names
from scal3r_ros.mapping.values import SensorSample

POSES = "GNSSPoses.txt"
TRANSFORMS, IMU, FIXES = "Transformations.txt", "imu.txt", "septentrio.nmea"
CALIBRATION = "undistorted_calib_0.txt"


def is_four_seasons(folder: Path) -> bool:
    """Whether a folder is a recording of 4Seasons."""
    return (folder / "undistorted_images" / "cam0").is_dir()


def read_four_seasons(folder: Path) -> ImageSequence:
    """The left camera, undistorted; the names of its images are their times, and GNSSPoses.txt has its true poses.

    Its IMU and its satellite receiver are read where Transformations.txt has the camera's mount on the IMU.
    """
    images = folder / "undistorted_images" / "cam0"
    paths = find_images(images).paths
    stamps = stamps_of_names(paths)
    if stamps is None:
        raise SequenceError(f"names of images in {images} are no times in nanoseconds")
    places = [place / "calibration" / CALIBRATION for place in (folder, folder.parent, folder.parent.parent)]
    file = next((path for path in places if path.is_file()), None)
    calibration = None if file is None else _calibration(file, read_image(paths[0]).shape[:2])
    poses = folder / POSES
    truth = _poses(poses) if poses.is_file() else None
    has_sensors = (folder / TRANSFORMS).is_file() and any((folder / name).is_file() for name in (IMU, FIXES))
    samples = partial(_samples, folder) if has_sensors else None
    return ImageSequence("4Seasons", folder.name, paths, stamps, calibration, truth, samples)


def _samples(folder: Path) -> Sequence[SensorSample]:
    """What the IMU and the receiver recorded, by time. The antenna's place is published as that of the IMU."""
    T_cam_imu = _mount(folder / TRANSFORMS)
    T_imu_cam = invert(T_cam_imu)
    imu = read_imu(folder / IMU, T_imu_cam) if (folder / IMU).is_file() else no_imu(T_imu_cam)
    return ImuWithFixes(imu, read_nmea(folder / FIXES, T_cam_imu[:3, 3]) if (folder / FIXES).is_file() else ())


def _mount(path: Path) -> NDArray[np.float64]:
    """T_cam_imu (4, 4): the line of position and quaternion x y z w under the one that begins with `# TS_cam_imu`."""
    lines = [line.strip() for line in path.read_text(errors="replace").splitlines() if line.strip()]
    try:
        row = next(number for number, line in enumerate(lines) if line.startswith("# TS_cam_imu"))
        numbers = np.array(lines[row + 1].split(",")[:7], np.float64)
        return se3(rotation_from_quat_xyzw(numbers[3:7]), numbers[:3])
    except (StopIteration, IndexError, ValueError):
        raise SequenceError(f"{path} has no TS_cam_imu, the pose of the IMU in the camera") from None


def _calibration(path: Path, size: tuple[int, ...]) -> CameraCalibration:
    """A line `Pinhole fx fy cx cy 0`."""
    words = path.read_text(errors="replace").split()
    try:
        if words[0] != "Pinhole":
            raise ValueError(words[0])
        fx, fy, cx, cy = map(float, words[1:5])
    except (ValueError, IndexError):
        raise SequenceError(f"calibration file {path} has no line `Pinhole fx fy cx cy`") from None
    return CameraCalibration.pinhole(size[1], size[0], [fx, 0, cx, 0, fy, cy, 0, 0, 1])


def _poses(path: Path) -> Trajectory | None:
    """Rows of frame time in ns, position, quaternion x y z w of the camera, and scale, under a line of names.

    Positions times their scale are metres.
    """
    rows = [line.split(",") for line in path.read_text().splitlines() if line.strip() and line[0].isdigit()]
    try:
        stamps = np.array([int(row[0]) for row in rows], np.int64)
        numbers = np.array([row[1:9] for row in rows], np.float64).reshape(-1, 8)
    except ValueError:
        raise SequenceError(f"truth {path} is no table of times, positions, quaternions and scales") from None
    if not rows:
        return None
    T = se3(rotation_from_quat_xyzw(numbers[:, 3:7]), numbers[:, :3] * numbers[:, 7:])
    order = np.unique(stamps, return_index=True)[1]
    return Trajectory(stamps[order], T[order])
