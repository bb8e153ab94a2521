"""Reads the frames of one camera, and the ground truth beside them, from a rosbag2."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.errors import SequenceError
from scal3r_ros.geometry.se3 import rotation_from_quat_xyzw, se3
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.io.bags.file import BagFile, TopicSummary
from scal3r_ros.io.bags.messages import RawMessage
from scal3r_ros.io.bags.topics import TRUE_DEPTH_TOPIC, TRUE_POSE_TOPIC, typestore
from scal3r_ros.io.calibration import CameraCalibration
from scal3r_ros.io.images.decoding import ImageError, Rectifier, decode_compressed_image, decode_image
from scal3r_ros.reconstruction.protocol import Frame

logger = logging.getLogger(__name__)

IMAGE_TYPE = "sensor_msgs/msg/Image"
COMPRESSED_TYPE = "sensor_msgs/msg/CompressedImage"
CAMERA_INFO_TYPE = "sensor_msgs/msg/CameraInfo"


class BagReader:
    """The camera of a bag. Topics are found where they are not given.

    `image_topic` and `camera_info_topic` (None: uncalibrated) are the ones read; `dropped` counts frames that could not
    be decoded by kind of fault, each of which is logged once.

    Raises:
        SequenceError: the bag is missing, empty or unreadable, has no image topic, or several to choose from.
    """

    def __init__(self, path: Path, image_topic: str | None = None, camera_info_topic: str | None = None) -> None:
        self._bag = BagFile(path)
        try:
            self.image_topic = self._choose_image_topic(image_topic)
            self.camera_info_topic = self._choose_camera_info_topic(camera_info_topic)
            self.calibration = self._first_calibration()
        except SequenceError:
            self._bag.close()
            raise
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

    def frames(self) -> Iterator[Frame]:
        """The rectified RGB frames in order of recording; what can not be decoded is counted in `dropped`.

        Raises:
            GeometryError: the camera's calibration can not be used.
        """
        rectifier = Rectifier(self.calibration)
        index = 0
        for raw in self._bag.messages([self.image_topic]):
            try:
                stamp_ns, image = _decode(raw)
                image = rectifier.rectify(image)
            except ImageError as error:
                if not self.dropped[error.reason]:
                    logger.warning("frame dropped: %s", error)
                self.dropped[error.reason] += 1
                continue
            yield Frame(index, stamp_ns, image, rectifier.intrinsics)
            index += 1

    def raw_messages(self) -> Iterator[RawMessage]:
        """Every message of every topic as recorded: (topic, type, time recorded in ns, CDR bytes)."""
        return self._bag.messages()

    def ground_truth(self, topic: str = TRUE_POSE_TOPIC) -> Trajectory | None:
        """The true camera poses (PoseStamped) in their own frame, by stamp; None where the bag has none."""
        poses = {}
        for raw in self._bag.messages([topic]):
            if raw.kind == "geometry_msgs/msg/PoseStamped":
                message = _deserialize(raw)
                poses[_stamp_ns(message, raw)] = _matrix(message.pose)
        if not poses:
            return None
        stamps = sorted(poses)
        return Trajectory(np.array(stamps, np.int64), np.stack([poses[stamp] for stamp in stamps]))

    def depth_frames(self, topic: str = TRUE_DEPTH_TOPIC) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Stamps in ns and true z-depth (h, w) in metres, 0 where unknown, of 32FC1 (m) or 16UC1 (mm) images."""
        for raw in self._bag.messages([topic]):
            if raw.kind == IMAGE_TYPE:
                message = _deserialize(raw)
                yield _stamp_ns(message, raw), _depth_m(message, topic)

    def _choose_image_topic(self, wanted: str | None) -> str:
        kinds = {topic.name: topic.kind for topic in self._bag.topics if topic.count}
        images = [
            name for name, kind in kinds.items()
            if kind in (IMAGE_TYPE, COMPRESSED_TYPE) and not name.endswith("/compressedDepth")
        ]  # fmt: skip
        if wanted is not None:
            if wanted in images:
                return wanted
            raise SequenceError(
                f"bag {self._bag.path} has no images on {wanted}; its image topics are {', '.join(images) or 'none'}"
            )
        # The compressed copy of a topic is no second camera.
        images = [name for name in images if name.removesuffix("/compressed") == name or name[:-11] not in images]
        if not images:
            raise SequenceError(f"bag {self._bag.path} has no image topic; its topics are {', '.join(kinds)}")
        if len(images) == 1:
            return images[0]
        calibrated = [name for name in images if kinds.get(camera_info_beside(name)) == CAMERA_INFO_TYPE]
        if len(calibrated) == 1:
            return calibrated[0]
        raise SequenceError(f"bag {self._bag.path} has several image topics; choose one of {', '.join(images)}")

    def _choose_camera_info_topic(self, wanted: str | None) -> str | None:
        names = [topic.name for topic in self._bag.topics if topic.kind == CAMERA_INFO_TYPE and topic.count]
        if wanted is not None:
            if wanted in names:
                return wanted
            raise SequenceError(
                f"bag {self._bag.path} has no camera_info on {wanted}; it is on {', '.join(names) or 'no topic'}"
            )
        beside = camera_info_beside(self.image_topic)
        return beside if beside in names else None

    def _first_calibration(self) -> CameraCalibration | None:
        if self.camera_info_topic is not None:
            for raw in self._bag.messages([self.camera_info_topic]):
                message = _deserialize(raw)
                calibration = CameraCalibration(
                    message.width,
                    message.height,
                    message.distortion_model,
                    *(tuple(map(float, values)) for values in (message.d, message.k, message.r, message.p)),
                )
                if calibration.is_calibrated:
                    return calibration
                logger.warning("camera_info on %s is all zeros: the camera is not calibrated", self.camera_info_topic)
                return None
        return None


def camera_info_beside(image_topic: str) -> str:
    """The topic of the camera_info that belongs to an image topic by the rule of image_transport."""
    base = image_topic.removesuffix("/compressed")
    return base.rpartition("/")[0] + "/camera_info"


def _decode(raw: RawMessage) -> tuple[int, NDArray[np.uint8]]:
    try:
        message = _deserialize(raw)
    except SequenceError as error:
        raise ImageError("truncated data", str(error)) from error
    if raw.kind == COMPRESSED_TYPE:
        return _stamp_ns(message, raw), decode_compressed_image(message.data)
    image = decode_image(
        message.encoding, message.height, message.width, message.step, bool(message.is_bigendian), message.data
    )
    return _stamp_ns(message, raw), image


def _deserialize(raw: RawMessage) -> Any:
    try:
        return typestore().deserialize_cdr(raw.data, raw.kind)
    except Exception as error:  # the generated readers fail in whatever way a short buffer makes them
        raise SequenceError(f"message of {len(raw.data)} bytes on {raw.topic} is cut off or no {raw.kind}") from error


def _stamp_ns(message: Any, raw: RawMessage) -> int:
    """The header's stamp, or the time of recording where a driver leaves it at zero."""
    stamp = message.header.stamp
    return stamp.sec * 10**9 + stamp.nanosec or raw.stamp_ns


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
