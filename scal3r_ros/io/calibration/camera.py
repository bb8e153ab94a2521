"""Cameras as sensor_msgs/CameraInfo describes them: lens, rectification, and the pinhole that remains. By OpenCV."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from scal3r_ros.errors import GeometryError
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.geometry.se3 import is_rotation
from scal3r_ros.io.calibration.calibration import CameraCalibration

Array = NDArray[np.float64]

PLUMB_BOB, RATIONAL, EQUIDISTANT, NONE = "plumb_bob", "rational_polynomial", "equidistant", "none"
COUNTS = {PLUMB_BOB: (4, 5), RATIONAL: (8, 12, 14), EQUIDISTANT: (4,), NONE: ()}
"""Numbers of coefficients each distortion model may come with, besides none at all; in OpenCV's order."""
ALIASES = {
    "": NONE,
    "pinhole": NONE,
    "perspective": NONE,
    "radtan": PLUMB_BOB,
    "radial_tangential": PLUMB_BOB,
    "brown_conrady": PLUMB_BOB,
    "modified_brown_conrady": PLUMB_BOB,
    "opencv": PLUMB_BOB,
    "rational": RATIONAL,
    "fisheye": EQUIDISTANT,
    "equi": EQUIDISTANT,
    "kb4": EQUIDISTANT,
    "kannala_brandt": EQUIDISTANT,
    "kannala_brandt4": EQUIDISTANT,
    "kannala_brandt8": EQUIDISTANT,
    "opencv_fisheye": EQUIDISTANT,
}
"""Other names of the models, in lower case with underscores, as drivers and calibration programs write them."""
SHORTEST_FOCAL = 0.05
"""Focal length as a share of the images' width: a shorter one sees more than any lens."""
FARTHEST_CENTRE = 1.5
"""Distance of the principal point from the centre, as a share of the images' size: parts of images are cut out."""


@dataclass(frozen=True)
class Lens:
    """A distortion model of `COUNTS` and its coefficients; none at all where the model is `none`."""

    model: str
    coefficients: tuple[float, ...]

    @property
    def is_none(self) -> bool:
        """Whether distorted and ideal points are the same; an equidistant lens bends even with zeros."""
        return self.model != EQUIDISTANT and not any(self.coefficients)


