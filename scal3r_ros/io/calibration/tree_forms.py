"""Calibrations as YAML, JSON or XML: ROS camera calibration, OpenCV, Open3D, Kalibr, EuRoC, plain names, and the
settings of ORB-SLAM, stella_vslam, VINS and Basalt.

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
IMAGE_SIZES = (("width", "cols"), ("height", "rows"))
FOCAL_LENGTHS = (("fx", "fy"), ("fl_x", "fl_y"))
CENTRES = (("cx", "cy"), ("ppx", "ppy"))
COEFFICIENTS = ("k1", "k2", "p1", "p2", "k3")
FISHEYE_COEFFICIENTS = ("k1", "k2", "k3", "k4")
ORB_PREFIXES = ("Camera1", "Camera")
KINDS = {"": COEFFICIENTS, "pinhole": COEFFICIENTS, "perspective": COEFFICIENTS, "rectified": COEFFICIENTS,
         "fisheye": FISHEYE_COEFFICIENTS,
         "kannalabrandt": FISHEYE_COEFFICIENTS, "kannalabrandt8": FISHEYE_COEFFICIENTS,
         "kb4": FISHEYE_COEFFICIENTS}  # fmt: skip
"""Coefficients by the camera model that the settings of a program name, in small letters without signs between."""
KANNALA_BRANDT = {"mu": "fx", "mv": "fy", "u0": "cx", "v0": "cy", "k2": "k1", "k3": "k2", "k4": "k3", "k5": "k4"}
"""VINS counts the coefficients of this model by the power of the angle."""


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
    settings = _settings(tree, camera)
    if settings is not None:
        return _from_settings(settings)
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
        names = FISHEYE_COEFFICIENTS if _is_fisheye(lower) else COEFFICIENTS
        d = d or tuple(float(lower.get(name, 0.0)) for name in names)
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
        model = "fisheye" if _is_fisheye(lower) else "rational_polynomial" if len(d) >= 8 else "plumb_bob"
    binning = tuple(max(1, int(lower.get(name, 1))) for name in ("binning_x", "binning_y"))
    region = lower.get("roi", {})
    roi = tuple(int(region.get(name, 0)) for name in ("x_offset", "y_offset", "width", "height"))
    return CameraCalibration(
        width, height, model, d, k, r, p, (binning[0], binning[1]), (roi[0], roi[1], roi[2], roi[3])
    )


def _is_fisheye(lower: Mapping[str, Any]) -> bool:
    model = str(lower.get("distortion_model", lower.get("camera_model", ""))).lower()
    named = any(word in model for word in ("fisheye", "equi", "kannala", "kb4"))
    return named or bool(lower.get("fisheye_model", lower.get("fisheye", 0)))


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


def _settings(tree: Mapping[str, Any], camera: int) -> Mapping[str, Any] | None:
    """The names of one camera in the settings of ORB-SLAM, stella_vslam, VINS or Basalt; None in other files."""
    prefix = next((name for name in ORB_PREFIXES if f"{name}.fx" in tree), None)
    if prefix is not None:
        parts = [(key.rpartition("."), value) for key, value in tree.items()]
        return {name: value for (before, _, name), value in parts if before in ("Camera", prefix)}
    if isinstance(tree.get("Camera"), dict):
        return dict(tree["Camera"])
    if "projection_parameters" in tree or "mirror_parameters" in tree:
        named = {**tree.get("distortion_parameters", {}), **tree.get("projection_parameters", {})}
        if "mu" in named:
            named = {KANNALA_BRANDT[name]: value for name, value in named.items() if name in KANNALA_BRANDT}
        sizes = {name: tree.get(f"image_{name}", 0) for name in ("width", "height")}
        return {**named, **sizes, "model": tree.get("model_type", "")}
    if isinstance(tree.get("value0"), dict):
        one = tree["value0"]["intrinsics"][camera]
        width, height = tree["value0"].get("resolution", [[0, 0]] * (camera + 1))[camera]
        return {**one["intrinsics"], "width": width, "height": height, "model": one["camera_type"]}
    return None


def _from_settings(values: Mapping[str, Any]) -> CameraCalibration:
    """A camera of `fx`, `fy`, `cx`, `cy`, coefficients by name, and perhaps its model and the size of its images."""
    kind = str(values.get("model", values.get("type", "")))
    names = KINDS.get("".join(filter(str.isalnum, kind.lower())))
    if names is None:
        raise GeometryError(f"its camera model is {kind}; only pinhole and fisheye are supported")
    fx, fy, cx, cy = (float(values[name]) for name in ("fx", "fy", "cx", "cy"))
    width, height = (int(values.get(name) or values.get(other) or 0) for name, other in IMAGE_SIZES)
    d = tuple(float(values.get(name, 0.0)) for name in names)
    pinhole = CameraCalibration.pinhole(width, height, (fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0))
    model = "equidistant" if names == FISHEYE_COEFFICIENTS else "plumb_bob"
    return CameraCalibration(width, height, model, d, pinhole.k, pinhole.r, pinhole.p)


def _numbers(value: Any) -> tuple[float, ...]:
    """The numbers of a matrix: `{data: […]}`, a list, a list of lists, or an array."""
    if isinstance(value, Mapping):
        value = value["data"]
    return tuple(float(number) for number in np.ravel(np.array(value, np.float64)))


def _value(node: Any) -> Any:
    """A node of OpenCV's FileStorage as values of Python and NumPy."""
    if node.isMap():
        names = node.keys()
        return node.mat() if "data" in names else {name: _value(node.getNode(name)) for name in names}
    if node.isSeq():
        return [_value(node.at(index)) for index in range(node.size())]
    return node.string() if node.isString() else node.real()
