"""Cameras as COLMAP describes them: a model, the size of the images, and the model's parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from scal3r_ros.errors import GeometryError
from scal3r_ros.io.calibration.calibration import CameraCalibration

PARAMETERS = {"SIMPLE_PINHOLE": 3, "PINHOLE": 4, "SIMPLE_RADIAL": 4, "RADIAL": 5, "OPENCV": 8, "OPENCV_FISHEYE": 8,
              "FULL_OPENCV": 12}  # fmt: skip
"""Models by their number in binary files, with how many parameters each has."""
ONE_FOCAL = ("SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL")
LENSES = {"SIMPLE_RADIAL": "plumb_bob", "RADIAL": "plumb_bob", "OPENCV": "plumb_bob", "OPENCV_FISHEYE": "equidistant",
          "FULL_OPENCV": "rational_polynomial"}  # fmt: skip
PLUMB_BOB_COUNT = 5


def from_colmap(model: str, width: int, height: int, values: Sequence[float]) -> CameraCalibration:
    """COLMAP's pixels have their corners, not their centres, at whole numbers.

    Raises:
        GeometryError: the model is none of `PARAMETERS`, or has another number of parameters.
    """
    if PARAMETERS.get(model) != len(values):
        raise GeometryError(
            f"it has a camera of model {model} with {len(values)} parameters; use one of {', '.join(PARAMETERS)}"
        )
    fx, fy, cx, cy, *d = (values[0], *values) if model in ONE_FOCAL else values
    pinhole = CameraCalibration.pinhole(width, height, [fx, 0, cx - 0.5, 0, fy, cy - 0.5, 0, 0, 1])
    if model not in LENSES:
        return pinhole
    lens = LENSES[model]
    if lens == "plumb_bob":
        d = [*d, *[0.0] * (PLUMB_BOB_COUNT - len(d))]
    return replace(pinhole, distortion_model=lens, d=tuple(d))
