"""Calibrations as lines of numbers: KITTI's two forms, a matrix, COLMAP's, and the INI file of ROS camera calibration.

Each function raises ValueError, KeyError or IndexError where the text has another form.
"""

from __future__ import annotations

import re
from dataclasses import replace

from scal3r_ros.io.calibration.calibration import CameraCalibration
from scal3r_ros.io.calibration.colmap_camera import PARAMETERS, from_colmap

PUNCTUATION = str.maketrans(",;[]()", "      ")


def from_rows(text: str, width: int, height: int, camera: int) -> CameraCalibration:
    """A 3×3 matrix, KITTI's rows of 3×4 projections, with or without `P0:` before each, or one row.

    The row is a matrix, or `fx fy cx cy`, with `k1 k2 p1 p2` and `k3` after them or not.
    """
    labelled: dict[str, list[float]] = {}
    rows: list[list[float]] = []
    for line in text.splitlines():
        label, colon, numbers = line.rpartition(":")
        if not line.strip():
            continue
        row = [float(word) for word in numbers.translate(PUNCTUATION).split()] if not colon or label[:1] == "P" else []
        if colon:
            labelled[label.strip()] = row
        else:
            rows.append(row)
    if len(rows) == 3 and all(len(row) == 3 for row in rows):
        return CameraCalibration.pinhole(width, height, [*rows[0], *rows[1], *rows[2]])
    if len(rows) == 1 and len(rows[0]) == 9 and rows[0][6:] == [0, 0, 1]:
        return CameraCalibration.pinhole(width, height, rows[0])
    if len(rows) == 1 and len(rows[0]) in (4, 8, 9):
        fx, fy, cx, cy, *d = rows[0]
        return replace(CameraCalibration.pinhole(width, height, (fx, 0, cx, 0, fy, cy, 0, 0, 1)), d=tuple(d))
    p = labelled[f"P{camera}"] if labelled else rows[camera]
    if len(p) != 12:
        raise ValueError("a projection has twelve numbers")
    return CameraCalibration.pinhole(width, height, [*p[0:3], *p[4:7], *p[8:11]])


def from_kitti_raw(text: str, width: int, height: int, camera: int) -> CameraCalibration:
    """KITTI's `calib_cam_to_cam.txt`: the rectified camera, or the raw one where the images have its size."""
    values: dict[str, list[float]] = {}
    for line in text.splitlines():
        label, _, numbers = line.partition(":")
        try:
            values[label.strip()] = [float(word) for word in numbers.split()]
        except ValueError:
            continue  # the time of calibration
    number = f"{camera:02d}"
    p = values[f"P_rect_{number}"]
    rectified_width, rectified_height = (int(value) for value in values.get(f"S_rect_{number}", [width, height]))
    raw_size = tuple(int(value) for value in values.get(f"S_{number}", []))
    if (width, height) == raw_size != (rectified_width, rectified_height):
        k, d, r = values[f"K_{number}"], values[f"D_{number}"], values[f"R_rect_{number}"]
        return CameraCalibration(width, height, "plumb_bob", tuple(d), tuple(k), tuple(r), tuple(p))
    return CameraCalibration.pinhole(rectified_width, rectified_height, [*p[0:3], *p[4:7], *p[8:11]])


def is_colmap(text: str) -> bool:
    """Whether a text is COLMAP's `cameras.txt`, without its comments."""
    words = text.split()
    return len(words) > 1 and words[1] in PARAMETERS


def from_colmap_cameras(text: str, camera: int) -> CameraCalibration:
    """A camera of COLMAP's `cameras.txt`: `number model width height parameters…` a line."""
    _, model, width, height, *values = [line.split() for line in text.splitlines() if line.strip()][camera]
    return from_colmap(model, int(width), int(height), [float(value) for value in values])


def from_ost(text: str) -> CameraCalibration:
    """`ost.txt` of ROS camera calibration."""

    def numbers(title: str, count: int) -> tuple[float, ...]:
        found = re.search(rf"^{title}\s*\n((?:[^\n]*\d[^\n]*\n?)+)", text, re.MULTILINE)
        if found is None:
            raise ValueError(f"there is no {title}")
        values = tuple(float(word) for word in found[1].split())
        if count and len(values) != count:
            raise ValueError(f"{title} has {len(values)} numbers")
        return values

    width, height = (int(numbers(name, 1)[0]) for name in ("width", "height"))
    d = numbers("distortion", 0)
    model = "rational_polynomial" if len(d) >= 8 else "plumb_bob"
    k, r, p = numbers("camera matrix", 9), numbers("rectification", 9), numbers("projection", 12)
    return CameraCalibration(width, height, model, d, k, r, p)
