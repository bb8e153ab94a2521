"""Clips of recordings with ground truth: bags, and folders of posed RGB-D images.

A folder is what `scal3r bag` takes, under these names: `rgb/` (or `color/`) with images, `depth/` with 16-bit depth in
millimetres numbered as their images, `poses.txt` (KITTI rows, 4×4 rows or TUM; one pose an image, in order) and
`calib.txt`. Frames without pose or depth are skipped.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence as Items
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from scal3r_ros.errors import TrainingError
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.io.bags.reader import BagReader
from scal3r_ros.io.calibration import read_calibration
from scal3r_ros.io.images.folder import find_images, frame_number, read_depth, read_image
from scal3r_ros.io.images.rectifier import Rectifier
from scal3r_ros.io.trajectories import read_trajectory
from scal3r_ros.training.data.clips import Clip, ClipFolder


@dataclass(frozen=True)
class PosedFrame:
    """`image` (h, w, 3) uint8 RGB, `depth_m` (h', w') float32 of the same view, `T_world_cam` (4, 4), its camera."""

    image: NDArray[np.uint8]
    depth_m: NDArray[np.float32]
    T_world_cam: NDArray[np.float64]
    intrinsics: Intrinsics


class RecordedClips:
    """The clips of a bag or folder at each of some sizes; neighbours share half of their frames.

    They are cut once and kept in `cache`.

    Raises:
        TrainingError: the source has too few frames with pose and depth for a clip.
        SequenceError: the source cannot be read.
    """

    def __init__(self, source: Path, cache: Path, clip_frames: int, sizes: Items[tuple[int, int]]) -> None:
        self._clips = ClipFolder(cache / source.resolve().name)
        self._sizes = len(sizes)
        frames = posed_folder(source) if (source / "calib.txt").exists() else posed_bag(source)
        count = 0
        for cut in _cut(frames, clip_frames):
            for width, height in sizes:
                if count not in self._clips:
                    self._clips.save(count, clip_of(cut, width, height))
                count += 1
        if not count:
            raise TrainingError(
                f"{source} has fewer than {clip_frames} frames with true pose and true depth: choose a smaller"
                " data.clip_frames"
            )
        self._count = count

    def usable(self, size: int, step: int) -> Items[int]:
        """Numbers of all clips of a size."""
        return range(size, self._count, self._sizes)

    def clip(self, number: int) -> Clip:
        """A clip; numbers beyond the last one start again."""
        return self._clips.load(number % self._count)


def posed_bag(path: Path) -> Iterator[PosedFrame]:
    """The frames of a bag that have a true pose and true depth."""
    with BagReader(path) as reader:
        truth = reader.ground_truth()
        poses = {} if truth is None else dict(zip(truth.stamps_ns.tolist(), truth.T_ref_cam, strict=True))
        depths = reader.depth_frames()
        stamp_ns, depth_m = next(depths, (None, None))
        for frame in reader.frames():
            while stamp_ns is not None and stamp_ns < frame.stamp_ns:
                stamp_ns, depth_m = next(depths, (None, None))
            if frame.intrinsics is None:
                raise TrainingError(f"bag {path} has no calibration: its frames cannot be trained on")
            if stamp_ns == frame.stamp_ns and depth_m is not None and frame.stamp_ns in poses:
                yield PosedFrame(frame.image, depth_m, poses[frame.stamp_ns], frame.intrinsics)


def posed_folder(folder: Path) -> Iterator[PosedFrame]:
    """The frames of a posed RGB-D folder that have depth."""
    images = find_images(next((folder / name for name in ("rgb", "color") if (folder / name).is_dir()), folder)).paths
    poses = read_trajectory(folder / "poses.txt", np.arange(len(images), dtype=np.int64)).T_ref_cam
    depths = {frame_number(path): path for path in find_images(folder / "depth").paths}
    rectifier: Rectifier | None = None
    for path, T_world_cam in zip(images, poses, strict=False):
        depth = depths.get(frame_number(path))
        if depth is None:
            continue
        image = read_image(path)
        image = np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image
        if rectifier is None:
            rectifier = Rectifier(read_calibration(folder / "calib.txt", image.shape[1], image.shape[0]))
        rectified = rectifier.rectify(image)
        if rectifier.intrinsics is None:
            raise TrainingError(f"the calibration of {folder} cannot be used: its frames cannot be trained on")
        yield PosedFrame(rectified, read_depth(depth), T_world_cam, rectifier.intrinsics)


def clip_of(frames: Items[PosedFrame], width: int, height: int) -> Clip:
    """Frames as a clip of `width` × `height` pixels: resized to cover that, then cut around the principal point."""
    first = frames[0].intrinsics
    cover = max(width / first.width, height / first.height)
    resized = first.scaled(max(width, round(first.width * cover)), max(height, round(first.height * cover)))
    left = int(np.clip(round(resized.cx - (width - 1) / 2), 0, resized.width - width))
    top = int(np.clip(round(resized.cy - (height - 1) / 2), 0, resized.height - height))
    window = (slice(top, top + height), slice(left, left + width))
    size = (resized.width, resized.height)
    K = resized.K
    K[0, 2] -= left
    K[1, 2] -= top
    return Clip(
        np.stack([cv2.resize(f.image, size, interpolation=cv2.INTER_AREA)[window] for f in frames]),
        np.stack([cv2.resize(f.depth_m, size, interpolation=cv2.INTER_NEAREST)[window] for f in frames]),
        np.stack([f.T_world_cam for f in frames]),
        K,
        zero_is_far=False,
    )


def _cut(frames: Iterator[PosedFrame], length: int) -> Iterator[list[PosedFrame]]:
    window: list[PosedFrame] = []
    for frame in frames:
        window.append(frame)
        if len(window) == length:
            yield window
            window = window[max(1, length // 2) :]
