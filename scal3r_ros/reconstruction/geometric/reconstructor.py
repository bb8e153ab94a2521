"""The reconstructor without weights: feature tracks, bundle adjustment, plane sweep."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from numpy.linalg import LinAlgError
from numpy.typing import NDArray

from scal3r_ros.configuration import parameter, section
from scal3r_ros.errors import ReconstructionError
from scal3r_ros.features.klt import KltConfig
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.reconstruction.device import torch_device
from scal3r_ros.reconstruction.geometric import dense
from scal3r_ros.reconstruction.geometric.dense import KnownDepth, dense_depth
from scal3r_ros.reconstruction.geometric.motion.values import Motion, MotionConfig, start_from
from scal3r_ros.reconstruction.geometric.plane_sweep import PlaneSweepConfig, depth_size
from scal3r_ros.reconstruction.geometric.tracks import features_of, track_table
from scal3r_ros.reconstruction.geometric.triangulation import TrackTable, near_depth
from scal3r_ros.reconstruction.geometric.window import adjustment
from scal3r_ros.reconstruction.geometric.window.fixed_lag import FixedLagWindow, LagConfig
from scal3r_ros.reconstruction.geometric.window.health import at_constant_velocity, jump_of_depth
from scal3r_ros.reconstruction.protocol import Chunk, ChunkGeometry, ChunkHealth, Previous, Tracks

_NUMERICAL = (ArithmeticError, IndexError, LinAlgError, RuntimeError, ValueError, cv2.error)
"""How numpy, OpenCV, torch and GTSAM say that numbers are degenerate."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class GeometricConfig:
    """Parameters of the reconstructor `geometric`."""

    motion: MotionConfig = section(MotionConfig)
    lag: LagConfig = section(LagConfig)
    sweep: PlaneSweepConfig = section(PlaneSweepConfig)
    device: str = parameter("auto", "torch device of the dense stage: auto takes a GPU where there is one")
    threads: int = parameter(2, "frames whose depth is computed at a time on the CPU", minimum=1, maximum=256)


