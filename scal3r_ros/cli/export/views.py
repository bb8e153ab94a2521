"""The images of a drive beside their poses: written without distortion, and tracked for the points that they see."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from scal3r_ros.cli.export.mapped import PosedFrames
from scal3r_ros.errors import MappingError
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.io.atomic_write import os_errors_as, write_atomically
from scal3r_ros.io.sources import SourceOptions, open_source
from scal3r_ros.reconstruction.geometric.structure import StructureBuilder
from scal3r_ros.reconstruction.protocol import Frame, TrackedPoints

IMAGES_FOLDER = "images"


@dataclass(frozen=True, eq=False)
class Views:
    """Posed images: `T_map_cam` (n, 4, 4), the camera and file name of each, and the points that they see."""

    T_map_cam: NDArray[np.float64]
    cameras: Sequence[Intrinsics]
    names: Sequence[str]
    points: TrackedPoints


def write_views(
    source: Path, options: SourceOptions, every: int, frames: PosedFrames, folders: Sequence[Path]
) -> Views:
    """Writes each `every`-th posed image of `source` as `images/<stamp in ns>.png` into all of the folders.

    Raises:
        MappingError: no image has the stamp of a posed frame, or none of them has a known camera.
        SequenceError: the source cannot be read.
    """
    for folder in folders:
        with os_errors_as(folder):
            (folder / IMAGES_FOLDER).mkdir(parents=True, exist_ok=True)
    builder = StructureBuilder()
    poses, cameras, names = [], [], []
    matched = 0
    for frame, row in _matched(source, options, frames):
        matched += 1
        camera = frames.cameras[row] or frame.intrinsics
        if camera is None:
            raise MappingError(f"the camera of {source} is not calibrated; give its calibration with --calib")
        if (matched - 1) % every:
            builder.skip(frame.image)
            continue
        T_map_cam = frames.poses.T_ref_cam[row]
        builder.add(frame.image, camera, T_map_cam)
        name = f"{frame.stamp_ns:019d}.png"
        encoded = cv2.imencode(".png", cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR))[1].tobytes()
        for folder in folders:
            write_atomically(folder / IMAGES_FOLDER / name, encoded)
        poses.append(T_map_cam)
        cameras.append(camera)
        names.append(name)
    if not names:
        raise MappingError(
            f"no image of {source} has the stamp of a posed frame; give the source that was mapped, and the same "
            "--rate, --times or --image-topic"
        )
    return Views(np.stack(poses), cameras, names, builder.points())


def _matched(source: Path, options: SourceOptions, frames: PosedFrames) -> Iterator[tuple[Frame, int]]:
    """The frames of the source that were posed, in order, each with its row."""
    rows = {stamp: row for row, stamp in enumerate(frames.poses.stamps_ns.tolist())}
    with closing(open_source(source, options)) as reader:
        for frame in reader.frames():
            row = rows.pop(frame.stamp_ns, None)
            if row is not None:
                yield frame, row
