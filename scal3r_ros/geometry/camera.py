"""Cameras as sensor_msgs/CameraInfo describes them: lens distortion, rectification, and the pinhole that remains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scal3r_ros.errors import GeometryError
from scal3r_ros.geometry.distortion import Distortion, distortion_from_camera_info
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.geometry.se3 import is_rotation

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class CameraModel:
    """A calibrated camera: `raw` pinhole behind the lens, `distortion`, and the `rectified` pinhole without it.

    `R_rectified_raw` (3, 3) turns rays of the raw camera into those of the rectified one (CameraInfo's R).
    """

    raw: Intrinsics
    distortion: Distortion
    R_rectified_raw: Array
    rectified: Intrinsics

    @classmethod
    def from_camera_info(
        cls,
        width: int,
        height: int,
        distortion_model: str,
        d: Sequence[float],
        k: Sequence[float],
        r: Sequence[float],
        p: Sequence[float],
    ) -> CameraModel:
        """The camera of the fields of a CameraInfo: `k` and `r` of 9 numbers, `p` of 12, row by row.

        Where `p` holds no focal length the rectified image keeps `k`; an `r` of zeros means no rotation. The stereo
        baseline in `p` does not concern a single camera.

        Raises:
            GeometryError: the size, K, R, P or the distortion can not be those of a calibrated camera.
        """
        if width <= 0 or height <= 0:
            raise GeometryError(f"CameraInfo has an image size of {width} × {height}; publish the camera's real size")
        K = _matrix("K", k, (3, 3))
        if min(K[0, 0], K[1, 1]) <= 0 or not K[0, 2] or not K[1, 2]:
            raise GeometryError(
                "CameraInfo's K has a zero or negative focal length or no principal point, as if the camera were "
                "uncalibrated; calibrate it, or map without CameraInfo"
            )
        R = _matrix("R", r, (3, 3)) if len(r) else np.zeros((3, 3))
        if not R.any():
            R = np.eye(3)
        if not is_rotation(R, tolerance=1e-3):
            raise GeometryError("CameraInfo's R is no rotation matrix; calibrate again, or publish the identity")
        P = _matrix("P", p, (3, 4)) if len(p) else np.zeros((3, 4))
        new_K = P[:, :3] if P[0, 0] > 0 and P[1, 1] > 0 else K
        return cls(
            raw=_intrinsics(K, width, height),
            distortion=distortion_from_camera_info(distortion_model, d),
            R_rectified_raw=R,
            rectified=_intrinsics(new_K, width, height),
        )

    @property
    def is_rectified(self) -> bool:
        """Whether its images are rectified as they come, so that remapping them would change nothing."""
        unturned = bool(np.allclose(self.R_rectified_raw, np.eye(3), rtol=0, atol=1e-9))
        return self.distortion.is_none and unturned and self.raw == self.rectified

    def distort(self, xy_normalised: ArrayLike) -> Array:
        """Where ideal points (..., 2) of the raw camera's plane z = 1 land through the lens, on the same plane."""
        return self.distortion.distort(np.asarray(xy_normalised, np.float64))

    def undistort(self, xy_distorted: ArrayLike) -> Array:
        """Ideal points (..., 2) of distorted ones: inverse of `distort`, by iteration; NaN where there is none."""
        return self.distortion.undistort(np.asarray(xy_distorted, np.float64))

    def rectification_maps(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Raw x and y pixel (h, w) float32 of each pixel of the rectified image, as `cv2.remap` takes them.

        Pixels whose ray lies behind the raw camera map to (-1, -1), outside every image.
        """
        camera = self.rectified
        u, v = np.meshgrid(np.arange(camera.width, dtype=np.float64), np.arange(camera.height, dtype=np.float64))
        rays = np.stack([(u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy, np.ones_like(u)], axis=-1)
        rays = rays @ self.R_rectified_raw  # the inverse rotation, on row vectors
        visible = rays[..., 2] > 0
        xy = self.distortion.distort(rays[..., :2] / np.where(visible, rays[..., 2], 1.0)[..., None])
        map_x = np.where(visible, self.raw.fx * xy[..., 0] + self.raw.cx, -1.0)
        map_y = np.where(visible, self.raw.fy * xy[..., 1] + self.raw.cy, -1.0)
        return map_x.astype(np.float32), map_y.astype(np.float32)

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


def _matrix(name: str, values: Sequence[float], shape: tuple[int, int]) -> Array:
    matrix = np.asarray(values, np.float64)
    if matrix.size != shape[0] * shape[1]:
        raise GeometryError(f"CameraInfo's {name} has {matrix.size} numbers, but must have {shape[0] * shape[1]}")
    if not np.all(np.isfinite(matrix)):
        raise GeometryError(f"CameraInfo's {name} holds NaN or infinity; calibrate the camera again")
    return matrix.reshape(shape)


def _intrinsics(K: Array, width: int, height: int) -> Intrinsics:
    return Intrinsics(float(K[0, 0]), float(K[1, 1]), float(K[0, 2]), float(K[1, 2]), int(width), int(height))
