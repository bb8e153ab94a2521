"""TUM RGB-D (rgb/, rgb.txt, groundtruth.txt) and ETH3D SLAM, which has the same form and a calibration.txt.

https://cvg.cit.tum.de/data/datasets/rgbd-dataset, https://www.eth3d.net/slam_documentation
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.errors import SequenceError
from scal3r_ros.geometry.trajectory import nearest_in_time
from scal3r_ros.io.calibration import CameraCalibration
from scal3r_ros.io.datasets.sequence import DepthImages, ImageSequence
from scal3r_ros.io.images.folder import natural_key, read_image, stamps_of_names
from scal3r_ros.io.trajectories import read_trajectory

DEPTH_PER_METRE = 5000.0
TOGETHER_NS = 20_000_000
"""Colour and depth of one moment are at most so far apart."""

CAMERAS = {
    "freiburg1": ((517.3, 516.5, 318.6, 255.3), (0.2624, -0.9531, -0.0054, 0.0026, 1.1633)),
    "freiburg2": ((520.9, 521.0, 325.1, 249.7), (0.2312, -0.7849, -0.0033, -0.0001, 0.9172)),
    "freiburg3": ((535.4, 539.2, 320.1, 247.6), (0.0, 0.0, 0.0, 0.0, 0.0)),
}
"""The published calibrations of the colour cameras: focal lengths and principal point, distortion."""


def is_tum(folder: Path) -> bool:
    """Whether a folder is a sequence of TUM RGB-D, or of a set in its form."""
    return (folder / "rgb.txt").is_file() and (folder / "rgb").is_dir()


def read_tum(folder: Path) -> ImageSequence:
    """A sequence of TUM RGB-D; the camera is known by the sequence's name."""
    lines = (folder / "rgb.txt").read_text().splitlines()
    listed = [line.split()[1] for line in lines if line.strip() and not line.startswith("#") and len(line.split()) > 1]
    paths = tuple(path for path in (folder / name for name in listed) if path.is_file())
    if not paths:
        raise SequenceError(f"none of the images that {folder / 'rgb.txt'} lists is there")
    stamps = stamps_of_names(paths)
    if stamps is None:
        raise SequenceError(f"names of images in {folder / 'rgb'} are no times that increase")
    truth = folder / "groundtruth.txt"
    eth3d = folder / "calibration.txt"
    return ImageSequence(
        "ETH3D SLAM" if eth3d.is_file() else "TUM RGB-D",
        folder.name,
        paths,
        stamps,
        _eth3d_calibration(eth3d, paths[0]) if eth3d.is_file() else _calibration(folder.name, paths[0]),
        read_trajectory(truth) if truth.is_file() else None,
        depth=_depth(folder, stamps),
    )


def _depth(folder: Path, stamps_ns: NDArray[np.int64]) -> DepthImages | None:
    """The depth images, each with the stamp of the colour image nearest in time: the two cameras run by themselves."""
    paths = tuple(sorted((folder / "depth").glob("*.png"), key=natural_key))
    taken = stamps_of_names(paths) if paths else None
    if taken is None:
        return None
    nearest = nearest_in_time(stamps_ns, taken)
    close = np.abs(stamps_ns[nearest] - taken) <= TOGETHER_NS
    rows, first = np.unique(nearest[close], return_index=True)
    files = [path for path, is_close in zip(paths, close, strict=True) if is_close]
    return DepthImages(tuple(files[row] for row in first), stamps_ns[rows], DEPTH_PER_METRE) if files else None


def _eth3d_calibration(path: Path, image: Path) -> CameraCalibration:
    """A line `fx fy cx cy` for images without distortion, whose pixel centres lie at whole numbers."""
    height, width = read_image(image).shape[:2]
    try:
        fx, fy, cx, cy = (float(word) for word in path.read_text().split()[:4])
    except ValueError:
        raise SequenceError(f"calibration file {path} has no line `fx fy cx cy`") from None
    return CameraCalibration.pinhole(width, height, [fx, 0, cx, 0, fy, cy, 0, 0, 1])


def _calibration(name: str, image: Path) -> CameraCalibration | None:
    found = next(
        (values for camera, values in CAMERAS.items() if camera in name.replace("fr", "freiburg", 1) or camera in name),
        None,
    )
    if found is None:
        return None
    (fx, fy, cx, cy), d = found
    height, width = read_image(image).shape[:2]
    pinhole = CameraCalibration.pinhole(width, height, np.array([fx, 0, cx, 0, fy, cy, 0, 0, 1]).tolist())
    return CameraCalibration(width, height, "plumb_bob", d, pinhole.k, pinhole.r, pinhole.p)
