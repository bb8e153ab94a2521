"""Writes a rosbag2 with the images, calibration, true poses and true depth of a sequence."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from rosbags.interfaces import (
    Connection,
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.rosbag2.enums import CompressionMode
from rosbags.rosbag2.errors import WriterError
from rosbags.rosbag2.storage_mcap import McapWriter
from rosbags.rosbag2.storage_sqlite3 import Sqlite3Writer

from scal3r_ros.errors import SequenceError
from scal3r_ros.geometry.se3 import quat_xyzw, se3
from scal3r_ros.io.bags.topics import (
    BASE_FRAME,
    CAMERA_FRAME,
    CAMERA_INFO_TOPIC,
    IMAGE_TOPIC,
    STATIC_TRANSFORM_TOPIC,
    TRUE_DEPTH_TOPIC,
    TRUE_POSE_TOPIC,
    WORLD_FRAME,
    header,
    typestore,
)
from scal3r_ros.io.calibration import CameraCalibration

TRANSFORMS = "tf2_msgs/msg/TFMessage"
NEVER = QosTime(2147483647, 4294967295)
LATCHED = Qos(
    QosHistory.KEEP_LAST,
    1,
    QosReliability.RELIABLE,
    QosDurability.TRANSIENT_LOCAL,
    NEVER,
    NEVER,
    QosLiveliness.AUTOMATIC,
    NEVER,
    False,
)
"""By which `ros2 bag play` publishes so that late subscribers hear it too."""

STORAGES = {"sqlite3": StoragePlugin.SQLITE3, "mcap": StoragePlugin.MCAP}


class _AnyPathSqlite3Writer(Sqlite3Writer):
    """The one of rosbags takes `#`, `?` and `%` of a path for parts of a URI, and writes elsewhere."""

    def __init__(self, path: Path, compression: CompressionMode) -> None:
        if compression == CompressionMode.STORAGE:
            raise WriterError("SQLite has no compression")
        self.path = path / f"{path.name}.db3"
        self.conn = sqlite3.connect(self.path)
        self.conn.executescript(self.SQLITE_SCHEMA)
        self.cursor = self.conn.cursor()


PLUGINS: dict[StoragePlugin, type[Any]] = {StoragePlugin.SQLITE3: _AnyPathSqlite3Writer, StoragePlugin.MCAP: McapWriter}

CAMERA_LOOKS_FORWARD = se3(np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]), [0.0, 0.0, 0.0])
"""T_base_cam (4, 4) of a camera at the base's origin that looks along its x."""


