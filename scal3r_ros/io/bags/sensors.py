"""Wheel odometry, IMU and satellite fixes in a bag, and where these sensors are mounted."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.errors import SequenceError
from scal3r_ros.geometry.se3 import invert, quat_xyzw, se3
from scal3r_ros.io.bags.file import BagFile
from scal3r_ros.io.bags.messages import RawMessage
from scal3r_ros.io.bags.topics import (
    BASE_FRAME,
    CAMERA_FRAME,
    GNSS_FRAME,
    IMU_FRAME,
    STATIC_TRANSFORM_TOPIC,
    header,
    typestore,
)
from scal3r_ros.io.sensor_messages import WITHOUT_MOUNT, frame_of, matrix_of_pose, sample_of
from scal3r_ros.mapping.values import Fix, ImuSample, SensorSample, WheelOdometry

Array = NDArray[np.float64]

logger = logging.getLogger(__name__)

ODOMETRY_TYPE = "nav_msgs/msg/Odometry"
IMU_TYPE = "sensor_msgs/msg/Imu"
FIX_TYPE = "sensor_msgs/msg/NavSatFix"
MESSAGE_TYPES: Mapping[type[SensorSample], str] = {WheelOdometry: ODOMETRY_TYPE, ImuSample: IMU_TYPE, Fix: FIX_TYPE}
_TRANSFORMS_TYPE = "tf2_msgs/msg/TFMessage"
_UNKNOWN_COVARIANCE = 0


@dataclass(frozen=True)
class SensorTopics:
    """The topics that are looked for in a bag; one that it lacks brings no samples."""

    wheel_odometry: str = "/wheel_odometry"
    imu: str = "/imu"
    fix: str = "/fix"
    static_transforms: str = STATIC_TRANSFORM_TOPIC


SENSOR_TOPICS: Mapping[type[SensorSample], str] = {
    WheelOdometry: SensorTopics.wheel_odometry,
    ImuSample: SensorTopics.imu,
    Fix: SensorTopics.fix,
}
"""The topics that a bag of this package has each kind of sample on."""


class SensorReader:
    """The samples of a bag's sensors, in order of recording. `camera_frame` names the frame of the images.

    A sensor whose mount is not among the static transforms is used as far as that goes: wheels in straight driving, the
    antenna as if it were at the camera, an IMU not at all; which is logged once.

    A topic of another type is passed over with a warning where it was not asked for by name.

    Raises:
        SequenceError: the bag is missing or unreadable, or a topic that was asked for has messages of another type.
    """

    def __init__(self, path: Path, camera_frame: str = CAMERA_FRAME, topics: SensorTopics | None = None) -> None:
        self._topics = topics or SensorTopics()
        self._bag = BagFile(path)
        self._camera_frame = camera_frame
        self._warned: set[str] = set()
        self._kinds: dict[str, type[SensorSample]] = {
            self._topics.wheel_odometry: WheelOdometry,
            self._topics.imu: ImuSample,
            self._topics.fix: Fix,
        }
        self._present = self._find_topics(path)
        self._mounts = self._static_transforms() if self._present else {}
        self._samples = self._read()
        self._next: SensorSample | None = None

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics that samples are read from."""
        return tuple(self._present)

    def until(self, stamp_ns: int) -> Iterator[SensorSample]:
        """The samples that were not given yet, up to the first that is stamped later than `stamp_ns`."""
        while True:
            if self._next is None:
                self._next = next(self._samples, None)
            if self._next is None or self._next.stamp_ns > stamp_ns:
                return
            sample, self._next = self._next, None
            yield sample

    def close(self) -> None:
        """Closes the bag."""
        self._bag.close()

    def _find_topics(self, path: Path) -> list[str]:
        present = {topic.name: topic.kind for topic in self._bag.topics if topic.count}
        found = []
        for name, kind in self._kinds.items():
            needed = MESSAGE_TYPES[kind]
            if present.get(name) == needed:
                found.append(name)
            elif name in present:
                problem = f"topic {name} of bag {path} is of type {present[name]}, but {needed} is needed"
                if name not in SENSOR_TOPICS.values():
                    self._bag.close()
                    raise SequenceError(problem)
                self._warn(name, f"{problem}: not used")
        return found

    def _read(self) -> Iterator[SensorSample]:
        for raw in self._bag.messages(self._present) if self._present else ():
            try:
                sample = self._sample(typestore().deserialize_cdr(raw.data, raw.kind), raw)
            except Exception as error:  # the generated readers fail in whatever way a short buffer makes them
                self._warn(raw.topic, f"a message of {len(raw.data)} bytes on {raw.topic} cannot be read: {error}")
                continue
            if sample is not None:
                yield sample

    def _sample(self, message: Any, raw: RawMessage) -> SensorSample | None:
        stamp, kind = message.header.stamp, self._kinds[raw.topic]
        T = self._mount(frame_of(message, kind), raw.topic, WITHOUT_MOUNT[kind])
        return sample_of(message, kind, stamp.sec * 10**9 + stamp.nanosec or raw.stamp_ns, T)

    def _mount(self, frame: str, topic: str, otherwise: str) -> Array | None:
        """T_frame_cam by the static transforms; None where they do not connect the two."""
        T = connected(self._mounts, frame, self._camera_frame)
        if T is None:
            self._warn(topic, f"{topic}: no static transform from {frame!r} to {self._camera_frame!r}: {otherwise}")
        return T

    def _warn(self, topic: str, text: str) -> None:
        if topic not in self._warned:
            self._warned.add(topic)
            logger.warning("%s", text)

    def _static_transforms(self) -> dict[tuple[str, str], Array]:
        found: dict[tuple[str, str], Array] = {}
        for raw in self._bag.messages([self._topics.static_transforms]):
            if raw.kind != _TRANSFORMS_TYPE:
                continue
            try:
                message: Any = typestore().deserialize_cdr(raw.data, raw.kind)
            except Exception as error:  # as in `_read`
                self._warn(raw.topic, f"a message of {len(raw.data)} bytes on {raw.topic} cannot be read: {error}")
                continue
            for one in message.transforms:
                try:
                    T = matrix_of_pose(one.transform.translation, one.transform.rotation)
                except ValueError:
                    frame = one.child_frame_id
                    self._warn(frame, f"{raw.topic}: the transform to {frame!r} is left out: its rotation is all zeros")
                    continue
                found[(one.header.frame_id.strip("/"), one.child_frame_id.strip("/"))] = T
        return found


