"""Calibrations as YAML, JSON or XML: ROS camera calibration, OpenCV, Open3D, Kalibr, EuRoC, ORB-SLAM and plain names.

Functions raise ValueError, TypeError, KeyError or AttributeError where the content has another form.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import yaml

from scal3r_ros.errors import GeometryError
from scal3r_ros.io.calibration.calibration import IDENTITY_R, CameraCalibration

MATRIX = ("camera_matrix", "cameraMatrix", "K", "M1", "intrinsic_matrix", "mtx")
DISTORTION = (
    *("distortion_coefficients", "distortion_coeffs", "distCoeffs", "distCoeff", "dist_coeffs", "dist_coeff"),
    *("dist_coefs", "dist", "D", "D1", "distortion", "coeffs"),
)
SIZES = (("image_width", "image_height"), ("width", "height"), ("imageWidth", "imageHeight"), ("w", "h"))
FOCAL_LENGTHS = (("fx", "fy"), ("fl_x", "fl_y"))
CENTRES = (("cx", "cy"), ("ppx", "ppy"))
COEFFICIENTS = ("k1", "k2", "p1", "p2", "k3")
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
        content = next(yaml.safe_load_all(text))  # `ros2 topic echo` begins another document behind each message
    except (yaml.YAMLError, StopIteration):
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

    d = _numbers(first(DISTORTION)) if first(DISTORTION) is not None else ()
    if first(MATRIX) is not None:
        k = _by_rows(_numbers(first(MATRIX)))
    else:
        (fx, fy), (cx, cy) = (
            [float(first(names)) for names in zip(*of, strict=True)] for of in (FOCAL_LENGTHS, CENTRES)
        )
        k = (fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0)
        d = d or tuple(float(lower.get(name, 0.0)) for name in COEFFICIENTS)
    r = _numbers(first(("rectification_matrix", "r")) or IDENTITY_R)
    width, height = (int(first(names) or 0) for names in zip(*SIZES, strict=True))
    p = _numbers(first(("projection_matrix", "p")) or ())
    if not any(p):
        p = CameraCalibration.pinhole(width, height, k).p
    if (len(k), len(r), len(p)) != (9, 9, 12):
        raise ValueError("a matrix has another size")
    named = lower.get("distortion_model", lower.get("camera_model", ""))
    model = "" if str(named).lower() in ("", "pinhole", "perspective") else str(named)
    if not model:
        fisheye = bool(lower.get("fisheye_model", lower.get("fisheye", 0)))
        model = "fisheye" if fisheye else "rational_polynomial" if len(d) >= 8 else "plumb_bob"
    binning = tuple(max(1, int(lower.get(name, 1))) for name in ("binning_x", "binning_y"))
    region = lower.get("roi", {})
    roi = tuple(int(region.get(name, 0)) for name in ("x_offset", "y_offset", "width", "height"))
    return CameraCalibration(
        width, height, model, d, k, r, p, (binning[0], binning[1]), (roi[0], roi[1], roi[2], roi[3])
    )


def _by_rows(k: tuple[float, ...]) -> tuple[float, ...]:
    """A matrix whose columns were written one after the other, as by Open3D, row by row."""
    is_by_columns = len(k) == 9 and not any((k[2], k[5])) and all(k[6:8])
    return tuple(np.reshape(k, (3, 3)).T.ravel().tolist()) if is_by_columns else k


def _from_kalibr(tree: Mapping[str, Any]) -> CameraCalibration:
    """A camera of Kalibr's camchain, or EuRoC's sensor.yaml."""
    kind = str(tree.get("camera_model", "pinhole"))
    if kind != "pinhole":
        raise GeometryError(f"its camera model is {kind}; only pinhole is supported")
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
