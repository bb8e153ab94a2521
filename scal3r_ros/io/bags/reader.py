"""Reads the frames of one camera, and the ground truth beside them, from a rosbag2."""

from __future__ import annotations

import logging
import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.errors import SequenceError
from scal3r_ros.geometry.se3 import rotation_from_quat_xyzw, se3
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.io.bags.file import BagFile
from scal3r_ros.io.bags.messages import RawMessage
from scal3r_ros.io.bags.topics import (
    COMPRESSED_TYPE,
    IMAGE_TYPE,
    TRUE_DEPTH_TOPIC,
    TRUE_POSE_TOPIC,
    TopicSummary,
    choose_camera_info_topic,
    choose_image_topic,
    is_rectified_topic,
    typestore,
)
from scal3r_ros.io.calibration import CameraCalibration, read_calibration
from scal3r_ros.io.images.decoding import ImageError, decode_compressed_image, decode_image_message
from scal3r_ros.io.images.grey_range import GreyRange
from scal3r_ros.io.images.rectifier import Rectifier, first_usable
from scal3r_ros.mapping.values import SensorSample
from scal3r_ros.reconstruction.protocol import Frame

logger = logging.getLogger(__name__)

IMAGES_WITHOUT_STAMP = 8
"""So many zero stamps at the beginning mean a driver that sets none; fewer are single faults, or simulated time."""
CDR_STAMP_END = 12


