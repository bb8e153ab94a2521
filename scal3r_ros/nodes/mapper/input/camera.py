"""Image messages to frames: decoding, calibration, rectification."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from scal3r_ros.errors import GeometryError, SequenceError
from scal3r_ros.io.calibration import CameraCalibration
from scal3r_ros.io.images.grey_range import GreyRange
from scal3r_ros.io.images.rectifier import Rectifier
from scal3r_ros.nodes.mapper.faults import FaultLog
from scal3r_ros.nodes.ros.images import image_to_rgb
from scal3r_ros.nodes.ros.messages import calibration_of
from scal3r_ros.reconstruction.protocol import Frame


@dataclass(frozen=True)
class ReceivedImage:
    """An image message, its stamp in nanoseconds, and when it came, in seconds of the monotonic clock."""

    message: Image | CompressedImage
    stamp_ns: int
    arrived_s: float


class CameraInput:
    """Makes frames of images. `calibrate` may be called on another thread than `frame`.

    The first image waits up to `camera_info_wait_s` for a calibration, so that a camera_info that comes just after its
    image is not missed. `frame_id` is the frame of the newest image, empty before the first. Images that are
    `already_rectified` stay as they are, and their camera is P of camera_info.
    """

    def __init__(self, camera_info_wait_s: float, faults: FaultLog, already_rectified: bool = False) -> None:
        self._wait_s = camera_info_wait_s
        self._faults = faults
        self._already_rectified = already_rectified
        self._grey_range = GreyRange()
        self._heard = threading.Event()
        self._waited = False
        self._calibration: CameraCalibration | None = None
        self._applied: CameraCalibration | None = None
        self._rectifier = Rectifier(None)
        self._count = 0
        self.frame_id = ""

    def calibrate(self, message: CameraInfo) -> None:
        """Takes the calibration for the images that follow."""
        self._calibration = calibration_of(message)
        self._heard.set()

    def frame(self, received: ReceivedImage) -> Frame:
        """The rectified frame of an image.

        Raises:
            ImageError: the image cannot be decoded, or is of another size than its calibration.
        """
        self._await_calibration(received.arrived_s)
        self._apply_calibration()
        self.frame_id = received.message.header.frame_id
        image = self._rectifier.rectify(image_to_rgb(received.message, self._grey_range))
        frame = Frame(self._count, received.stamp_ns, image, self._rectifier.intrinsics)
        self._count += 1
        return frame

    def restart(self) -> None:
        """Counts frames from 0 again."""
        self._count = 0

    def stop_waiting(self) -> None:
        """Ends the wait for a calibration, if there is one, now."""
        self._heard.set()

    def _await_calibration(self, arrived_s: float) -> None:
        if self._waited:
            return
        self._heard.wait(max(0.0, arrived_s + self._wait_s - time.monotonic()))
        self._waited = True
        if self._calibration is None:
            self._faults.report(
                "no camera_info",
                f"no camera_info came within {self._wait_s:g} s of the first image, so the camera is taken as "
                "uncalibrated; remap camera_info to the camera's own topic",
            )

    def _apply_calibration(self) -> None:
        calibration = self._calibration
        if calibration is None or calibration == self._applied:
            return
        self._applied = calibration
        if not calibration.is_calibrated:
            self._rectifier = Rectifier(None)
            self._faults.report(
                "camera_info of zeros",
                "camera_info is all zeros, as of an uncalibrated camera, and is not used; calibrate the camera",
            )
            return
        try:
            self._rectifier = Rectifier(calibration, self._already_rectified)
        except (GeometryError, SequenceError) as error:
            self._rectifier = Rectifier(None)
            self._faults.report("unusable camera_info", f"camera_info is not used: {error}")
