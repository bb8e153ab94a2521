"""Calibrations as YAML or XML: ROS camera calibration, OpenCV, Kalibr, EuRoC and ORB-SLAM.

Functions raise ValueError, TypeError, KeyError or AttributeError where the content has another form.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import yaml

from scal3r_ros.io.calibration.calibration import IDENTITY_R, CameraCalibration

MATRIX = ("camera_matrix", "cameraMatrix", "K", "M1", "intrinsic_matrix")
DISTORTION = ("distortion_coefficients", "distCoeffs", "dist_coeffs", "D", "D1", "distortion")
SIZES = (("image_width", "image_height"), ("width", "height"), ("imageWidth", "imageHeight"))
ORB_PREFIXES = ("Camera1", "Camera")


def read_tree(text: str) -> Mapping[str, Any]:
    """The content of YAML, or of OpenCV's own YAML or XML."""
    start = text.lstrip()
    if start.startswith(("%YAML:1.0", "<?xml")) or "!!opencv-matrix" in start:
        try:
            storage = cv2.FileStorage(start, cv2.FILE_STORAGE_READ | cv2.FILE_STORAGE_MEMORY)
            root = storage.root()
            return {key: _value(root.getNode(key)) for key in root.keys()}  # noqa: SIM118  no mapping of Python's
        except (cv2.error, SystemError):
            raise ValueError("OpenCV cannot read it") from None
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ValueError("it is no YAML") from None
    if not isinstance(content, dict):
        raise ValueError("it has no names")
    return content


def from_tree(tree: Mapping[str, Any], camera: int) -> CameraCalibration:
    """Whichever of the forms the content has."""
    if f"cam{camera}" in tree:
        return _from_kalibr(tree[f"cam{camera}"])
    if any(f"{prefix}.fx" in tree for prefix in ORB_PREFIXES):
        return _from_orb_slam(tree)
    if isinstance(tree.get("intrinsics"), list):
        return _from_kalibr(tree)
    return _from_matrices(tree)


def _from_matrices(tree: Mapping[str, Any]) -> CameraCalibration:
    lower = {str(key).lower(): value for key, value in tree.items()}

    def first(names: tuple[str, ...]) -> Any:
        return next((lower[name.lower()] for name in names if name.lower() in lower), None)

    k = _numbers(first(MATRIX))
    d = _numbers(first(DISTORTION)) if first(DISTORTION) is not None else ()
    r = _numbers(lower["rectification_matrix"]) if "rectification_matrix" in lower else IDENTITY_R
    width, height = (int(first(names) or 0) for names in zip(*SIZES, strict=True))
    p = _numbers(lower["projection_matrix"]) if "projection_matrix" in lower else ()
    if not p:
        p = CameraCalibration.pinhole(width, height, k).p
    if (len(k), len(r), len(p)) != (9, 9, 12):
        raise ValueError("a matrix has another size")
    named = lower.get("distortion_model", lower.get("camera_model", ""))
    model = "" if str(named).lower() in ("", "pinhole", "perspective") else str(named)
    if not model:
        fisheye = bool(lower.get("fisheye_model", lower.get("fisheye", 0)))
        model = "fisheye" if fisheye else "rational_polynomial" if len(d) >= 8 else "plumb_bob"
    return CameraCalibration(width, height, model, d, k, r, p)


def _from_kalibr(tree: Mapping[str, Any]) -> CameraCalibration:
    """A camera of Kalibr's camchain, or EuRoC's sensor.yaml."""
    kind = str(tree.get("camera_model", "pinhole"))
    if kind != "pinhole":
        raise ValueError(f"the camera model {kind} is no pinhole")
    fx, fy, cx, cy = (float(value) for value in tree["intrinsics"])
    width, height = (int(value) for value in tree.get("resolution", (0, 0)))
    d = tuple(float(value) for value in tree.get("distortion_coeffs", tree.get("distortion_coefficients", ())))
    pinhole = CameraCalibration.pinhole(width, height, (fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0))
    model = str(tree.get("distortion_model", "none"))
    return CameraCalibration(width, height, model, d, pinhole.k, pinhole.r, pinhole.p)


def _from_orb_slam(tree: Mapping[str, Any]) -> CameraCalibration:
    """The settings of ORB-SLAM2 and 3."""
    prefix = next(name for name in ORB_PREFIXES if f"{name}.fx" in tree)
    fx, fy, cx, cy = (float(tree[f"{prefix}.{name}"]) for name in ("fx", "fy", "cx", "cy"))
    width, height = (int(tree.get(f"Camera.{name}", 0)) for name in ("width", "height"))
    fisheye = str(tree.get("Camera.type", "")).startswith("Kannala")
    names = ("k1", "k2", "k3", "k4") if fisheye else ("k1", "k2", "p1", "p2", "k3")
    d = tuple(float(tree.get(f"{prefix}.{name}", 0.0)) for name in names)
    pinhole = CameraCalibration.pinhole(width, height, (fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0))
    model = "equidistant" if fisheye else "plumb_bob"
    return CameraCalibration(width, height, model, d, pinhole.k, pinhole.r, pinhole.p)


def _numbers(value: Any) -> tuple[float, ...]:
    """The numbers of a matrix: `{data: […]}`, a list, a list of lists, or an array."""
    if isinstance(value, Mapping):
        value = value["data"]
    return tuple(float(number) for number in np.ravel(np.array(value, np.float64)))


def _value(node: Any) -> Any:
    """A node of OpenCV's FileStorage as values of Python and NumPy."""
    if node.isMap():
        matrix = node.mat()
        return matrix if matrix is not None else {key: _value(node.getNode(key)) for key in node.keys()}  # noqa: SIM118
    if node.isSeq():
        return [_value(node.at(index)) for index in range(node.size())]
    return node.string() if node.isString() else node.real()
