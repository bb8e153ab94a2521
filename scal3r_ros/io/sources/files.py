"""Images of files and videos as frames."""

from __future__ import annotations

import logging
import math
import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType

import av
import numpy as np
from av.container import InputContainer
from numpy.typing import NDArray

from scal3r_ros.errors import SequenceError
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.io.bags.topics import FIRST_STAMP_NS
from scal3r_ros.io.calibration import CameraCalibration, read_calibration
from scal3r_ros.io.datasets import ImageSequence
from scal3r_ros.io.images.decoding import ImageError
from scal3r_ros.io.images.folder import read_image, upright_camera, usual_size
from scal3r_ros.io.images.grey_range import GreyRange
from scal3r_ros.io.images.rectifier import Rectifier
from scal3r_ros.io.sources.source import SourceOptions
from scal3r_ros.mapping.values import SensorSample
from scal3r_ros.reconstruction.protocol import Frame

logger = logging.getLogger(__name__)

VIDEO_SUFFIXES = (
    *(".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v"),
    *(".3gp", ".flv", ".m2ts", ".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".wmv"),
)
UNREADABLE = "undecodable picture"
FULL_SHARE, LONGEST_PICTURE_S = 0.98, 0.5
"""A whole video has so large a share of the pictures that it promises, and so much less time: the last one stands."""


class _Images:
    """Base of both kinds of files: the camera, and the counts of dropped images."""

    def __init__(self, options: SourceOptions, calibration: CameraCalibration | None) -> None:
        self.dropped: Counter[str] = Counter()
        self.damage: str | None = None
        self._options = options
        self._calibration = calibration

    def __enter__(self) -> _Images:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Nothing stays open between two readings."""

    def ground_truth(self) -> Trajectory | None:
        """None: files of images have none."""
        return None

    def samples(self) -> Sequence[SensorSample]:
        """None: files of images have no other sensors beside them."""
        return ()

    def _rectifier(self, height: int, width: int) -> Rectifier:
        """For the camera that is given, that of the source, or one of an assumed field of view."""
        if self._options.calib is not None:
            calibration: CameraCalibration | None = read_calibration(self._options.calib, width, height)
        else:
            calibration = self._calibration
        fov = self._options.assumed_fov_deg
        if calibration is None and fov is not None:
            focal = width / 2 / math.tan(math.radians(fov / 2))
            k = (focal, 0.0, (width - 1) / 2, 0.0, focal, (height - 1) / 2, 0.0, 0.0, 1.0)
            calibration = CameraCalibration.pinhole(width, height, k)
            logger.warning(
                "no calibration is given (--calib): a field of view of %.0f° is assumed; where that is wrong, the map "
                "bends",
                fov,
            )
        return Rectifier(calibration, bool(self._options.rectified))

    def _drop(self, error: SequenceError, reason: str) -> None:
        if not self.dropped[reason]:
            logger.warning("frame dropped: %s", error)
        self.dropped[reason] += 1


class ImageFiles(_Images):
    """The images of a sequence, one file each."""

    def __init__(self, sequence: ImageSequence, options: SourceOptions) -> None:
        super().__init__(options, sequence.calibration)
        self._sequence = sequence

    @property
    def image_count(self) -> int:
        """Files of images."""
        return len(self._sequence.paths)

    def ground_truth(self) -> Trajectory | None:
        """The true poses of the data set."""
        return self._sequence.ground_truth

    def samples(self) -> Sequence[SensorSample]:
        """What an IMU or a satellite receiver of the data set recorded."""
        return () if self._sequence.samples is None else self._sequence.samples()

    def frames(self) -> Iterator[Frame]:
        """The rectified RGB frames; files that cannot be decoded, or have another size, are counted in `dropped`."""
        grey_range = GreyRange()
        size = usual_size(self._sequence.paths)
        turns, rectifier = 0, None
        if size is not None:  # one turn for all: however a photographer held the camera later, it is one camera
            turns, rectifier = upright_camera(self._sequence.quarter_turns, *size, self._rectifier)
        index = 0
        for path, stamp_ns in zip(self._sequence.paths, self._sequence.stamps_ns.tolist(), strict=True):
            try:
                image = np.ascontiguousarray(np.rot90(_three_channels(read_image(path, grey_range)), turns))
            except SequenceError as error:
                self._drop(error, UNREADABLE)
                continue
            rectifier = rectifier or self._rectifier(*image.shape[:2])
            try:
                image = rectifier.rectify(image)
            except ImageError as error:
                self._drop(error, error.reason)
                continue
            yield Frame(index, stamp_ns, image, rectifier.intrinsics)
            index += 1


class Video(_Images):
    """The pictures of a video file, by PyAV; a picture that a phone marked as turned is turned.

    Raises:
        SequenceError: the file cannot be read, or holds no pictures.
    """

    def __init__(self, path: Path, options: SourceOptions) -> None:
        super().__init__(options, None)
        self._path = path
        boxes, self._is_whole = _mp4_boxes(path)
        try:
            with av.open(str(path)) as container:
                if not container.streams.video:
                    raise SequenceError(f"video {path} holds no pictures")
                self._count = container.streams.video[0].frames or None
        except (OSError, av.FFmpegError) as error:
            lacks_index = boxes and b"moov" not in boxes
            reason = "its index is missing, as where recording it was broken off" if lacks_index else ""
            raise SequenceError(f"video {path} cannot be read: {reason or error.strerror or error}") from error

    @property
    def image_count(self) -> int | None:
        """Pictures, where the file holds their number."""
        return self._count

    def frames(self) -> Iterator[Frame]:
        """The rectified RGB frames, by the video's own times from a fixed start."""
        rectifier: Rectifier | None = None
        turns = 0
        last_ns: int | None = None
        index, end_ns = 0, 0
        try:
            with av.open(str(self._path)) as container:
                stream = container.streams.video[0]
                stream.thread_type = "AUTO"
                for picture in container.decode(stream):
                    if picture.pts is None or picture.time_base is None:
                        self._drop(SequenceError(f"a picture of video {self._path} has no time"), "no time")
                        continue
                    stamp_ns = round(picture.pts * picture.time_base * 10**9)
                    if last_ns is not None and stamp_ns <= last_ns:
                        self._drop(SequenceError(f"times of video {self._path} go back"), "time goes back")
                        continue
                    last_ns = stamp_ns
                    end_ns = stamp_ns + round((picture.duration or 0) * picture.time_base * 10**9)
                    stored = picture.to_ndarray(format="rgb24")
                    if rectifier is None:
                        height, width = stored.shape[:2]
                        turns, made = upright_camera(round(picture.rotation / 90) % 4, height, width, self._rectifier)
                        rectifier = made
                    image = np.ascontiguousarray(np.rot90(stored, turns), np.uint8)
                    try:
                        image = rectifier.rectify(image)
                    except ImageError as error:  # pictures change their size
                        self._drop(error, error.reason)
                        continue
                    yield Frame(index, FIRST_STAMP_NS + stamp_ns, image, rectifier.intrinsics)
                    index += 1
                self._look_for_an_early_end(container, index, end_ns)
        except (OSError, av.FFmpegError) as error:
            self.damage = f"video {self._path} is damaged or cut off ({error}); what comes before is used"
            logger.warning("%s", self.damage)

    def _look_for_an_early_end(self, container: InputContainer, count: int, end_ns: int) -> None:
        """Warns where the file promises more pictures than it has: FFmpeg takes a cut for the end."""
        read, end_s = count + sum(self.dropped.values()), end_ns * 1e-9
        lasts_s = (container.duration or 0) / 10**6
        missing_s = FULL_SHARE * lasts_s - end_s
        # A whole MP4 may have pictures that are not to be shown, as one that was trimmed.
        if self._count is not None and read < FULL_SHARE * self._count and not self._is_whole:
            promise = f"{read} of its {self._count} pictures"
        elif missing_s > LONGEST_PICTURE_S and len(container.streams) == 1:
            promise = f"{max(0.0, end_s):.1f} of its {lasts_s:.1f} s"
        elif self._is_whole is False:
            promise = f"{read} pictures"
        else:
            return
        self.damage = f"video {self._path} is cut off: only {promise} can be read"
        logger.warning("%s", self.damage)


def _mp4_boxes(path: Path) -> tuple[list[bytes], bool | None]:
    """Kinds of the outermost boxes of an MP4 or MOV, and whether the last one is whole; none, and None, of others."""
    kinds: list[bytes] = []
    try:
        with path.open("rb") as file:
            end, at = file.seek(0, 2), 0
            while at + 8 <= end:
                file.seek(at)
                size, kind = struct.unpack(">I4s", file.read(8))
                kinds.append(kind)
                if size == 1:  # a long one has its size behind its kind
                    size = int.from_bytes(file.read(8), "big")
                if kinds[0] != b"ftyp" or size < 8:  # the last one may have a size of 0
                    break
                at += size
    except OSError:
        return [], None
    return (kinds, at <= end) if kinds[:1] == [b"ftyp"] else ([], None)


def _three_channels(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image
