"""4Seasons (recording_…/undistorted_images/cam0, times.txt, GNSSPoses.txt, calibration/ beside the recordings).

https://www.4seasons-dataset.com/documentation
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from scal3r_ros.errors import SequenceError
from scal3r_ros.geometry.se3 import rotation_from_quat_xyzw, se3
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.io.calibration import CameraCalibration
from scal3r_ros.io.datasets.sequence import ImageSequence
from scal3r_ros.io.images.folder import find_images, read_image, stamps_of_names

POSES = "GNSSPoses.txt"
CALIBRATION = "undistorted_calib_0.txt"


def is_four_seasons(folder: Path) -> bool:
    """Whether a folder is a recording of 4Seasons."""
    return (folder / "undistorted_images" / "cam0").is_dir()


def read_four_seasons(folder: Path) -> ImageSequence:
    """The left camera, undistorted; the names of its images are their times, and GNSSPoses.txt has its true poses."""
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
    return ImageSequence("4Seasons", folder.name, paths, stamps, calibration, truth)


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
    """Rows of frame time in ns, position and quaternion x y z w of the camera, under a line of names."""
    rows = [line.split(",") for line in path.read_text().splitlines() if line.strip() and line[0].isdigit()]
    try:
        stamps = np.array([int(row[0]) for row in rows], np.int64)
        numbers = np.array([row[1:8] for row in rows], np.float64).reshape(-1, 7)
    except ValueError:
        raise SequenceError(f"truth {path} is no table of times, positions and quaternions") from None
    if not rows:
        return None
    T = se3(rotation_from_quat_xyzw(numbers[:, 3:7]), numbers[:, :3])
    order = np.unique(stamps, return_index=True)[1]
    return Trajectory(stamps[order], T[order])
