"""The calibration of a camera as ROS describes it, and the files it is read from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from scal3r_ros.errors import SequenceError

IDENTITY_R = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


@dataclass(frozen=True)
class CameraCalibration:
    """The fields of sensor_msgs/CameraInfo: `k` and `r` are 3×3 and `p` is 3×4, row by row; lengths in pixels."""

    width: int
    height: int
    distortion_model: str
    d: tuple[float, ...]
    k: tuple[float, ...]
    r: tuple[float, ...]
    p: tuple[float, ...]

    @property
    def is_calibrated(self) -> bool:
        """False for the zeros that a ROS driver sends while its camera has no calibration."""
        return self.k[0] != 0.0

    @staticmethod
    def pinhole(width: int, height: int, k: Sequence[float]) -> CameraCalibration:
        """A camera without distortion; `k` are the nine entries of its matrix, row by row, in pixels."""
        p = (*k[0:3], 0.0, *k[3:6], 0.0, *k[6:9], 0.0)
        return CameraCalibration(width, height, "plumb_bob", (0.0,) * 5, tuple(k), IDENTITY_R, p)


def read_calibration(path: Path, width: int, height: int) -> CameraCalibration:
    """The calibration of a camera of `width` × `height` pixels from whichever of the known forms `path` has.

    Known are KITTI's `calib.txt` (12 numbers a line, with or without `P0:`; camera 0 is taken), a 3×3 matrix as text,
    and the YAML of ROS camera calibration (`camera_matrix`, `distortion_coefficients`, …).

    Raises:
        SequenceError: the file is missing, has none of these forms, is for another image size, or has no focal length.
    """
    try:
        text = path.read_text()
    except OSError as error:
        raise SequenceError(f"calibration file {path} can not be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SequenceError(f"calibration file {path} is no text file") from error
    if "camera_matrix" in text:
        calibration = _from_ros_yaml(path, text)
    else:
        calibration = _from_matrix_text(path, text, width, height)
    if (calibration.width, calibration.height) != (width, height):
        raise SequenceError(
            f"calibration file {path} is for images of {calibration.width}×{calibration.height} pixels, "
            f"but these have {width}×{height}; calibrate at that size or resize the images"
        )
    numbers = (*calibration.k, *calibration.d, *calibration.r, *calibration.p)
    if not all(map(math.isfinite, numbers)) or calibration.k[0] <= 0 or calibration.k[4] <= 0:
        raise SequenceError(f"calibration file {path} has no positive, finite focal lengths")
    return calibration


def _from_matrix_text(path: Path, text: str, width: int, height: int) -> CameraCalibration:
    rows: list[list[float]] = []
    for line in text.splitlines():
        label, colon, numbers = line.rpartition(":")
        if not line.strip() or (colon and rows and label.strip() not in ("P0", "P_rect_00")):
            continue
        try:
            rows.append([float(word) for word in numbers.replace(",", " ").split()])
        except ValueError:
            raise _unknown_form(path) from None
    if len(rows) == 3 and all(len(row) == 3 for row in rows):
        return CameraCalibration.pinhole(width, height, [*rows[0], *rows[1], *rows[2]])
    if rows and len(rows[0]) == 9:
        return CameraCalibration.pinhole(width, height, rows[0])
    if rows and len(rows[0]) == 12:
        p = rows[0]
        return CameraCalibration.pinhole(width, height, [*p[0:3], *p[4:7], *p[8:11]])
    raise _unknown_form(path)


def _from_ros_yaml(path: Path, text: str) -> CameraCalibration:
    try:
        content = yaml.safe_load(text)
        k = tuple(float(value) for value in content["camera_matrix"]["data"])
        d = tuple(float(value) for value in content.get("distortion_coefficients", {}).get("data", ()))
        r = tuple(float(value) for value in content.get("rectification_matrix", {}).get("data", IDENTITY_R))
        p = tuple(float(value) for value in content.get("projection_matrix", {}).get("data", ()))
        width, height = int(content["image_width"]), int(content["image_height"])
        model = str(content.get("distortion_model", "plumb_bob"))
    except (yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError):
        raise _unknown_form(path) from None
    if not p:
        p = CameraCalibration.pinhole(width, height, k).p
    if (len(k), len(r), len(p)) != (9, 9, 12):
        raise _unknown_form(path)
    return CameraCalibration(width, height, model, d, k, r, p)


def _unknown_form(path: Path) -> SequenceError:
    return SequenceError(
        f"calibration file {path} is neither a KITTI calib.txt (12 numbers a line), nor a 3×3 matrix, nor a ROS camera "
        "calibration YAML; write one of these"
    )