class BagWriter:
    """A new rosbag2 folder, complete when the context ends; where it ends by an error, nothing is left behind.

    Before the first message, `T_base_cam` (4, 4) is written to /tf_static: where the camera sits on `base_link`, whose
    x looks forward and z up. By default the two are at the same place, and the camera looks forward.

    Raises:
        SequenceError: the storage is unknown, the path is taken, or the bag cannot be written (a full disk).
    """

    def __init__(
        self,
        path: Path,
        storage: Literal["sqlite3", "mcap"] = "sqlite3",
        T_base_cam: NDArray[np.float64] = CAMERA_LOOKS_FORWARD,
    ) -> None:
        self._T_base_cam = T_base_cam
        if storage not in STORAGES:
            raise SequenceError(f"bag storage {storage!r} is unknown; choose one of {', '.join(STORAGES)}")
        self._path = path
        self._storage = STORAGES[storage]
        self._writer: Writer | None = None
        self._connections: dict[str, Connection] = {}

    def __enter__(self) -> BagWriter:
        if self._path.exists():
            if not self._path.is_dir() or any(self._path.iterdir()):
                raise SequenceError(f"bag {self._path} exists already; remove it or choose another path")
            self._path.rmdir()  # the writer of rosbags insists on making the folder itself
        self._attempt(self._open)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is None:
            return
        if kind is None:
            self._attempt(self._writer.close)
        else:
            self._discard()
        self._writer = None

    def write_image(self, stamp_ns: int, image: NDArray[np.uint8]) -> None:
        """Writes an image: (h, w) uint8 as mono8, (h, w, 3) uint8 RGB as rgb8.

        Raises:
            SequenceError: the array is neither, or the bag cannot be written.
        """
        if image.dtype != np.uint8 or image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3):
            raise SequenceError(
                f"image of shape {image.shape} and type {image.dtype} cannot be written; give (h, w) or (h, w, 3) uint8"
            )
        encoding = "mono8" if image.ndim == 2 else "rgb8"
        self._write_array(IMAGE_TOPIC, stamp_ns, image, encoding)

    def write_depth(self, stamp_ns: int, depth_m: NDArray[np.float32]) -> None:
        """Writes z-depth (h, w) in metres, 0 where unknown, with the stamp of its image, as 32FC1."""
        if depth_m.ndim != 2:
            raise SequenceError(f"depth of shape {depth_m.shape} cannot be written; give (h, w)")
        self._write_array(TRUE_DEPTH_TOPIC, stamp_ns, depth_m.astype("<f4", copy=False), "32FC1")

    def write_camera_info(self, stamp_ns: int, calibration: CameraCalibration) -> None:
        """Writes the calibration that belongs to the image of the same stamp."""
        types = typestore().types
        message = types["sensor_msgs/msg/CameraInfo"](
            header=header(stamp_ns, CAMERA_FRAME),
            height=calibration.height,
            width=calibration.width,
            distortion_model=calibration.distortion_model,
            d=np.array(calibration.d, np.float64),
            k=np.array(calibration.k, np.float64),
            r=np.array(calibration.r, np.float64),
            p=np.array(calibration.p, np.float64),
            binning_x=0,
            binning_y=0,
            roi=types["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False),
        )
        self._write(CAMERA_INFO_TOPIC, stamp_ns, message)

    def write_pose(self, stamp_ns: int, T_world_cam: NDArray[np.float64]) -> None:
        """Writes the true pose (4, 4) of the camera in the frame `world`, in metres."""
        types = typestore().types
        position = types["geometry_msgs/msg/Point"](*map(float, T_world_cam[:3, 3]))
        orientation = _quaternion(T_world_cam)
        pose = types["geometry_msgs/msg/Pose"](position=position, orientation=orientation)
        message = types["geometry_msgs/msg/PoseStamped"](header=header(stamp_ns, WORLD_FRAME), pose=pose)
        self._write(TRUE_POSE_TOPIC, stamp_ns, message)

    def write_message(self, topic: str, stamp_ns: int, message: Any, latched: bool = False) -> None:
        """Writes any message of the standard packages, recorded at `stamp_ns`; `latched` topics reach late
        subscribers when the bag is played.
        """
        self._write(topic, stamp_ns, message, latched)

    def _write_array(self, topic: str, stamp_ns: int, image: NDArray[Any], encoding: str) -> None:
        height, width = image.shape[:2]
        message = typestore().types["sensor_msgs/msg/Image"](
            header=header(stamp_ns, CAMERA_FRAME),
            height=height,
            width=width,
            encoding=encoding,
            is_bigendian=0,
            step=image.nbytes // height if height else 0,
            data=np.ascontiguousarray(image).reshape(-1).view(np.uint8),
        )
        self._write(topic, stamp_ns, message)

    def _write(self, topic: str, stamp_ns: int, message: Any, latched: bool = False) -> None:
        if self._writer is None:
            raise SequenceError(f"bag {self._path} is not open; write to it inside its `with` block")
        writer, kind = self._writer, message.__msgtype__
        if not self._connections:
            self._connections[STATIC_TRANSFORM_TOPIC] = writer.add_connection(
                STATIC_TRANSFORM_TOPIC, TRANSFORMS, typestore=typestore(), offered_qos_profiles=[LATCHED]
            )
            self._write(STATIC_TRANSFORM_TOPIC, stamp_ns, _static_transform(stamp_ns, self._T_base_cam))
        if topic not in self._connections:
            qos = [LATCHED] if latched else []
            self._connections[topic] = writer.add_connection(
                topic, kind, typestore=typestore(), offered_qos_profiles=qos
            )
        data = typestore().serialize_cdr(message, kind)
        self._attempt(lambda: writer.write(self._connections[topic], stamp_ns, data))

    def _open(self) -> None:
        self._writer = Writer(self._path, version=9, storage_plugin=self._storage)
        self._writer.STORAGE_PLUGINS = PLUGINS
        self._writer.open()

    def _attempt(self, step: Callable[[], None]) -> None:
        try:
            step()
        except (OSError, sqlite3.Error, WriterError) as error:
            self._discard()
            self._writer = None
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise SequenceError(
                f"bag {self._path} cannot be written ({reason}); is its disk full or read-only?"
            ) from error

    def _discard(self) -> None:
        """A bag without its end cannot be opened: it goes, and with it the space it took."""
        if self._writer is not None and self._writer.storage is not None:
            with suppress(OSError, sqlite3.Error):  # what cannot be flushed is removed below
                self._writer.abort()
        shutil.rmtree(self._path, ignore_errors=True)


def _static_transform(stamp_ns: int, T_base_cam: NDArray[np.float64]) -> Any:
    types = typestore().types
    transform = types["geometry_msgs/msg/Transform"](
        translation=types["geometry_msgs/msg/Vector3"](*map(float, T_base_cam[:3, 3])), rotation=_quaternion(T_base_cam)
    )
    stamped = types["geometry_msgs/msg/TransformStamped"](
        header=header(stamp_ns, BASE_FRAME), child_frame_id=CAMERA_FRAME, transform=transform
    )
    return types[TRANSFORMS](transforms=[stamped])


def _quaternion(T: NDArray[np.float64]) -> Any:
    return typestore().types["geometry_msgs/msg/Quaternion"](*map(float, quat_xyzw(T[:3, :3])))
