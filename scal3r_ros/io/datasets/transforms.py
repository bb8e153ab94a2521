"""nerfstudio's and instant-ngp's `transforms.json`: https://docs.nerf.studio/quickstart/data_conventions.html."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from scal3r_ros.errors import SequenceError
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.io.calibration import CameraCalibration
from scal3r_ros.io.datasets.sequence import DepthImages, ImageSequence
from scal3r_ros.io.images.folder import read_image
from scal3r_ros.io.trajectories import even_stamps

RATE_HZ = 10.0
DEPTH_PER_METRE = 1000.0
FROM_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])
"""Cameras of OpenGL look along -z with y up."""


def is_transforms(folder: Path) -> bool:
    """Whether a folder has a `transforms.json`."""
    return (folder / "transforms.json").is_file()


def read_transforms(folder: Path) -> ImageSequence:
    """The images that the file lists, in its order, at 10 Hz."""
    path = folder / "transforms.json"
    try:
        content = json.loads(path.read_text())
        frames = [frame for frame in content["frames"] if (folder / frame["file_path"]).is_file()]
        T = np.array([frame["transform_matrix"] for frame in frames], np.float64).reshape(-1, 4, 4)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SequenceError(f"{path} is no transforms.json of nerfstudio ({error!r})") from error
    if not frames:
        raise SequenceError(f"none of the images that {path} lists is there")
    paths = tuple(folder / frame["file_path"] for frame in frames)
    stamps = even_stamps(len(paths), RATE_HZ)
    height, width = read_image(paths[0]).shape[:2]
    calibration = _calibration({**content, **frames[0]}, width, height)
    known = [row for row, frame in enumerate(frames) if (folder / str(frame.get("depth_file_path", ""))).is_file()]
    files = tuple(folder / frames[row]["depth_file_path"] for row in known)
    depth = DepthImages(files, stamps[known], DEPTH_PER_METRE) if files else None
    truth = Trajectory(stamps, T @ FROM_OPENGL)
    return ImageSequence("nerfstudio", folder.name, paths, stamps, calibration, truth, depth=depth)


def _calibration(values: dict[str, Any], width: int, height: int) -> CameraCalibration | None:
    """Of the names `fl_x`, `cx`, `k1` …; their pixels have corners, not centres, at whole numbers."""
    if "fl_x" in values:
        fx = float(values["fl_x"])
    elif "camera_angle_x" in values:
        fx = width / 2 / float(np.tan(float(values["camera_angle_x"]) / 2))
    else:
        return None
    fy, cx, cy = float(values.get("fl_y", fx)), float(values.get("cx", width / 2)), float(values.get("cy", height / 2))
    pinhole = CameraCalibration.pinhole(width, height, [fx, 0, cx - 0.5, 0, fy, cy - 0.5, 0, 0, 1])
    fisheye = values.get("camera_model") == "OPENCV_FISHEYE"
    names = ("k1", "k2", "k3", "k4") if fisheye else ("k1", "k2", "p1", "p2", "k3")
    d = tuple(float(values.get(name, 0.0)) for name in names)
    model = "equidistant" if fisheye else "plumb_bob"
    return CameraCalibration(width, height, model, d, pinhole.k, pinhole.r, pinhole.p)
