"""KITTI: odometry (sequences/NN/image_0, calib.txt, times.txt, poses/NN.txt) and raw drives (image_00/data, oxts).

https://www.cvlibs.net/datasets/kitti
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.errors import SequenceError
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.io.calibration import read_calibration
from scal3r_ros.io.datasets.sensors.oxts import read_oxts, read_oxts_samples, read_timestamps
from scal3r_ros.io.datasets.sequence import ImageSequence, as_many
from scal3r_ros.io.images.folder import find_images, read_image
from scal3r_ros.io.trajectories import read_times, read_trajectory

ODOMETRY_CAMERAS = ("image_0", "image_2", "image_1", "image_3")
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
    truth, samples = None, None
    if (folder / "oxts" / "data").is_dir() and camera.name in ("image_00", "image_01"):
        truth = read_oxts(folder)
        samples = None if truth is None else partial(read_oxts_samples, folder)
    return ImageSequence("KITTI raw", folder.name, paths, stamps, calibration, truth, samples)


def _poses(path: Path, stamps_ns: NDArray[np.int64]) -> Trajectory:
    return read_trajectory(path, stamps_ns)


def _first(folder: Path, names: tuple[str, ...]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_dir()), None)


def _times(folder: Path) -> list[Path]:
    return sorted(folder.glob("times*.txt"))


def _is_labelled(folder: Path) -> bool:
    return "P0:" in (folder / "calib.txt").read_text(errors="replace")
