"""7-Scenes (seq-01/frame-000000.color.png, .depth.png, .pose.txt).

https://www.microsoft.com/en-us/research/project/rgb-d-dataset-7-scenes
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.io.calibration import CameraCalibration
from scal3r_ros.io.datasets.sequence import ImageSequence, depth_beside
from scal3r_ros.io.images.folder import read_image
from scal3r_ros.io.trajectories import even_stamps

RATE_HZ, DEPTH_PER_METRE = 30.0, 1000.0
K = (585.0, 0.0, 320.0, 0.0, 585.0, 240.0, 0.0, 0.0, 1.0)
"""The calibration that its authors name for its 640 × 480 images."""


def is_seven_scenes(folder: Path) -> bool:
    """Whether a folder is a sequence of 7-Scenes."""
    first = next(iter(folder.glob("frame-*.color.png")), None)
    return first is not None and _pose_of(first).is_file()


def read_seven_scenes(folder: Path) -> ImageSequence:
    """A sequence of 7-Scenes at 30 Hz, without the poses that its authors mark as lost by infinite values."""
    paths = tuple(sorted(folder.glob("frame-*.color.png")))
    stamps = even_stamps(len(paths), RATE_HZ)
    height, width = read_image(paths[0]).shape[:2]
    rows, T = [], []
    for row, path in enumerate(paths):
        pose = _pose_of(path)
        if pose.is_file() and "nan" not in (text := pose.read_text().lower()) and "inf" not in text:
            flat = " ".join(text.split())
            rows.append(row)
            T.append(np.array(flat.split(), np.float64).reshape(4, 4))
    truth = Trajectory(stamps[rows], np.stack(T)) if rows else None
    calibration = CameraCalibration.pinhole(width, height, K)
    depth = depth_beside(paths, stamps, lambda image: _beside(image, ".depth.png"), DEPTH_PER_METRE)
    name = f"{folder.parent.name}/{folder.name}"
    return ImageSequence("7-Scenes", name, paths, stamps, calibration, truth, depth=depth)


def _pose_of(image: Path) -> Path:
    return _beside(image, ".pose.txt")


def _beside(image: Path, suffix: str) -> Path:
    return image.with_name(image.name.replace(".color.png", suffix))