class BagReader:
    """The camera of a bag. Topics are found by their type where they are not given.

    `image_topic` and `camera_info_topic` (None: uncalibrated) are the ones read; `calib` is a calibration file to use
    in place of a camera_info. `rectified`: whether the images are rectified already; None goes by the topic's name.
    `dropped` counts frames that could not be decoded by kind of fault, each of which is logged once.

    Raises:
        SequenceError: the bag is missing, empty or unreadable, has no image topic, or several to choose from.
    """

    def __init__(
        self,
        path: Path,
        image_topic: str | None = None,
        camera_info_topic: str | None = None,
        calib: Path | None = None,
        rectified: bool | None = None,
    ) -> None:
        self._bag = BagFile(path)
        self._grey_range = GreyRange()
        try:
            self.image_topic = choose_image_topic(self._bag.path, self._bag.topics, image_topic, self._encoding_of)
            self.camera_info_topic = None
            if calib is None:
                self.camera_info_topic = choose_camera_info_topic(
                    self._bag.path, self._bag.topics, camera_info_topic, self.image_topic
                )
            self._header_stamps = self._has_header_stamps()
            self.calibration = self._first_calibration() if calib is None else self._calibration_of(calib)
        except SequenceError:
            self._bag.close()
            raise
        self.rectified = is_rectified_topic(self.image_topic) if rectified is None else rectified
        self.dropped: Counter[str] = Counter()

    def __enter__(self) -> BagReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the bag."""
        self._bag.close()

    @property
    def damage(self) -> str | None:
        """Where the bag is damaged or cut off, in one sentence; None where nothing of it was seen so far."""
        return self._bag.damage

    @property
    def topics(self) -> tuple[TopicSummary, ...]:
        """Every topic of the bag."""
        return self._bag.topics

    @property
    def image_count(self) -> int:
        """Image messages on `image_topic`, decodable or not."""
        return sum(topic.count for topic in self._bag.topics if topic.name == self.image_topic)

    @property
    def duration_s(self) -> float:
        """Seconds from the first to the last message of the bag."""
        return self._bag.duration_ns / 1e9

    @property
    def camera_frame(self) -> str:
        """Frame of the first image; empty where its header names none."""
        for raw in self._bag.messages([self.image_topic]):
            with suppress(SequenceError):
                return str(_deserialize(raw).header.frame_id)
        return ""

    def frames(self) -> Iterator[Frame]:
        """The rectified RGB frames in order of recording; what cannot be decoded is counted in `dropped`.

        Stamps are those of the headers, or, where a driver leaves them all at zero, the times of recording.

        Raises:
            GeometryError: the camera's calibration cannot be used.
        """
        rectifier = Rectifier(self.calibration, self.rectified)
        self._grey_range = GreyRange()
        if self.rectified and self.calibration is not None:
            logger.info("images on %s are taken as rectified: their camera is P of camera_info", self.image_topic)
        index = 0
        for raw in self._bag.messages([self.image_topic]):
            try:
                stamp_ns, image = self._decode(raw)
                image = rectifier.rectify(image)
            except ImageError as error:
                if not self.dropped[error.reason]:
                    logger.warning("frame dropped: %s", error)
                self.dropped[error.reason] += 1
                continue
            yield Frame(index, stamp_ns, image, rectifier.intrinsics)
            index += 1

    def ground_truth(self, topic: str = TRUE_POSE_TOPIC) -> Trajectory | None:
        """The true camera poses (PoseStamped) in their own frame, by stamp; None where the bag has none."""
        poses, unusable = {}, 0
        for raw in self._bag.messages([topic]):
            if raw.kind == "geometry_msgs/msg/PoseStamped":
                try:
                    message = _deserialize(raw)
                    poses[self._stamp_ns(message, raw)] = _matrix(message.pose)
                except (SequenceError, ValueError):  # cut off, or a rotation of zeros
                    unusable += 1
        if unusable:
            logger.warning("%d true poses on %s are left out: cut off, or without a rotation", unusable, topic)
        if not poses:
            return None
        stamps = sorted(poses)
        return Trajectory(np.array(stamps, np.int64), np.stack([poses[stamp] for stamp in stamps]))

    def samples(self) -> Sequence[SensorSample]:
        """None: `SensorReader` reads other sensors' topics."""
        return ()

    def depth_frames(self, topic: str = TRUE_DEPTH_TOPIC) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Stamps in ns and true z-depth (h, w) in metres, 0 where unknown, of 32FC1 (m) or 16UC1 (mm) images."""
        for raw in self._bag.messages([topic]):
            if raw.kind == IMAGE_TYPE:
                message = _deserialize(raw)
                yield self._stamp_ns(message, raw), _depth_m(message, topic)

    def _encoding_of(self, topic: str) -> str:
        """How the first image on a topic is encoded; empty where it cannot be read."""
        for raw in self._bag.messages([topic]):
            with suppress(SequenceError):
                message = _deserialize(raw)
                return str(message.format if raw.kind == COMPRESSED_TYPE else message.encoding)
        return ""

    def _first_calibration(self) -> CameraCalibration | None:
        if self.camera_info_topic is None:
            return None
        found = first_usable(self._calibrations(self.camera_info_topic))
        if found is None:
            logger.warning("camera_info on %s is all zeros: the camera is not calibrated", self.camera_info_topic)
        return found

    def _calibrations(self, topic: str) -> Iterator[CameraCalibration]:
        for raw in self._bag.messages([topic]):
            with suppress(SequenceError):
                yield CameraCalibration.from_message(_deserialize(raw))

    def _calibration_of(self, file: Path) -> CameraCalibration:
        for raw in self._bag.messages([self.image_topic]):
            try:
                _, image = self._decode(raw)
            except ImageError:
                continue
            return read_calibration(file, image.shape[1], image.shape[0])
        raise SequenceError(f"bag {self._bag.path} has no readable image on {self.image_topic}")

    def _has_header_stamps(self) -> bool:
        """Whether any of the first images has a stamp: header and recording times are of two clocks, never mixed."""
        first = islice(self._bag.messages([self.image_topic]), IMAGES_WITHOUT_STAMP)
        return any(_header_stamp_ns(raw) for raw in first)

    def _stamp_ns(self, message: Any, raw: RawMessage) -> int:
        stamp = message.header.stamp
        return stamp.sec * 10**9 + stamp.nanosec if self._header_stamps else raw.stamp_ns

    def _decode(self, raw: RawMessage) -> tuple[int, NDArray[np.uint8]]:
        try:
            message = _deserialize(raw)
        except SequenceError as error:
            raise ImageError("truncated data", str(error)) from error
        if raw.kind == COMPRESSED_TYPE:
            return self._stamp_ns(message, raw), decode_compressed_image(message.data, self._grey_range)
        return self._stamp_ns(message, raw), decode_image_message(message, self._grey_range)


def _deserialize(raw: RawMessage) -> Any:
    try:
        return typestore().deserialize_cdr(raw.data, raw.kind)
    except Exception as error:  # the generated readers fail in whatever way a short buffer makes them
        raise SequenceError(f"message of {len(raw.data)} bytes on {raw.topic} is cut off or no {raw.kind}") from error


def _header_stamp_ns(raw: RawMessage) -> int:
    """The stamp of a message that begins with a header: of a CDR, the two numbers after its first four bytes."""
    if len(raw.data) < CDR_STAMP_END:
        return 0
    seconds, nanoseconds = struct.unpack(("<" if raw.data[1] & 1 else ">") + "iI", raw.data[4:CDR_STAMP_END])
    return int(seconds) * 10**9 + int(nanoseconds)


def _matrix(pose: Any) -> NDArray[np.float64]:
    q, t = pose.orientation, pose.position
    return se3(rotation_from_quat_xyzw([q.x, q.y, q.z, q.w]), [t.x, t.y, t.z])


def _depth_m(message: Any, topic: str) -> NDArray[np.float32]:
    dtypes = {"32FC1": "f4", "16UC1": "u2", "mono16": "u2"}
    if message.encoding not in dtypes:
        raise SequenceError(f"depth on {topic} has encoding {message.encoding!r}; 32FC1 (m) or 16UC1 (mm) is needed")
    dtype = np.dtype(dtypes[message.encoding]).newbyteorder(">" if message.is_bigendian else "<")
    row_bytes = message.width * dtype.itemsize
    if message.step < row_bytes or len(message.data) < message.step * message.height:
        raise SequenceError(
            f"depth on {topic} is cut off: {len(message.data)} bytes for {message.width}×{message.height}"
        )
    rows = message.data[: message.step * message.height].reshape(message.height, message.step)
    depth = np.ascontiguousarray(rows[:, :row_bytes]).view(dtype).astype(np.float32)
    depth = depth if dtype.kind == "f" else depth / np.float32(1000.0)
    return np.where(np.isfinite(depth), depth, np.float32(0.0))
