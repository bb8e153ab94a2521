"""Reads the ground truth a result is compared with: a bag that has it, or a trajectory file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.errors import EvaluationError
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.io.bags.file import is_bag
from scal3r_ros.io.bags.reader import BagReader
from scal3r_ros.io.bags.topics import FIRST_STAMP_NS, TRUE_DEPTH_TOPIC
from scal3r_ros.io.calibration import CameraCalibration
from scal3r_ros.io.calibration.camera import CameraModel
from scal3r_ros.io.datasets import ImageSequence, find_sequence
from scal3r_ros.io.datasets.sequence import DepthImages
from scal3r_ros.io.images.folder import read_depth
from scal3r_ros.io.trajectories import TUM_COLUMNS, read_times, read_trajectory


@dataclass(frozen=True)
class TrueDepth:
    """True z-depth (h, w) float32 of the rectified camera in metres, 0 where unknown, and the pinhole it belongs to."""

    stamp_ns: int
    depth_m: NDArray[np.float32]
    intrinsics: Intrinsics


@dataclass(frozen=True)
class Truth:
    """True poses `trajectory` (camera in `world`, metres), and `depth_count` true depth images.

    They are in `bag`, or in the files of `depth`, which lie on images of `calibration`; both None for a trajectory.
    """

    trajectory: Trajectory
    bag: Path | None = None
    depth_count: int = 0
    image_topic: str | None = None
    depth: DepthImages | None = None
    calibration: CameraCalibration | None = None

    def depths(self) -> Iterator[TrueDepth]:
        """The true depth images, in order of recording, read anew at each call.

        Raises:
            EvaluationError: the bag has depth but no calibration.
            GeometryError: its calibration cannot be used.
            SequenceError: a depth image is damaged.
        """
        if self.depth is not None and self.calibration is not None:
            camera = CameraModel.of(self.depth.calibration or self.calibration)
            for stamp_ns, path in zip(self.depth.stamps_ns, self.depth.paths, strict=True):
                yield _rectified(int(stamp_ns), read_depth(path, self.depth.per_metre), camera)
        if self.bag is None or not self.depth_count:
            return
        with BagReader(self.bag, self.image_topic) as reader:
            calibration = reader.calibration
            if calibration is None:
                raise EvaluationError(
                    f"bag {self.bag} has true depth but no camera_info; add the camera's calibration to it"
                )
            camera = CameraModel.of(calibration)
            for stamp_ns, depth_m in reader.depth_frames():
                yield _rectified(stamp_ns, depth_m, camera)


def read_truth(path: Path, estimate: Trajectory, times: Path | None = None, image_topic: str | None = None) -> Truth:
    """The ground truth in `path`: a rosbag2 with `/ground_truth/pose`, a data set's sequence, or a file of poses.

    Files are in TUM, KITTI or 4×4 form. One without stamps takes those of `times` (seconds, one a line), or, where it
    has as many poses as `estimate`, those of `estimate` in order. Stamps of files that count from the start of the
    sequence are moved to where its bag begins. `image_topic` is the camera that the depth belongs to,
    in a bag with several.

    Raises:
        EvaluationError: the path is missing, a bag has no true poses, or a file has no stamps and another number of
            poses.
        SequenceError: the bag or file is damaged.
    """
    if not path.exists():
        raise EvaluationError(f"truth {path} does not exist; give a bag or a trajectory file")
    sequence = find_sequence(path) if path.is_dir() and not is_bag(path) else None
    if sequence is not None:
        if sequence.ground_truth is None:
            raise EvaluationError(f"the sequence of {sequence.kind} in {path} has no true poses")
        return truth_of(sequence, sequence.ground_truth)
    if path.is_dir() or is_bag(path):
        return _truth_of_bag(path, image_topic)
    if times is not None:
        trajectory = read_trajectory(path, read_times(times))
    elif _columns(path) == TUM_COLUMNS:
        trajectory = read_trajectory(path)
    else:
        trajectory = _by_index(path, estimate)
    begins_at_zero = trajectory.stamps_ns[0] < FIRST_STAMP_NS <= estimate.stamps_ns[0]
    origin_ns = np.int64(FIRST_STAMP_NS if begins_at_zero else 0)
    return Truth(Trajectory(trajectory.stamps_ns + origin_ns, trajectory.T_ref_cam))


def truth_of(sequence: ImageSequence, trajectory: Trajectory) -> Truth:
    """The truth of a data set's sequence, with its depth where it has any and the lens is known."""
    if sequence.depth is None or sequence.calibration is None:
        return Truth(trajectory)
    count = len(sequence.depth.paths)
    return Truth(trajectory, depth_count=count, depth=sequence.depth, calibration=sequence.calibration)


def _truth_of_bag(path: Path, image_topic: str | None) -> Truth:
    with BagReader(path, image_topic) as reader:
        trajectory = reader.ground_truth()
        depth_count = sum(topic.count for topic in reader.topics if topic.name == TRUE_DEPTH_TOPIC)
    if trajectory is None:
        raise EvaluationError(f"bag {path} has no true poses on /ground_truth/pose; give a trajectory file as --truth")
    return Truth(trajectory, path, depth_count, image_topic)


def _by_index(path: Path, estimate: Trajectory) -> Trajectory:
    trajectory = read_trajectory(path, np.arange(_rows(path), dtype=np.int64))
    if len(trajectory) != len(estimate):
        raise EvaluationError(
            f"truth {path} has no stamps and {len(trajectory)} poses for {len(estimate)} estimated ones; "
            "give their times with --times, or the bag as --truth"
        )
    return Trajectory(estimate.stamps_ns, trajectory.T_ref_cam)


def _rows(path: Path) -> int:
    return path.read_bytes().count(b"\n") + 1


def _columns(path: Path) -> int:
    """Number of columns of a file's first row of numbers, 0 where it has none; `read_trajectory` names what is wrong
    with it.
    """
    with path.open(errors="replace") as file:
        for line in file:
            words = line.replace(",", " ").split()
            if words and not words[0].startswith("#"):
                return len(words)
    return 0


def _rectified(stamp_ns: int, depth_m: NDArray[np.float32], camera: CameraModel) -> TrueDepth:
    """Depth of a lens with distortion is moved, pixel by nearest pixel, to where the rectified image has it."""
    height, width = depth_m.shape
    sized = camera.scaled_to(width, height)
    if not sized.is_rectified:
        u, v = (np.round(values).astype(np.int64) for values in sized.rectification_maps())
        inside = (u >= 0) & (u < width) & (v >= 0) & (v < height)
        depth_m = np.where(inside, depth_m[np.clip(v, 0, height - 1), np.clip(u, 0, width - 1)], np.float32(0.0))
    return TrueDepth(stamp_ns, depth_m, sized.rectified)
