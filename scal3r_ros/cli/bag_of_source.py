"""Makes a rosbag2 of any source of images, for the player."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.errors import SequenceError
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.io.bags.writer import BagWriter
from scal3r_ros.io.calibration import CameraCalibration
from scal3r_ros.io.sources import SourceOptions, open_source

ASSUMED_FOV_DEG = 70.0
"""Horizontal field of view of a camera that nothing is known of: that of a usual lens."""


def write_bag_of(source: Path, options: SourceOptions, out: Path) -> None:
    """Writes the rectified images of a source, their camera and, where they are known, true poses.

    Raises:
        SequenceError: the source cannot be read or holds no readable image, or the bag cannot be written.
        GeometryError: the calibration cannot be used.
    """
    with closing(open_source(source, options)) as images, BagWriter(out) as writer:
        poses = _by_stamp(images.ground_truth())
        written = 0
        for frame in options.select(images.frames()):
            if frame.intrinsics is not None:
                camera = frame.intrinsics
                calibration = CameraCalibration.pinhole(camera.width, camera.height, camera.K.ravel().tolist())
                writer.write_camera_info(frame.stamp_ns, calibration)
            writer.write_image(frame.stamp_ns, frame.image)
            if frame.stamp_ns in poses:
                writer.write_pose(frame.stamp_ns, poses[frame.stamp_ns])
            written += 1
        if not written:
            raise SequenceError(f"{source} holds no image that can be read")


def _by_stamp(truth: Trajectory | None) -> dict[int, NDArray[np.float64]]:
    return {} if truth is None else dict(zip(truth.stamps_ns.tolist(), truth.T_ref_cam, strict=True))
