"""Reads calibration files in whichever of the usual forms they come."""

from __future__ import annotations

import logging
import math
import re
from dataclasses import replace
from pathlib import Path

from scal3r_ros.errors import GeometryError, SequenceError
from scal3r_ros.io.calibration.calibration import CameraCalibration
from scal3r_ros.io.calibration.camera import lens_of
from scal3r_ros.io.calibration.text_forms import from_colmap_cameras, from_kitti_raw, from_ost, from_rows, is_colmap
from scal3r_ros.io.calibration.tree_forms import from_tree, read_tree

logger = logging.getLogger(__name__)

FARTHEST_CENTRE = 0.3
"""Distance of the principal point from the centre, as a share of the images' size, beyond which a warning is due."""
NEAR_CENTRE = 0.05
"""Within this distance it is in the middle; one in the middle of the turned images belongs to those."""
FORMS = (
    "KITTI's calib.txt or calib_cam_to_cam.txt, a 3×3 matrix, a row `fx fy cx cy`, a CameraInfo, the YAML or ost.txt "
    "of ROS camera calibration, YAML, XML or JSON with a camera matrix or with fx, fy, cx and cy, Kalibr's "
    "camchain.yaml, EuRoC's sensor.yaml, COLMAP's cameras.txt, settings of ORB-SLAM, stella_vslam, VINS or Basalt"
)


def read_calibration(path: Path, width: int, height: int, camera: int = 0) -> CameraCalibration:
    """The calibration of a camera of `width` × `height` pixels from whichever of the forms in `FORMS` `path` has.

    `camera` is the one taken from a file that has several.

    Raises:
        SequenceError: the file is missing, has none of these forms, is for another image size, or has no focal length.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise SequenceError(f"calibration file {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SequenceError(f"calibration file {path} is no text file") from error
    try:
        calibration = _parse(text, width, height, camera)
        lens_of(calibration.distortion_model, calibration.d)
    except GeometryError as error:
        raise SequenceError(f"calibration file {path} cannot be used: {error}") from error
    except (ValueError, TypeError, KeyError, IndexError, AttributeError):
        raise SequenceError(f"calibration file {path} has none of the known forms: {FORMS}") from None
    if not calibration.width and not calibration.height:
        calibration = replace(calibration, width=width, height=height)
    if calibration.image_size == (width, height):
        calibration = calibration.for_images(width, height)
    if (calibration.width, calibration.height) != (width, height):
        raise SequenceError(
            f"calibration file {path} is for images of {calibration.width}×{calibration.height} pixels, "
            f"but these have {width}×{height}; calibrate at that size or resize the images"
        )
    numbers = (*calibration.k, *calibration.d, *calibration.r, *calibration.p)
    if not all(map(math.isfinite, numbers)) or calibration.k[0] <= 0 or calibration.k[4] <= 0:
        raise SequenceError(f"calibration file {path} has no positive, finite focal lengths")
    x, y = calibration.k[2] / width, calibration.k[5] / height
    if not (0 < x < 1 and 0 < y < 1):
        raise SequenceError(
            f"calibration file {path} has its principal point ({calibration.k[2]:g}, {calibration.k[5]:g}) outside of "
            f"the {width}×{height} pixels of the images; is it for images of another size?"
        )
    turned = max(abs(calibration.k[2] / height - 0.5), abs(calibration.k[5] / width - 0.5))
    if turned < NEAR_CENTRE < 2 * NEAR_CENTRE < max(abs(x - 0.5), abs(y - 0.5)):
        raise SequenceError(
            f"calibration file {path} has its principal point at ({calibration.k[2]:g}, {calibration.k[5]:g}), as for "
            f"images of {height}×{width} pixels, but these have {width}×{height}; turn either of them"
        )
    if max(abs(x - 0.5), abs(y - 0.5)) > FARTHEST_CENTRE:
        logger.warning(
            "calibration file %s has its principal point at (%g, %g), far from the centre of images of %d×%d pixels; "
            "where they were resized, so must be the calibration",
            path, calibration.k[2], calibration.k[5], width, height,
        )  # fmt: skip
    return calibration


def _parse(text: str, width: int, height: int, camera: int) -> CameraCalibration:
    """Raises one of the errors of a value that is missing or of another kind where the text has another form."""
    if "S_rect_" in text or "P_rect_" in text:
        return from_kitti_raw(text, width, height, camera)
    if text.lstrip().startswith("# oST"):
        return from_ost(text)
    is_xml = text.lstrip().startswith("<?xml")
    rows = "\n".join(line.partition("#")[0] for line in text.splitlines())
    if is_colmap(rows):
        return from_colmap_cameras(rows, camera)
    if not is_xml and (":" not in rows or re.search(r"^P\d*:", rows, re.MULTILINE)):
        return from_rows(rows, width, height, camera)
    return from_tree(read_tree(text), camera)
