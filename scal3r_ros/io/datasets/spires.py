"""Oxford Spires (sequences/NAME/raw/images/cam0, processed/trajectory/gt-tum.txt, calibration/ above the sequences).

https://dynamic.robots.ox.ac.uk/datasets/oxford-spires
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from scal3r_ros.errors import SequenceError
from scal3r_ros.geometry import se3
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.io.calibration import read_calibration
from scal3r_ros.io.datasets.sequence import ImageSequence
from scal3r_ros.io.images.folder import find_images, read_image, stamps_of_names
from scal3r_ros.io.trajectories import read_trajectory

logger = logging.getLogger(__name__)

IMAGES = ("raw/images/cam0", "raw/cam0", "images/cam0")
POSES = ("processed/trajectory/gt-tum.txt", "gt-tum.txt")
MOUNT = "T_base_lidar_t_xyz_q_xyzw"


def is_spires(folder: Path) -> bool:
    """Whether a folder is a sequence of Oxford Spires, its archive of images unpacked."""
    return _first(folder, IMAGES) is not None and _first(folder, POSES) is not None


def read_spires(folder: Path) -> ImageSequence:
    """The front camera; true poses are those of the base, moved to the camera over the lidar's mount."""
    images, poses = _first(folder, IMAGES), _first(folder, POSES)
    if images is None or poses is None:
        raise SequenceError(f"{folder} has no {IMAGES[0]} or no {POSES[0]}")
    paths = find_images(images).paths
    stamps = stamps_of_names(paths)
    if stamps is None:
        raise SequenceError(f"names of images in {images} are no times")
    height, width = read_image(paths[0]).shape[:2]
    places = [place / "calibration" for place in (folder, *folder.parents[:2])]
    camera = next((path for place in places if (path := place / "cam0.yaml").is_file()), None)
    rig = next((path for place in places if (path := place / "cam-lidar-imu.yaml").is_file()), None)
    calibration = None if camera is None else read_calibration(camera, width, height)
    T_base_cam = None if rig is None else _base_from_camera(rig)
    truth = None
    if T_base_cam is None:
        logger.warning("%s: cam-lidar-imu.yaml with %s is missing, so there are no true poses", folder, MOUNT)
    else:
        body = read_trajectory(poses)
        truth = Trajectory(body.stamps_ns, body.T_ref_cam @ T_base_cam)
    return ImageSequence("Oxford Spires", folder.name, paths, stamps, calibration, truth)


def _base_from_camera(path: Path) -> NDArray[np.float64] | None:
    """T_base_cam (4, 4); None where the file does not say how the lidar is mounted."""
    try:
        rig: dict[str, Any] = yaml.safe_load(path.read_text())
        camera = rig["cam0"]
        if MOUNT not in rig:
            return None
        if "T_cam_lidar" in camera:
            T_cam_lidar = np.array(camera["T_cam_lidar"], np.float64).reshape(4, 4)
        else:
            T_cam_lidar = _matrix(
                camera.get("T_cam_lidar_t_xyz_q_xyzw_overwrite") or camera["T_cam_lidar_t_xyz_q_xyzw"]
            )
        return _matrix(rig[MOUNT]) @ se3.invert(T_cam_lidar)
    except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError):
        raise SequenceError(f"calibration file {path} does not say where cam0 sits on the lidar") from None


def _matrix(values: list[float]) -> NDArray[np.float64]:
    numbers = np.array(values, np.float64)
    return se3.se3(se3.rotation_from_quat_xyzw(numbers[3:7]), numbers[:3])


def _first(folder: Path, names: tuple[str, ...]) -> Path | None:
    return next((folder / name for name in names if (folder / name).exists()), None)
