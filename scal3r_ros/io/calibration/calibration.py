"""The calibration of a camera as ROS describes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from scal3r_ros.errors import GeometryError

IDENTITY_R = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
WHOLE = (0, 0, 0, 0)


@dataclass(frozen=True)
class CameraCalibration:
    """The fields of sensor_msgs/CameraInfo: `k` and `r` are 3×3 and `p` is 3×4, row by row; lengths in pixels.

    `width` and `height` are those of the full sensor, 0 where a driver leaves them out. The images hold its region
    `roi` (x, y, width, height; zeros are the whole), `binning` pixels of which make one.
    """

    width: int
    height: int
    distortion_model: str
    d: tuple[float, ...]
    k: tuple[float, ...]
    r: tuple[float, ...]
    p: tuple[float, ...]
    binning: tuple[int, int] = (1, 1)
    roi: tuple[int, int, int, int] = WHOLE

    @classmethod
    def from_message(cls, message: Any) -> CameraCalibration:
        """The calibration of a sensor_msgs/CameraInfo, of rclpy or of rosbags."""
        roi = message.roi
        return cls(
            int(message.width),
            int(message.height),
            str(message.distortion_model),
            tuple(map(float, message.d)),
            tuple(map(float, message.k)),
            tuple(map(float, message.r)),
            tuple(map(float, message.p)),
            binning=(max(1, int(message.binning_x)), max(1, int(message.binning_y))),
            roi=(int(roi.x_offset), int(roi.y_offset), int(roi.width), int(roi.height)),
        )

    @property
    def is_calibrated(self) -> bool:
        """False for the zeros that a ROS driver sends while its camera has no calibration; P alone is one."""
        return self.k[0] != 0.0 or any(self.p[:1])

    @staticmethod
    def pinhole(width: int, height: int, k: Sequence[float]) -> CameraCalibration:
        """A camera without distortion; `k` are the nine entries of its matrix, row by row, in pixels."""
        p = (*k[0:3], 0.0, *k[3:6], 0.0, *k[6:9], 0.0)
        return CameraCalibration(width, height, "plumb_bob", (0.0,) * 5, tuple(k), IDENTITY_R, p)

    @property
    def image_size(self) -> tuple[int, int]:
        """Width and height of the images by region and binning; zeros where the sensor's size is not known."""
        _, _, width, height = self.roi
        return (width or self.width) // self.binning[0], (height or self.height) // self.binning[1]

    def for_images(self, width: int, height: int) -> CameraCalibration:
        """The calibration of images of `width` × `height` pixels, without region and binning.

        Images of the full size are taken as they are: some drivers name a binning that their calibration includes.

        Raises:
            GeometryError: the images have neither the sensor's size nor that of its region and binning.
        """
        plain = replace(self, width=width, height=height, binning=(1, 1), roi=WHOLE)
        is_cut = self.binning != (1, 1) or self.roi != WHOLE
        if (width, height) == (self.width, self.height):
            return plain
        if is_cut and self._is_cut_to(width, height):
            return replace(plain, k=self._cut(self.k, 3), p=self._cut(self.p, 4))
        if not self.width and not self.height:
            return plain
        cut = f" (region {self.roi[2:]}, binning {self.binning})" if is_cut else ""
        raise GeometryError(
            f"image has {width}×{height} pixels, but its calibration is for {self.width}×{self.height}{cut}; "
            "give the calibration of this camera at this size"
        )

    def _is_cut_to(self, width: int, height: int) -> bool:
        """Whether region and binning give that size; drivers round a last pixel that is not full up or down."""
        _, _, region_width, region_height = self.roi
        whole = (region_width or self.width, region_height or self.height)
        pairs = zip(whole, (width, height), self.binning, strict=True)
        return all(abs(full - pixels * binned) < binned for full, pixels, binned in pairs)

    def _cut(self, matrix: tuple[float, ...], columns: int) -> tuple[float, ...]:
        """K or P of the region, each of whose pixels is the mean of `binning` pixels."""
        rows = list(matrix)
        for row, (binned, offset) in enumerate(zip(self.binning, self.roi[:2], strict=True)):
            begin = row * columns
            centre = rows[begin + 2]
            rows[begin : begin + columns] = [value / binned for value in rows[begin : begin + columns]]
            if any(matrix):
                rows[begin + 2] = (centre - offset + 0.5) / binned - 0.5
        return tuple(rows)