def connected(transforms: Mapping[tuple[str, str], Array], target: str, source: str) -> Array | None:
    """T_target_source by a chain of `transforms`, T_parent_child by names; None where there is none.

    A frame without a name is connected with none: two sensors that name no frame are not mounted alike.
    """
    steps = {**transforms, **{(child, parent): invert(T) for (parent, child), T in transforms.items()}}
    target, source = target.strip("/"), source.strip("/")
    if not target or not source:
        return None
    waiting, seen = deque([(target, np.eye(4))]), {target}
    while waiting:
        frame, T = waiting.popleft()
        if frame == source:
            return T
        for (parent, child), step in steps.items():
            if parent == frame and child not in seen:
                seen.add(child)
                waiting.append((child, T @ step))
    return None


def message_of(sample: SensorSample) -> Any:
    """A sample as the message that `SensorReader` reads it from."""
    types = typestore().types
    vector = types["geometry_msgs/msg/Vector3"]
    if isinstance(sample, WheelOdometry):
        T = sample.T_wheel_base
        pose = types["geometry_msgs/msg/Pose"](
            position=types["geometry_msgs/msg/Point"](*map(float, T[:3, 3])),
            orientation=types["geometry_msgs/msg/Quaternion"](*map(float, quat_xyzw(T[:3, :3]))),
        )
        twist = types["geometry_msgs/msg/Twist"](linear=vector(0.0, 0.0, 0.0), angular=vector(0.0, 0.0, 0.0))
        return types[ODOMETRY_TYPE](
            header=header(sample.stamp_ns, "wheel_odom"),
            child_frame_id=BASE_FRAME,
            pose=types["geometry_msgs/msg/PoseWithCovariance"](pose=pose, covariance=np.zeros(36)),
            twist=types["geometry_msgs/msg/TwistWithCovariance"](twist=twist, covariance=np.zeros(36)),
        )
    if isinstance(sample, ImuSample):
        return types[IMU_TYPE](
            header=header(sample.stamp_ns, IMU_FRAME),
            orientation=types["geometry_msgs/msg/Quaternion"](0.0, 0.0, 0.0, 1.0),
            orientation_covariance=np.array([-1.0] + [0.0] * 8),  # REP-145: there is no orientation
            angular_velocity=vector(*map(float, sample.angular_velocity)),
            angular_velocity_covariance=np.zeros(9),
            linear_acceleration=vector(*map(float, sample.linear_acceleration)),
            linear_acceleration_covariance=np.zeros(9),
        )
    covariance = np.zeros(9) if sample.covariance_enu is None else sample.covariance_enu.ravel()
    return types[FIX_TYPE](
        header=header(sample.stamp_ns, GNSS_FRAME),
        status=types["sensor_msgs/msg/NavSatStatus"](status=0, service=1),
        latitude=sample.latitude_deg,
        longitude=sample.longitude_deg,
        altitude=sample.altitude_m,
        position_covariance=covariance,
        position_covariance_type=_UNKNOWN_COVARIANCE if sample.covariance_enu is None else 3,
    )


def transforms_of(mounts: Mapping[tuple[str, str], Array], stamp_ns: int) -> Any:
    """Static transforms T_parent_child as one message."""
    types = typestore().types
    return types[_TRANSFORMS_TYPE](
        transforms=[
            types["geometry_msgs/msg/TransformStamped"](
                header=header(stamp_ns, parent),
                child_frame_id=child,
                transform=types["geometry_msgs/msg/Transform"](
                    translation=types["geometry_msgs/msg/Vector3"](*map(float, T[:3, 3])),
                    rotation=types["geometry_msgs/msg/Quaternion"](*map(float, quat_xyzw(T[:3, :3]))),
                ),
            )
            for (parent, child), T in mounts.items()
        ]
    )


def mounts_of(samples: Sequence[SensorSample]) -> dict[tuple[str, str], Array]:
    """The static transforms of where the sensors of these samples are mounted: a tree below the base."""
    T_base_cam = next((s.T_base_cam for s in samples if isinstance(s, WheelOdometry)), None)
    T_base_cam = np.eye(4) if T_base_cam is None else T_base_cam
    mounts = {(BASE_FRAME, CAMERA_FRAME): T_base_cam}
    for sample in samples:
        if isinstance(sample, ImuSample):
            mounts.setdefault((BASE_FRAME, IMU_FRAME), T_base_cam @ invert(sample.T_imu_cam))
        elif isinstance(sample, Fix):
            mounts.setdefault((CAMERA_FRAME, GNSS_FRAME), se3(np.eye(3), sample.antenna_cam))
    return mounts
