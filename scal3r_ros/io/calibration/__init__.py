"""Calibrated cameras: the values, the files they are read from, and what they do to images."""

from scal3r_ros.io.calibration.calibration import CameraCalibration
from scal3r_ros.io.calibration.files import read_calibration

__all__ = ["CameraCalibration", "read_calibration"]
