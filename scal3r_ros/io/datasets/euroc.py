"""EuRoC MAV, and TUM-VI in its form (mav0/cam0/data, data.csv, sensor.yaml, state_groundtruth_estimate0).

https://projects.asl.ethz.ch/datasets/doku.php?id=kmavvisualinertialdatasets
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from scal3r_ros.errors import SequenceError
from scal3r_ros.geometry.se3 import rotation_from_quat_xyzw, se3
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.io.calibration import read_calibration
from scal3r_ros.io.datasets.sensors.imu import read_imu
from scal3r_ros.io.datasets.sequence import ImageSequence
from scal3r_ros.io.images.folder import find_images, read_image, stamps_of_names

TRUTHS = ("state_groundtruth_estimate0", "mocap0", "vicon0", "leica0")


def is_euroc(folder: Path) -> bool:
    """Whether a folder is a sequence of EuRoC, or its `mav0`."""
    return (_mav(folder) / "cam0" / "data").is_dir()


def read_euroc(folder: Path) -> ImageSequence:
    """The left camera of a sequence, and its IMU; true poses are the body's, moved to the camera by its extrinsics."""
    mav = _mav(folder)
    paths = find_images(mav / "cam0" / "data").paths
    stamps = stamps_of_names(paths)
    if stamps is None:
        raise SequenceError(f"names of images in {mav / 'cam0' / 'data'} are no times in nanoseconds")
    height, width = read_image(paths[0]).shape[:2]
    sensor = mav / "cam0" / "sensor.yaml"
    calibration = read_calibration(sensor, width, height) if sensor.is_file() else None
    truth = next((mav / name / "data.csv" for name in TRUTHS if (mav / name / "data.csv").is_file()), None)
    poses = None if truth is None or not sensor.is_file() else _poses(truth, _body_from_camera(sensor))
    name = folder.parent.name if folder.name == "mav0" else folder.name
    imu = mav / "imu0" / "data.csv"
    samples = None
    if imu.is_file() and sensor.is_file():  # the body is the IMU
        samples = partial(read_imu, imu, _body_from_camera(sensor))
    return ImageSequence("EuRoC", name, paths, stamps, calibration, poses, samples)


def _mav(folder: Path) -> Path:
    return folder if folder.name == "mav0" else folder / "mav0"


def _body_from_camera(sensor: Path) -> NDArray[np.float64]:
    try:
        return np.array(yaml.safe_load(sensor.read_text())["T_BS"]["data"], np.float64).reshape(4, 4)
    except (yaml.YAMLError, KeyError, TypeError, ValueError):
        raise SequenceError(f"calibration file {sensor} has no T_BS, the camera's pose on the body") from None


def _poses(path: Path, T_body_cam: NDArray[np.float64]) -> Trajectory | None:
    """Rows of time in ns, position and quaternion w x y z; only positions give no poses."""
    rows = [line.split(",") for line in path.read_text().splitlines() if line.strip() and not line.startswith("#")]
    if not rows or len(rows[0]) < 8:
        return None
    try:
        stamps = np.array([int(row[0]) for row in rows], np.int64)
        numbers = np.array([row[1:8] for row in rows], np.float64)
    except ValueError:
        raise SequenceError(f"truth {path} is no table of numbers") from None
    T_world_body = se3(rotation_from_quat_xyzw(numbers[:, [4, 5, 6, 3]]), numbers[:, :3])
    order = np.unique(stamps, return_index=True)[1]
    return Trajectory(stamps[order], T_world_body[order] @ T_body_cam)
