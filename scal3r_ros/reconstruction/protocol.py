"""What travels between the window, a reconstructor and the mapper, and the protocol every reconstructor fulfils.

Imports neither torch nor ROS: `mapping/` depends on this file alone of its room.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.geometry.intrinsics import Intrinsics


@dataclass(frozen=True)
class Features:
    """Tracked image points of one frame: the same id in two frames is the same scene point.

    `ids` (n,) int64, ascending and unique; `uv` (n, 2) float32 pixels of the rectified image. `blur` is the factor by
    which they are less precise than those of a sharp image. `velocity` (n, 2) float32 is their motion
    in the image in pixels/s, None where it is not known.
    """

    ids: NDArray[np.int64]
    uv: NDArray[np.float32]
    blur: float = 1.0
    velocity: NDArray[np.float32] | None = None

    def on_unit_plane(self, camera: Intrinsics) -> NDArray[np.float64]:
        """Places (n, 2) on the z = 1 plane where the points were when the middle row of the image was exposed."""
        uv = self.uv.astype(np.float64)
        return camera.on_unit_plane(uv - camera.readout_s * self.per_readout(camera))

    def per_readout(self, camera: Intrinsics) -> NDArray[np.float64]:
        """How far (n, 2) in pixels the points are from there, for each second that the image takes to be read out."""
        if self.velocity is None:
            return np.zeros((len(self.uv), 2))
        row = (self.uv[:, 1:].astype(np.float64) + 0.5) / camera.height - 0.5
        return np.asarray(row * self.velocity)


@dataclass(frozen=True)
class Frame:
    """One rectified image as it enters the mapper.

    `index` counts frames in order of arrival from 0; `stamp_ns` is the exposure time in nanoseconds; `image` is
    (h, w, 3) uint8 RGB without lens distortion (grey cameras repeat their channel); `intrinsics` belong to `image`,
    None where the camera is uncalibrated; `features` are set by the camera-rate tracker, None before it.
    """

    index: int
    stamp_ns: int
    image: NDArray[np.uint8]
    intrinsics: Intrinsics | None
    features: Features | None = None


@dataclass(frozen=True)
class Chunk:
    """S consecutive keyframes, the first `shared` of which are also the last of the chunk before."""

    index: int
    frames: tuple[Frame, ...]
    shared: int


@dataclass(frozen=True, eq=False)
class TrackedPoints:
    """Scene points with the views that see them.

    `points` (n, 3) float64 and `colours` (n, 3) uint8 RGB, `error_px` (n,) mean reprojection error in pixels. Of m
    observations `point` (m,) int64 is the point, ascending, `view` (m,) int64 the view, `uv` (m, 2) float32 the pixel.
    """

    points: NDArray[np.float64]
    colours: NDArray[np.uint8]
    error_px: NDArray[np.float64]
    point: NDArray[np.int64]
    view: NDArray[np.int64]
    uv: NDArray[np.float32]


class ChunkHealth(Enum):
    """Whether a chunk's geometry was measured, or what was missing to measure it.

    DEGRADED was measured and contradicts itself or what was before; LOST could not even be tried.
    """

    OK = "ok"
    NO_PARALLAX = "no_parallax"
    PURE_ROTATION = "pure_rotation"
    FEW_TRACKS = "few_tracks"
    NOT_FINITE = "not_finite"
    DEGRADED = "degraded"
    LOST = "lost"


@dataclass(frozen=True)
class Tracks:
    """Sparse structure behind a chunk: scene points that were tracked and triangulated.

    `ids` (n,) int64 ascending, the ids of `Features`; `points_chunk` (n, 3) float64 in the chunk's frame and scale;
    `sigma` (n,) float32 one standard deviation of a point along its worst axis, in the same unit.
    """

    ids: NDArray[np.int64]
    points_chunk: NDArray[np.float64]
    sigma: NDArray[np.float32]


@dataclass(frozen=True)
class ChunkGeometry:
    """What a reconstructor makes of a chunk of S frames, all of it in the chunk's own gauge (frame and scale).

    `T_chunk_cam` (S, 4, 4) float64; `intrinsics` of the depth maps, one per frame, with the `radial` of their images;
    `depth` (S, h, w) float32 z-depth, 0 where unknown; `confidence` (S, h, w) float32 in 0..1, 0 where the depth is not
    to be used; `health` and `note` give whether and why the motion was predicted by constant velocity instead of
    measured, or is doubtful; `tracks` where the reconstructor has sparse structure; `descriptors` (S, d) float32 global
    image descriptors for place recognition, None where it has none; `T_previous_chunk` (4, 4) the chunk's frame in that
    of the chunk before, at the same scale, where the reconstructor has adjusted both together, and
    `step_covariance` (7, 7) that of δ in `T_previous_chunk @ Sim3.from_log(δ)`, where it knows that; `unit_sigma` how
    far the logarithm of the chunk's unit may be off that of the drive's first chunk (one standard deviation), where the
    reconstructor carries it from there, None where the units of chunks are unrelated; `timings` seconds per stage.
    """

    T_chunk_cam: NDArray[np.float64]
    intrinsics: tuple[Intrinsics, ...]
    depth: NDArray[np.float32]
    confidence: NDArray[np.float32]
    health: ChunkHealth = ChunkHealth.OK
    note: str = ""
    tracks: Tracks | None = None
    descriptors: NDArray[np.float32] | None = None
    T_previous_chunk: NDArray[np.float64] | None = None
    step_covariance: NDArray[np.float64] | None = None
    unit_sigma: float | None = None
    timings: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Previous:
    """The chunk before, given to the reconstructor of the next: where its shared frames may start from."""

    chunk: Chunk
    geometry: ChunkGeometry


class LearnedMemory(Protocol):
    """What a reconstructor has learned from its chunks, as a file."""

    def snapshot(self, path: Path) -> None:
        """Writes what was learned so far; raises a subclass of `Scal3rError` where the disk refuses it."""

    def restore(self, path: Path) -> None:
        """Continues, bit for bit, from what was written; raises a subclass of `Scal3rError` where it does not fit."""


Recall = Callable[[Chunk], ChunkGeometry | None]
"""Geometry of a chunk by what was learned, without learning from it; None where nothing finite comes out."""


class ChunkStep(Protocol):
    """Something done to the geometry of a chunk inside a reconstructor. Keeps no state; called from any thread."""

    def __call__(self, chunk: Chunk, geometry: ChunkGeometry, previous: Previous | None) -> ChunkGeometry:
        """`geometry` of `chunk`, improved; `previous` where the chunk shares frames with one before."""


class Reconstructor(Protocol):
    """Turns a chunk of frames into geometry. Deterministic for equal calls in equal order after `reset`."""

    @property
    def name(self) -> str:
        """Name as in the parameter `reconstructor`."""

    @property
    def max_parallel_chunks(self) -> int:
        """How many consecutive chunks it can work on at the same time; the mapper gives it that many where it can."""

    @property
    def memory(self) -> LearnedMemory | None:
        """What it learns from chunk to chunk, so that a saved map can keep it; None where it learns nothing to keep."""

    @property
    def recall(self) -> Recall | None:
        """Answers a chunk and leaves everything learned as it is; None for a reconstructor that cannot."""

    def reconstruct(self, chunk: Chunk, previous: Previous | None, following: Sequence[Chunk] = ()) -> ChunkGeometry:
        """Geometry of `chunk`; raises `ReconstructionError` only for input it can never handle.

        `following` are full chunks that will be asked for next: it may work on up to `max_parallel_chunks` − 1 of
        them at once and keep the results.
        """

    def reset(self) -> None:
        """Forgets everything learned from earlier chunks."""

    def metrics(self) -> Mapping[str, int | float]:
        """Numbers about what was learned so far, for the diagnostics. Called from any thread, and never waits."""

    def close(self) -> None:
        """Ends the threads and processes that belong to it; it must not be used afterwards."""
