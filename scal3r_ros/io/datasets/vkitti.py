"""Virtual KITTI 2 (Scene01/clone/frames/rgb/Camera_0, intrinsic.txt, extrinsic.txt).

https://europe.naverlabs.com/proxy-virtual-worlds-vkitti-2
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from scal3r_ros.errors import SequenceError
from scal3r_ros.geometry import se3
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.io.calibration import CameraCalibration
from scal3r_ros.io.datasets.sequence import ImageSequence, depth_beside
from scal3r_ros.io.images.folder import find_images, read_image
from scal3r_ros.io.trajectories import even_stamps

RATE_HZ = 10.0
DEPTH_PER_METRE = 100.0


def is_vkitti(folder: Path) -> bool:
    """Whether a folder is a variation of a scene of Virtual KITTI 2."""
    return (folder / "frames" / "rgb" / "Camera_0").is_dir() and (folder / "intrinsic.txt").is_file()


def read_vkitti(folder: Path) -> ImageSequence:
    """Camera 0 of a variation, at 10 Hz."""
    paths = find_images(folder / "frames" / "rgb" / "Camera_0").paths
    stamps = even_stamps(len(paths), RATE_HZ)
    height, width = read_image(paths[0]).shape[:2]
    fx, fy, cx, cy = _rows(folder / "intrinsic.txt", 6)[0][2:6]
    calibration = CameraCalibration.pinhole(width, height, [fx, 0, cx, 0, fy, cy, 0, 0, 1])
    extrinsic = folder / "extrinsic.txt"
    truth = None
    if extrinsic.is_file():
        rows = _rows(extrinsic, 18)[: len(paths)]
        T_cam_world = np.array([row[2:18] for row in rows]).reshape(-1, 4, 4)
        truth = Trajectory(stamps[: len(rows)], se3.invert(T_cam_world))
    name = f"{folder.parent.name}/{folder.name}"
    depth = depth_beside(paths, stamps, lambda image: _depth_of(folder, image), DEPTH_PER_METRE)
    return ImageSequence("Virtual KITTI 2", name, paths, stamps, calibration, truth, depth=depth)


def _depth_of(folder: Path, image: Path) -> Path:
    return folder / "frames" / "depth" / "Camera_0" / f"{image.stem.replace('rgb_', 'depth_')}.png"


def _rows(path: Path, columns: int) -> list[list[float]]:
    """Rows of camera 0: frame, camera, numbers, under a line of names."""
    lines = [line.split() for line in path.read_text().splitlines()[1:] if line.strip()]
    try:
        rows = [[float(word) for word in line] for line in lines if line[1] == "0"]
    except (ValueError, IndexError):
        rows = []
    if not rows or any(len(row) != columns for row in rows):
        raise SequenceError(f"{path} is no table of Virtual KITTI 2: {columns} columns under a line of names")
    return rows
