"""Keyframes that are kept for as long as the map lives, on disk beyond a size."""

from __future__ import annotations

import io
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import IO, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from scal3r_ros.errors import MappingError
from scal3r_ros.features.sift import LocalFeatures
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.geometry.projection import backproject_pixels, confident, nearest_pixels
from scal3r_ros.reconstruction.protocol import Frame

Array = NDArray[np.float64]

VIEW_WIDTH = 160
"""Width to which the depth of a kept view is thinned."""
JPEG_QUALITY = 90


@dataclass(frozen=True, eq=False)
class KeptView:
    """An image as JPEG bytes (n,) uint8 with its camera [fx, fy, cx, cy] (4,), and thinned depth (h, w) float32.

    `confidence` (h, w) float32 and `depth_camera` (4,) belong to the depth, which is in the submap's unit.
    """

    jpeg: NDArray[np.uint8]
    camera: Array
    depth: NDArray[np.float32]
    confidence: NDArray[np.float32]
    depth_camera: Array


@dataclass(frozen=True, eq=False)
class KeptKeyframe:
    """A keyframe of a submap: `T_submap_cam` (4, 4), local features, and how far away each is.

    `points_cam` (n, 3) float32 in the camera's frame and the submap's unit, of the features (n); `rays` (n, 2) float32
    their image points on the z = 1 plane, of standard deviation `sigma` (n,) there. `view` is None where it is not
    needed.
    """

    submap: int
    stamp_ns: int
    T_submap_cam: Array
    features: LocalFeatures
    points_cam: NDArray[np.float32]
    rays: NDArray[np.float32]
    sigma: NDArray[np.float32]
    view: KeptView | None


def keep_keyframe(
    submap: int,
    frame: Frame,
    T_submap_cam: Array,
    depth: NDArray[np.float32],
    confidence: NDArray[np.float32],
    depth_camera: Intrinsics,
    features: LocalFeatures,
    min_confidence: float,
    with_view: bool,
) -> KeptKeyframe:
    """What is kept of a frame: its features whose depth (h, w) is known with at least `min_confidence`."""
    height, width = frame.image.shape[:2]
    camera = frame.intrinsics or depth_camera.scaled(width, height)
    _, row, column = nearest_pixels(features.uv, frame.image.shape, depth.shape)
    z = depth[row, column].astype(np.float64)
    known = np.flatnonzero(confident(z, confidence[row, column], min_confidence))
    features = features.take(known)
    uv = features.uv.astype(np.float64)
    points = backproject_pixels(uv, z[known], camera)
    view = _view(frame, camera, depth, confidence, depth_camera) if with_view else None
    return KeptKeyframe(
        submap,
        frame.stamp_ns,
        T_submap_cam,
        features,
        points.astype(np.float32),
        ((uv - [camera.cx, camera.cy]) / [camera.fx, camera.fy]).astype(np.float32),
        (features.sigma / camera.fx).astype(np.float32),
        view,
    )