@dataclass(frozen=True, eq=False)
class CameraModel:
    """A calibrated camera: `raw` pinhole behind the `lens`, and the `rectified` pinhole without it.

    `R_rectified_raw` (3, 3) turns rays of the raw camera into those of the rectified one (CameraInfo's R).
    """

    raw: Intrinsics
    lens: Lens
    R_rectified_raw: Array
    rectified: Intrinsics

    @classmethod
    def of(cls, calibration: CameraCalibration) -> CameraModel:
        """The camera of a calibration whose images have its full size.

        Where `p` holds no focal length the rectified image keeps `k`; an `r` of zeros means no rotation. The stereo
        baseline in `p` does not concern a single camera.

        Raises:
            GeometryError: the size, K, R, P or the distortion cannot be those of a calibrated camera.
        """
        width, height = calibration.width, calibration.height
        if width <= 0 or height <= 0:
            raise GeometryError(f"CameraInfo has an image size of {width} × {height}; publish the camera's real size")
        K = _matrix("K", calibration.k, (3, 3))
        P = _matrix("P", calibration.p, (3, 4)) if len(calibration.p) else np.zeros((3, 4))
        lens = lens_of(calibration.distortion_model, calibration.d)
        if not K.any() and P[0, 0] > 0:
            if not lens.is_none:
                raise GeometryError("CameraInfo has distortion coefficients and P, but no K, which they belong to")
            K = P[:, :3]  # of images that are rectified already
        if min(K[0, 0], K[1, 1]) <= 0 or not K[0, 2] or not K[1, 2]:
            raise GeometryError(
                "CameraInfo's K has a zero or negative focal length or no principal point, as if the camera were "
                "uncalibrated; calibrate it, or map without CameraInfo"
            )
        R = _matrix("R", calibration.r, (3, 3)) if len(calibration.r) else np.zeros((3, 3))
        if not R.any():
            R = np.eye(3)
        if not is_rotation(R, tolerance=1e-3):
            raise GeometryError("CameraInfo's R is no rotation matrix; calibrate again, or publish the identity")
        return cls(
            raw=_intrinsics(K, width, height),
            lens=lens,
            R_rectified_raw=R,
            rectified=_intrinsics(P[:, :3] if P[0, 0] > 0 and P[1, 1] > 0 else K, width, height),
        )

    @property
    def is_rectified(self) -> bool:
        """Whether its images are rectified as they come, so that remapping them would change nothing."""
        unturned = bool(np.allclose(self.R_rectified_raw, np.eye(3), rtol=0, atol=1e-9))
        return self.lens.is_none and unturned and self.raw == self.rectified

    def rectification_maps(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Raw x and y pixel (h, w) float32 of each pixel of the rectified image, as `cv2.remap` takes them.

        Pixels whose ray lies behind the raw camera map to (-1, -1), outside every image.
        """
        camera, R = self.rectified, self.R_rectified_raw
        size = (camera.width, camera.height)
        coefficients = np.array(self.lens.coefficients or (0.0,) * 4, np.float64)
        make = cv2.fisheye.initUndistortRectifyMap if self.lens.model == EQUIDISTANT else cv2.initUndistortRectifyMap
        maps = make(self.raw.K, coefficients, R, camera.K, size, cv2.CV_32FC1)
        u, v = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
        # The z of each pixel's ray in the raw camera: OpenCV projects what lies behind it, too.
        z = (u - camera.cx) / camera.fx * R[0, 2] + (v - camera.cy) / camera.fy * R[1, 2] + R[2, 2]
        map_x, map_y = (np.where(z > 0, values, -1.0).astype(np.float32) for values in maps)
        return map_x, map_y

    def scaled_to(self, width: int, height: int) -> CameraModel:
        """The same camera for images resized (not cropped) to `width` × `height` pixels.

        Raises:
            GeometryError: the aspect ratio differs by more than rounding to whole pixels explains.
        """
        expected_height = self.raw.height * width / self.raw.width
        expected_width = self.raw.width * height / self.raw.height
        if width <= 0 or height <= 0 or (abs(height - expected_height) > 1 and abs(width - expected_width) > 1):
            raise GeometryError(
                f"images are {width} × {height} but CameraInfo is for {self.raw.width} × {self.raw.height}, "
                "which is another aspect ratio; publish the CameraInfo of these images"
            )
        return replace(self, raw=self.raw.scaled(width, height), rectified=self.rectified.scaled(width, height))


def check_plausible(camera: Intrinsics) -> None:
    """Whether a camera could have taken its images.

    Raises:
        GeometryError: no lens is so short, or the principal point is far outside of the images.
    """
    x, y = camera.cx / camera.width - 0.5, camera.cy / camera.height - 0.5
    if min(camera.fx, camera.fy) < SHORTEST_FOCAL * camera.width or max(abs(x), abs(y)) > FARTHEST_CENTRE:
        raise GeometryError(
            f"CameraInfo has focal lengths of {camera.fx:g} and {camera.fy:g} pixels and its principal point at "
            f"({camera.cx:g}, {camera.cy:g}), which no camera of {camera.width}×{camera.height} pixels has; calibrate "
            "again, at this size"
        )


def lens_of(model: str, d: Sequence[float]) -> Lens:
    """The lens of a CameraInfo's `distortion_model` and `d`; zeros beyond what the model takes are passed over.

    Between plumb_bob and rational_polynomial their number decides, as in image_geometry: OpenCV's order is the same.

    Raises:
        GeometryError: the model is unknown, the number of coefficients is not the model's, or one is not finite.
    """
    coefficients = tuple(float(value) for value in d)
    word = model.strip().lower().replace("-", "_").replace(" ", "_")
    name = ALIASES.get(word, word)
    if name == "inverse_brown_conrady" and not any(coefficients):
        name = NONE  # RealSense names it so for images that have no distortion left
    if name not in COUNTS:
        known = ", ".join(COUNTS)
        raise GeometryError(f"CameraInfo has the distortion model '{model}', but only {known} are supported")
    if not np.all(np.isfinite(coefficients)):
        raise GeometryError(f"CameraInfo's distortion coefficients {coefficients} are not all finite; calibrate again")
    if name == NONE and any(coefficients):
        raise GeometryError(
            "CameraInfo has distortion coefficients but names no distortion model; set distortion_model"
        )
    if name == NONE or not coefficients:
        return Lens(NONE, ())
    counts = COUNTS[name]
    if len(coefficients) > counts[-1] and not any(coefficients[counts[-1] :]):
        coefficients = coefficients[: counts[-1]]
    by_number = [model for model in (PLUMB_BOB, RATIONAL) if len(coefficients) in COUNTS[model]]
    if name in (PLUMB_BOB, RATIONAL) and by_number:
        return Lens(by_number[0], coefficients)
    if len(coefficients) not in counts:
        expected = " or ".join(str(count) for count in counts)
        raise GeometryError(
            f"CameraInfo has {len(coefficients)} distortion coefficients, but the model {name} takes {expected}"
        )
    return Lens(name, coefficients)


def _matrix(name: str, values: Sequence[float], shape: tuple[int, int]) -> Array:
    matrix = np.asarray(values, np.float64)
    if matrix.size != shape[0] * shape[1]:
        raise GeometryError(f"CameraInfo's {name} has {matrix.size} numbers, but must have {shape[0] * shape[1]}")
    if not np.all(np.isfinite(matrix)):
        raise GeometryError(f"CameraInfo's {name} holds NaN or infinity; calibrate the camera again")
    return matrix.reshape(shape)


def _intrinsics(K: Array, width: int, height: int) -> Intrinsics:
    return Intrinsics(float(K[0, 0]), float(K[1, 1]), float(K[0, 2]), float(K[1, 2]), int(width), int(height))
