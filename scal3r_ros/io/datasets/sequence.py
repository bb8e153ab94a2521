"""What every data set's reader gives: one camera's images with their times, calibration and true poses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.errors import SequenceError
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.io.calibration import CameraCalibration
from scal3r_ros.mapping.values import SensorSample


@dataclass(frozen=True, eq=False)
class DepthImages:
    """True z-depth: a 16-bit file each, with the stamps (n,) int64 of the images that it belongs to.

    `per_metre` is how many units a metre has; `calibration` that of the depth, None where it lies on the images.
    """

    paths: tuple[Path, ...]
    stamps_ns: NDArray[np.int64]
    per_metre: float
    calibration: CameraCalibration | None = None


@dataclass(frozen=True, eq=False)
class ImageSequence:
    """`paths` of n images, `stamps_ns` (n,) int64 ascending, and what is known of the camera that took them.

    `ground_truth` holds true poses T_world_cam by the same clock; it may be None, or have poses at other times.
    `name` is that of the sequence in its data set, `kind` that of the data set. `samples` reads what an IMU or a
    satellite receiver recorded beside the camera, by time; None where there is nothing. `depth` is that of some
    of the images. The images are upright after `quarter_turns` against the clock.
    """

    kind: str
    name: str
    paths: tuple[Path, ...]
    stamps_ns: NDArray[np.int64]
    calibration: CameraCalibration | None = None
    ground_truth: Trajectory | None = None
    samples: Callable[[], Sequence[SensorSample]] | None = None
    depth: DepthImages | None = None
    quarter_turns: int = 0


def depth_beside(
    images: Sequence[Path],
    stamps_ns: NDArray[np.int64],
    depth_of: Callable[[Path], Path],
    per_metre: float,
    calibration: CameraCalibration | None = None,
) -> DepthImages | None:
    """The depth of those images that have a file of depth; None where none has."""
    files = [depth_of(image) for image in images]
    rows = [row for row, file in enumerate(files) if file.is_file()]
    if not rows:
        return None
    return DepthImages(tuple(files[row] for row in rows), stamps_ns[rows], per_metre, calibration)


def existing(paths: list[Path], what: str) -> Path:
    """The first of `paths` that exists.

    Raises:
        SequenceError: none does; `what` names what they would have been.
    """
    for path in paths:
        if path.exists():
            return path
    raise SequenceError(f"{paths[0]} is missing: {what}")


def as_many(name: str, paths: tuple[Path, ...], stamps_ns: NDArray[np.int64]) -> NDArray[np.int64]:
    """The stamps of the images, where there is one for each.

    Raises:
        SequenceError: there are fewer stamps than images.
    """
    if len(stamps_ns) < len(paths):
        raise SequenceError(f"{name} has {len(stamps_ns)} times for {len(paths)} images")
    return stamps_ns[: len(paths)]
