"""Topics and frames of the bags this package writes, how it finds those of other bags, and the message definitions."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from rosbags.typesys import Stores, get_typestore
from rosbags.typesys.store import Typestore

from scal3r_ros.errors import SequenceError

logger = logging.getLogger(__name__)

IMAGE_TYPE = "sensor_msgs/msg/Image"
COMPRESSED_TYPE = "sensor_msgs/msg/CompressedImage"
CAMERA_INFO_TYPE = "sensor_msgs/msg/CameraInfo"

IMAGE_TOPIC = "/camera/image"
CAMERA_INFO_TOPIC = "/camera/camera_info"
TRUE_POSE_TOPIC = "/ground_truth/pose"
TRUE_DEPTH_TOPIC = "/ground_truth/depth"

STATIC_TRANSFORM_TOPIC = "/tf_static"

CAMERA_FRAME = "camera_optical"
BASE_FRAME = "base_link"
IMU_FRAME = "imu_link"
GNSS_FRAME = "gnss_link"
WORLD_FRAME = "world"

FIRST_STAMP_NS = 1_000_000_000 * 1_000_000_000
"""Stamp of the first frame of a sequence that has no clock, in nanoseconds."""

DEPTH_NAME = re.compile(r"depth|disparity", re.IGNORECASE)
DEPTH_ENCODINGS = ("16UC1", "mono16", "32FC1")
"""Images on a topic of such a name and encoding are depth, which is of the same type as pictures."""


@dataclass(frozen=True)
class TopicSummary:
    """One topic of a bag: its message type and how many messages it has."""

    name: str
    kind: str
    count: int


@cache
def typestore() -> Typestore:
    """The definitions of the standard ROS 2 messages; those used here are the same in every supported distribution."""
    return get_typestore(Stores.ROS2_JAZZY)


def header(stamp_ns: int, frame: str) -> Any:
    """A message's header."""
    types = typestore().types
    stamp = types["builtin_interfaces/msg/Time"](sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
    return types["std_msgs/msg/Header"](stamp=stamp, frame_id=frame)


def choose_image_topic(
    bag: Path, topics: Sequence[TopicSummary], wanted: str | None, encoding_of: Callable[[str], str]
) -> str:
    """The topic of the pictures of a bag: `wanted`, or the only one there is.

    `encoding_of` gives the encoding of a topic's first image, by which depth is known. Of several topics it is the one
    that a camera_info lies beside.

    Raises:
        SequenceError: there is none, or there are several to choose from.
    """
    kinds = {topic.name: topic.kind for topic in topics if topic.count}
    images = [
        name for name, kind in kinds.items()
        if kind in (IMAGE_TYPE, COMPRESSED_TYPE) and not name.endswith("/compressedDepth")
    ]  # fmt: skip
    if wanted is not None:
        if wanted in images:
            return wanted
        raise SequenceError(f"bag {bag} has no images on {wanted}; its image topics are {', '.join(images) or 'none'}")
    # The compressed copy of a topic is no second camera.
    images = [name for name in images if name.removesuffix("/compressed") == name or name[:-11] not in images]
    depth = [name for name in images if DEPTH_NAME.search(name) and encoding_of(name).startswith(DEPTH_ENCODINGS)]
    images = [name for name in images if name not in depth]
    if not images and depth:
        raise SequenceError(
            f"bag {bag} has only depth images; to map them all the same, choose them with --image-topic: "
            + ", ".join(depth)
        )
    if not images:
        silent = [topic.name for topic in topics if topic.kind in (IMAGE_TYPE, COMPRESSED_TYPE) and not topic.count]
        if silent:
            raise SequenceError(f"bag {bag} has no image: there is no message on {', '.join(silent)}")
        raise SequenceError(f"bag {bag} has no image topic; its topics are {', '.join(kinds)}")
    calibrated = [name for name in images if kinds.get(camera_info_beside(name)) == CAMERA_INFO_TYPE]
    if 1 not in (len(images), len(calibrated)):
        raise SequenceError(f"bag {bag} has several image topics; choose one with --image-topic: {', '.join(images)}")
    chosen = images[0] if len(images) == 1 else calibrated[0]
    if depth:
        logger.info("images are those of %s; depth, on %s, is left out", chosen, ", ".join(depth))
    return chosen


def choose_camera_info_topic(
    bag: Path, topics: Sequence[TopicSummary], wanted: str | None, image_topic: str
) -> str | None:
    """The topic of the calibration: `wanted`, the one beside the images, or the only one; None where there is none.

    Raises:
        SequenceError: `wanted` is not there, or there are several, none of which is beside the images.
    """
    names = [topic.name for topic in topics if topic.kind == CAMERA_INFO_TYPE and topic.count]
    if wanted is not None:
        if wanted in names:
            return wanted
        raise SequenceError(f"bag {bag} has no camera_info on {wanted}; it is on {', '.join(names) or 'no topic'}")
    beside = camera_info_beside(image_topic)
    if beside in names or not names:
        return beside if names else None
    if len(names) > 1:
        raise SequenceError(
            f"bag {bag} has no camera_info beside {image_topic}; choose one with --camera-info-topic: "
            + ", ".join(names)
        )
    logger.info("the calibration of %s is taken from %s, the only one in the bag", image_topic, names[0])
    return names[0]


def camera_info_beside(image_topic: str) -> str:
    """The topic of the camera_info that belongs to an image topic by the rule of image_transport."""
    base = image_topic.removesuffix("/compressed")
    return base.rpartition("/")[0] + "/camera_info"


def is_rectified_topic(image_topic: str) -> bool:
    """Whether a topic holds rectified images by the names of image_proc: `image_rect`, `image_rect_color`, …"""
    return image_topic.removesuffix("/compressed").rpartition("/")[2].startswith("image_rect")
