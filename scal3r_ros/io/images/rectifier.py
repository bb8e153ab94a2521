"""Removes lens distortion from the images of one camera."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from scal3r_ros.errors import GeometryError
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.io.calibration.calibration import CameraCalibration
from scal3r_ros.io.calibration.camera import CameraModel, check_plausible
from scal3r_ros.io.images.decoding import ImageError

UNKNOWN_SIZE = 1 << 16
"""Stands for the size of a sensor that a driver leaves at 0, until the first image."""
LEAST_SEEN = 0.1
"""Share of a rectified image that the lens has to see; less is left by coefficients that are no lens."""


def first_usable(calibrations: Iterable[CameraCalibration]) -> CameraCalibration | None:
    """The first that images can be rectified by: some drivers send zeros, or worse, until theirs is loaded.

    Where there is none, the first that is not all zeros: what is wrong with it is said when it is used.
    """
    unusable = None
    for calibration in calibrations:
        if not calibration.is_calibrated:
            continue
        try:
            Rectifier(calibration)
        except GeometryError:
            unusable = unusable or calibration
        else:
            return calibration
    return unusable


class Rectifier:
    """Removes the lens distortion of one camera; without a calibration it leaves images as they are.

    `already_rectified`: the images have none left, as on the topic `image_rect` of image_proc: then the
    camera is that of the calibration's P, and images stay as they are.

    Raises:
        GeometryError: the calibration cannot be used (an unknown distortion model, for example).
    """

    def __init__(self, calibration: CameraCalibration | None, already_rectified: bool = False) -> None:
        self._calibration = calibration if calibration is not None and calibration.is_calibrated else None
        self._already_rectified = already_rectified
        self._size: tuple[int, int] | None = None
        self._maps: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None
        self._intrinsics: Intrinsics | None = None
        if self._calibration is not None:
            width, height = self._calibration.width, self._calibration.height
            checked = replace(self._calibration, width=width or UNKNOWN_SIZE, height=height or UNKNOWN_SIZE)
            CameraModel.of(checked)
            if width and height:
                self._prepare(self._calibration, self._calibration.image_size)

    @property
    def intrinsics(self) -> Intrinsics | None:
        """Pinhole camera of the rectified images; None where the camera is not calibrated, or no size is known yet."""
        return self._intrinsics

    def rectify(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The image (h, w, 3) without lens distortion; pixels whose ray the lens did not see are black.

        Raises:
            ImageError: the image has another size than its calibration.
        """
        if self._calibration is None:
            return image
        height, width = image.shape[:2]
        if (width, height) != self._size:
            try:
                self._prepare(self._calibration, (width, height))
            except GeometryError as error:
                raise ImageError("calibration of another size", str(error)) from error
        if self._maps is None:
            return image
        return cv2.remap(image, *self._maps, cv2.INTER_LINEAR).astype(np.uint8, copy=False)

    def _prepare(self, calibration: CameraCalibration, size: tuple[int, int]) -> None:
        model = CameraModel.of(calibration.for_images(*size))
        maps = None if self._already_rectified or model.is_rectified else model.rectification_maps()
        for camera in (model.raw, model.rectified):
            check_plausible(camera)
        if maps is not None and _share_inside(*maps) < LEAST_SEEN:
            raise GeometryError(
                f"CameraInfo's distortion coefficients {model.lens.coefficients} leave nothing of the images to see; "
                "calibrate again"
            )
        self._size, self._maps, self._intrinsics = size, maps, model.rectified


def _share_inside(map_x: NDArray[np.float32], map_y: NDArray[np.float32]) -> float:
    """Share of the rectified pixels that have one in the raw image, which is of the same size."""
    height, width = map_x.shape
    inside = (map_x >= 0) & (map_x <= width - 1) & (map_y >= 0) & (map_y <= height - 1)
    return float(inside.mean())