class GeometricReconstructor:
    """Poses and sparse points from tracks, then depth for every frame. State: how far near points were."""

    def __init__(self, config: GeometricConfig, klt: KltConfig) -> None:
        self._config, self._klt = config, klt
        self._near_depth: float | None = None
        self._window = FixedLagWindow(config.lag, config.motion)
        self._device = torch_device(config.device)
        self._pool = _single_threaded_pool(config.threads if self._device.type == "cpu" else 1)
        dense.prepare(config.sweep)
        adjustment.prepare()

    @property
    def name(self) -> str:
        """Name as in the parameter `reconstructor`."""
        return "geometric"

    def reset(self) -> None:
        """Forget the window, the camera's distortion and how far near points were."""
        self._near_depth = None
        self._window.reset()

    def close(self) -> None:
        """Ends the threads of the dense stage."""
        self._pool.shutdown()

    def metrics(self) -> Mapping[str, int | float]:
        """Nothing is learnt from chunk to chunk."""
        return {}

    @property
    def max_parallel_chunks(self) -> int:
        """One chunk at a time."""
        return 1

    @property
    def memory(self) -> None:
        """How far near points were is soon found again."""
        return None

    @property
    def recall(self) -> None:
        """Frames from both ends of a loop have no tracks in common."""
        return None

    def reconstruct(self, chunk: Chunk, previous: Previous | None, following: Sequence[Chunk] = ()) -> ChunkGeometry:
        """Geometry of `chunk`. The gauge is its first camera, and the scale of `previous` where there is one.

        Whatever the frames show, there is a geometry: where nothing can be made of them its health is LOST.

        Raises:
            ReconstructionError: the camera is not calibrated.
        """
        cameras = {frame.intrinsics for frame in chunk.frames}
        camera = chunk.frames[0].intrinsics
        if camera is None or None in cameras:
            raise ReconstructionError(
                "the reconstructor 'geometric' needs a calibrated camera: publish camera_info, or give a "
                "calibration file (--calib)"
            )
        if len(cameras) == 1:
            try:
                return self._measured(chunk, previous, camera)
            except _NUMERICAL as error:
                _log.warning("nothing can be made of chunk %d", chunk.index, exc_info=True)
                note = f"nothing can be made of it: {error}"
        else:
            note = "the camera's calibration changes within it"
        self._window.begin()
        height, width = depth_size(camera, self._config.sweep.width)
        return at_constant_velocity(chunk, previous, camera.scaled(width, height), note)

    def _measured(self, chunk: Chunk, previous: Previous | None, intrinsics: Intrinsics) -> ChunkGeometry:
        started = time.perf_counter()
        features = features_of(chunk, self._klt)
        tracked = time.perf_counter()
        before = self._near_depth
        if before is None:  # the first chunk, or the first that this process is given
            before = 1.0 if previous is None else _near_depth_of(previous)
        start = None if previous is None else start_from(chunk, previous, before)
        if previous is None:
            self._window.begin()
        frames = len(chunk.frames)
        found = self._window.estimate(chunk, features, intrinsics, start, before)
        motion, intrinsics = found.motion, found.camera
        moved = time.perf_counter()
        table = track_table(features, [intrinsics] * frames)
        motion = self._with_depth_judged(motion, table, before, followed=found.T_before_now is not None)
        seen = _points_by_frame(table, motion, frames)
        images = [frame.image for frame in chunk.frames]
        known = None
        if previous is not None and chunk.shared and motion.health is not ChunkHealth.FEW_TRACKS:
            known = KnownDepth(previous.geometry.depth[-chunk.shared :], previous.geometry.confidence[-chunk.shared :])
        with torch.inference_mode():
            depth, confidence, small = dense_depth(
                images, intrinsics, motion.T_ref_cam, seen, known, self._config.sweep, self._device, self._pool
            )
        done = time.perf_counter()
        return ChunkGeometry(
            T_chunk_cam=motion.T_ref_cam,
            intrinsics=(small,) * frames,
            depth=depth,
            confidence=confidence,
            health=motion.health,
            note=motion.note,
            tracks=Tracks(motion.ids, motion.points, motion.sigma.astype(np.float32)),
            T_previous_chunk=found.T_before_now,
            step_covariance=found.covariance,
            timings={"tracks_s": tracked - started, "motion_s": moved - tracked, "depth_s": done - moved},
        )

    def _with_depth_judged(self, motion: Motion, table: TrackTable, before: float, followed: bool) -> Motion:
        """The motion, doubted where its near points are not where they were `before`; remembers how far they are."""
        if motion.health not in (ChunkHealth.OK, ChunkHealth.DEGRADED):
            return motion
        now = near_depth(table, motion.T_ref_cam, motion.ids, motion.points)
        self._near_depth = now
        against = jump_of_depth(before, now) if followed else ""
        if not against:
            return motion
        note = "; ".join(part for part in (motion.note, f"its motion is doubtful: {against}") if part)
        return replace(motion, health=ChunkHealth.DEGRADED, note=note)


def _single_threaded_pool(threads: int) -> ThreadPoolExecutor:
    """A pool that runs whole frames side by side, so each of its threads computes alone; others stay as they are.

    torch keeps the number of threads by calling thread, but hands the last one set to threads that are new.
    """
    before = torch.get_num_threads()
    together = threading.Barrier(threads)  # so that every thread of the pool starts now
    pool = ThreadPoolExecutor(threads, "sweep", initializer=lambda: torch.set_num_threads(1))
    for started in [pool.submit(together.wait) for _ in range(threads)]:
        started.result()
    torch.set_num_threads(before)
    return pool


def _near_depth_of(previous: Previous) -> float:
    """How far near points are by the chunk before; 1 where it does not tell."""
    geometry, given = previous.geometry, [frame.features for frame in previous.chunk.frames]
    features = [item for item in given if item is not None]
    if geometry.tracks is None or len(features) < len(given):
        return 1.0
    table = track_table(features, geometry.intrinsics)
    return near_depth(table, geometry.T_chunk_cam, geometry.tracks.ids, geometry.tracks.points_chunk)


def _points_by_frame(table: TrackTable, motion: Motion, frames: int) -> dict[int, NDArray[np.float64]]:
    """The adjusted points (k, 3) that each frame sees."""
    _, in_table, in_motion = np.intersect1d(table.ids, motion.ids, return_indices=True)
    row = np.full(len(table.ids), -1)
    row[in_table] = in_motion
    return {
        frame: motion.points[rows[rows >= 0]]
        for frame, rows in ((frame, row[table.track[table.frame == frame]]) for frame in range(frames))
    }
