"""Folders of images with a pose for each, as exported from Waymo, ScanNet and many other sets.

`images` (or image_0, color, rgb, …) with `poses.txt` of one row an image, or `pose/` with a 4×4 file an image; times,
calibration and distortion in files beside them. ScanNet: `color`, `pose`, `intrinsic/intrinsic_color.txt`
(https://github.com/ScanNet/ScanNet/tree/master/SensReader/python).
"""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from scal3r_ros.errors import SequenceError
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.io.calibration import CameraCalibration, read_calibration
from scal3r_ros.io.datasets.sensors.imu import ImuTable, read_imu
from scal3r_ros.io.datasets.sequence import ImageSequence, as_many, depth_beside
from scal3r_ros.io.images.folder import SUFFIXES, find_images, read_depth, read_image, stamps_of_names
from scal3r_ros.io.trajectories import even_stamps, read_times, read_trajectory

logger = logging.getLogger(__name__)

RATE_HZ, SCANNET_RATE_HZ = 10.0, 30.0
IMAGES = ("image_0", "images", "image", "color", "rgb", "image_2", "cam0", "left", "FRONT")
POSE_FILES = ("poses*.txt", "pose.txt", "poses_c2w.txt", "traj*.txt", "groundtruth.txt", "gt*.txt")
POSE_FOLDERS = ("pose", "poses", "ego_pose")
IMU = ("imu0.csv", "T_imu_cam0.txt")
"""EuRoC's table, and the camera's pose on the IMU."""
TIMES = ("times*.txt", "timestamps.txt")
CALIBRATIONS = (
    "calib*.yaml", "calib*.yml", "camera*.yaml", "calib*.txt", "intrinsics*.txt", "intrinsic/intrinsic_color.txt",
    "intrinsic*.txt", "K.txt",
)  # fmt: skip


def is_posed(folder: Path) -> bool:
    """Whether a folder has images in a folder of a usual name, and poses beside it."""
    return _images(folder) is not None and (_first(folder, POSE_FILES) or _pose_folder(folder)) is not None


def read_posed(folder: Path) -> ImageSequence:
    """The images with their poses, camera to world, in the order of the images; poses that are not finite are lost."""
    images = _images(folder)
    if images is None:
        raise SequenceError(f"{folder} has none of the folders {', '.join(IMAGES)}")
    paths = find_images(images).paths
    scannet = (folder / "intrinsic" / "intrinsic_color.txt").is_file()
    times, named = _first(folder, TIMES), stamps_of_names(paths)
    if times is not None:
        stamps = as_many(str(folder), paths, read_times(times))
    else:
        stamps = even_stamps(len(paths), SCANNET_RATE_HZ if scannet else RATE_HZ) if named is None else named
    height, width = read_image(paths[0]).shape[:2]
    file = _first(folder, CALIBRATIONS)
    calibration = None if file is None else _calibration(file, width, height)
    kind = "ScanNet" if scannet else "posed images"
    samples = partial(_imu, folder) if all((folder / name).is_file() for name in IMU) else None
    depth = None
    if scannet:
        first = next(iter(sorted((folder / "depth").glob("*.png"))), None)
        own = folder / "intrinsic" / "intrinsic_depth.txt"
        lens = _calibration(own, *read_depth(first).shape[::-1]) if first is not None and own.is_file() else None
        depth = depth_beside(paths, stamps, lambda image: folder / "depth" / f"{image.stem}.png", 1000.0, lens)
    poses = _poses(folder, paths, stamps)
    return ImageSequence(kind, folder.name, paths, stamps, calibration, poses, samples, depth)


def _imu(folder: Path) -> ImuTable:
    mount = folder / IMU[1]
    try:
        T_imu_cam = np.array(mount.read_text().split(), np.float64).reshape(4, 4)
    except ValueError:
        raise SequenceError(f"{mount} holds no 4×4 matrix") from None
    return read_imu(folder / IMU[0], T_imu_cam)


def _poses(folder: Path, paths: tuple[Path, ...], stamps: np.ndarray) -> Trajectory | None:
    poses = _pose_folder(folder)
    if poses is None:
        file = _first(folder, POSE_FILES)
        return None if file is None else read_trajectory(file, stamps)
    rows, T = [], []
    for row, path in enumerate(paths):
        file = poses / f"{path.stem}.txt"
        if file.is_file():
            try:
                matrix = np.array(file.read_text().split(), np.float64).reshape(4, 4)
            except ValueError:
                raise SequenceError(f"pose file {file} holds no 4×4 matrix") from None
            if np.all(np.isfinite(matrix)):
                rows.append(row)
                T.append(matrix)
    return Trajectory(stamps[rows], np.stack(T)) if rows else None


def _calibration(file: Path, width: int, height: int) -> CameraCalibration:
    """The camera of a file; its distortion, k1 k2 p1 p2 (k3), may stand in a `dist.txt` beside it."""
    numbers = file.read_text(errors="replace").split()
    if len(numbers) == 6 and numbers[4:] == [str(width), str(height)]:  # fx fy cx cy width height
        fx, fy, cx, cy = map(float, numbers[:4])
        calibration = CameraCalibration.pinhole(width, height, [fx, 0, cx, 0, fy, cy, 0, 0, 1])
    elif len(numbers) == 16:  # a 4×4, as ScanNet's
        K = np.array(numbers, np.float64).reshape(4, 4)[:3, :3]
        calibration = CameraCalibration.pinhole(width, height, K.ravel().tolist())
    else:
        calibration = read_calibration(file, width, height)
    lens = file.parent / "dist.txt"
    if lens.is_file() and not any(calibration.d):
        try:
            d = tuple(float(word) for word in lens.read_text().replace(",", " ").split())
        except ValueError:
            raise SequenceError(f"distortion file {lens} holds something other than numbers") from None
        calibration = replace(calibration, distortion_model="plumb_bob", d=(*d, 0.0)[:5] if len(d) == 4 else d)
    return calibration


def _images(folder: Path) -> Path | None:
    for name in IMAGES:
        images = folder / name
        if images.is_dir() and any(path.suffix.lower() in SUFFIXES for path in images.iterdir()):
            return images
    return None


def _pose_folder(folder: Path) -> Path | None:
    found = (folder / name for name in POSE_FOLDERS if (folder / name).is_dir())
    return next((path for path in found if any(path.glob("*.txt"))), None)


def _first(folder: Path, patterns: tuple[str, ...]) -> Path | None:
    return next((path for pattern in patterns for path in sorted(folder.glob(pattern)) if path.is_file()), None)