class KeyframeDatabase:
    """Kept keyframes by row, in order of addition. What exceeds `memory_mb` lies in a temporary file without a name."""

    def __init__(self, memory_mb: int) -> None:
        self._memory_bytes = memory_mb * 2**20
        self._ends: list[int] = [0]
        self._submaps: list[int] = []
        self._stamps_ns: list[int] = []
        self._file: IO[bytes] = io.BytesIO()  # for as long as `memory_mb` takes it
        self._on_disk = False

    def __len__(self) -> int:
        return len(self._submaps)

    def submap(self, row: int) -> int:
        """The submap of a row."""
        return self._submaps[row]

    def stamp_ns(self, row: int) -> int:
        """The stamp of a row."""
        return self._stamps_ns[row]

    def clear(self) -> None:
        """Forget all keyframes."""
        self._file.close()
        self._ends, self._submaps, self._stamps_ns = [0], [], []
        self._file, self._on_disk = io.BytesIO(), False

    def add(self, keyframe: KeptKeyframe) -> int:
        """Appends a keyframe and gives its row.

        Raises:
            MappingError: the disk refuses it; nothing is appended.
        """
        buffer = io.BytesIO()
        np.savez(buffer, **_arrays(keyframe))
        self._append(buffer.getvalue())
        self._submaps.append(keyframe.submap)
        self._stamps_ns.append(keyframe.stamp_ns)
        return len(self) - 1

    def keyframe(self, row: int) -> KeptKeyframe:
        """The keyframe of a row."""
        self._file.seek(self._ends[row])
        with np.load(io.BytesIO(self._file.read(self._ends[row + 1] - self._ends[row]))) as arrays:
            return _keyframe(arrays)

    def snapshot(self, rows: Sequence[int]) -> dict[str, NDArray[np.generic]]:
        """The keyframes of some rows as plain arrays, for `restore`; all of them are read when they are used."""
        content, ends = self._bytes(), np.array(self._ends, np.int64)
        if len(rows) < len(self):
            pieces = [content[ends[row] : ends[row + 1]] for row in rows]
            content = np.concatenate([np.zeros(0, np.uint8), *pieces])
            ends = np.concatenate([[0], np.cumsum([len(piece) for piece in pieces], dtype=np.int64)])
        return {
            "bytes": content,
            "ends": ends,
            "submaps": np.array([self._submaps[row] for row in rows], np.int64),
            "stamps_ns": np.array([self._stamps_ns[row] for row in rows], np.int64),
        }

    def restore(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        """Become the database whose `snapshot` is given, in place of this one; raises as `add`."""
        self.clear()
        self._append(np.ascontiguousarray(arrays["bytes"], np.uint8).data)
        self._ends = [int(end) for end in arrays["ends"]]
        self._submaps = [int(submap) for submap in arrays["submaps"]]
        self._stamps_ns = [int(stamp) for stamp in arrays["stamps_ns"]]

    def _bytes(self) -> NDArray[np.uint8]:
        size = self._ends[-1]
        if self._on_disk and size:
            self._file.flush()
            return np.memmap(self._file, np.uint8, "r", shape=(size,))
        self._file.seek(0)
        return np.frombuffer(self._file.read(size), np.uint8)

    def _append(self, content: bytes | memoryview) -> None:
        end = self._ends[-1] + len(content)
        try:
            if end > self._memory_bytes and not self._on_disk:
                self._move_to_disk()
            self._file.seek(self._ends[-1])
            self._file.write(content)
            self._file.flush()
        except OSError as error:
            raise MappingError(
                f"no room for kept keyframes in {tempfile.gettempdir()}: {error.strerror}; free some, set TMPDIR, or "
                "raise loops.memory_mb"
            ) from error
        self._ends.append(end)

    def _move_to_disk(self) -> None:
        with ExitStack() as opened:
            file = opened.enter_context(tempfile.TemporaryFile(prefix="scal3r_keyframes_"))
            self._file.seek(0)
            shutil.copyfileobj(self._file, file)
            opened.pop_all()
        self._file.close()
        self._file, self._on_disk = file, True


def _view(
    frame: Frame, camera: Intrinsics, depth: NDArray[np.float32], confidence: NDArray[np.float32], of_depth: Intrinsics
) -> KeptView:
    bgr = cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR)
    _, jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    step = max(1, -(-depth.shape[1] // VIEW_WIDTH))
    thinned = depth[::step, ::step]
    # A pixel kept is a pixel that was: its centre is where it was, in steps.
    focal = np.array([of_depth.fx, of_depth.fy, of_depth.cx, of_depth.cy]) / step
    own = np.array([camera.fx, camera.fy, camera.cx, camera.cy])
    return KeptView(np.asarray(jpeg, np.uint8).ravel(), own, thinned, confidence[::step, ::step], focal)


def _arrays(keyframe: KeptKeyframe) -> dict[str, Any]:
    features, view = keyframe.features, keyframe.view
    arrays: dict[str, Any] = {
        "head": np.array([keyframe.submap, keyframe.stamp_ns], np.int64),
        "T": keyframe.T_submap_cam,
        "uv": features.uv,
        "feature_sigma": features.sigma,
        "descriptors": features.descriptors,
        "points": keyframe.points_cam,
        "rays": keyframe.rays,
        "sigma": keyframe.sigma,
    }
    if view is not None:
        arrays |= {"jpeg": view.jpeg, "camera": view.camera, "depth_camera": view.depth_camera}
        arrays |= {"depth": view.depth.astype(np.float16), "confidence": view.confidence.astype(np.float16)}
    return arrays


def _keyframe(arrays: Mapping[str, NDArray[np.generic]]) -> KeptKeyframe:
    submap, stamp_ns = (int(number) for number in arrays["head"])
    view = None
    if "jpeg" in arrays:
        view = KeptView(
            np.asarray(arrays["jpeg"], np.uint8),
            np.asarray(arrays["camera"], np.float64),
            np.asarray(arrays["depth"], np.float32),
            np.asarray(arrays["confidence"], np.float32),
            np.asarray(arrays["depth_camera"], np.float64),
        )
    features = LocalFeatures(
        np.asarray(arrays["uv"], np.float32),
        np.asarray(arrays["feature_sigma"], np.float32),
        np.asarray(arrays["descriptors"], np.uint8),
    )
    points, rays, sigma = (np.asarray(arrays[name], np.float32) for name in ("points", "rays", "sigma"))
    return KeptKeyframe(submap, stamp_ns, np.asarray(arrays["T"], np.float64), features, points, rays, sigma, view)
