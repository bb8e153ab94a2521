"""The reconstructor without weights: feature tracks, bundle adjustment, plane sweep."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from scal3r_ros.configuration import parameter, section
from scal3r_ros.errors import ReconstructionError
from scal3r_ros.features.klt import KltConfig
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.reconstruction.device import torch_device
from scal3r_ros.reconstruction.geometric.dense import KnownDepth, dense_depth
from scal3r_ros.reconstruction.geometric.motion import Motion, MotionConfig, estimate_motion, start_from
from scal3r_ros.reconstruction.geometric.plane_sweep import PlaneSweepConfig
from scal3r_ros.reconstruction.geometric.tracks import features_of, track_table
from scal3r_ros.reconstruction.geometric.triangulation import TrackTable, near_depth
from scal3r_ros.reconstruction.protocol import Chunk, ChunkGeometry, ChunkHealth, Previous, Tracks


@dataclass(frozen=True)
class GeometricConfig:
    """Parameters of the reconstructor `geometric`."""

    motion: MotionConfig = section(MotionConfig)
    sweep: PlaneSweepConfig = section(PlaneSweepConfig)
    device: str = parameter("auto", "torch device of the dense stage: auto takes a GPU where there is one")
    threads: int = parameter(2, "frames whose depth is computed at a time on the CPU", minimum=1, maximum=256)


class GeometricReconstructor:
    """Poses and sparse points from tracks, then depth for every frame. State: how far near points were."""

    def __init__(self, config: GeometricConfig, klt: KltConfig) -> None:
        self._config, self._klt = config, klt
        self._near_depth = 1.0
        self._device = torch_device(config.device)
        self._pool = _single_threaded_pool(config.threads if self._device.type == "cpu" else 1)

    @property
    def name(self) -> str:
        """Name as in the parameter `reconstructor`."""
        return "geometric"

    def reset(self) -> None:
        """Forget how far near points were."""
        self._near_depth = 1.0

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

        Raises:
            ReconstructionError: a frame has no intrinsics, or the frames differ in size.
        """
        intrinsics = _common_intrinsics(chunk)
        started = time.perf_counter()
        table = track_table(features_of(chunk, self._klt), [intrinsics] * len(chunk.frames))
        tracked = time.perf_counter()
        start = None if previous is None else start_from(chunk, previous, self._near_depth)
        frames = len(chunk.frames)
        motion = estimate_motion(table, frames, intrinsics.fx, start, self._config.motion)
        moved = time.perf_counter()
        seen = _points_by_frame(table, motion, frames)
        images = [frame.image for frame in chunk.frames]
        known = None
        if previous is not None and chunk.shared and motion.health is not ChunkHealth.FEW_TRACKS:
            known = KnownDepth(previous.geometry.depth[-chunk.shared :], previous.geometry.confidence[-chunk.shared :])
        with torch.inference_mode():
            depth, confidence, small = dense_depth(
                images, intrinsics, motion.T_ref_cam, seen, known, self._config.sweep, self._device, self._pool
            )
        if motion.health is ChunkHealth.OK:
            self._near_depth = near_depth(table, motion.T_ref_cam, motion.ids, motion.points)
        done = time.perf_counter()
        return ChunkGeometry(
            T_chunk_cam=motion.T_ref_cam,
            intrinsics=(small,) * frames,
            depth=depth,
            confidence=confidence,
            health=motion.health,
            note=motion.note,
            tracks=Tracks(motion.ids, motion.points, motion.sigma.astype(np.float32)),
            timings={"tracks_s": tracked - started, "motion_s": moved - tracked, "depth_s": done - moved},
        )


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


def _common_intrinsics(chunk: Chunk) -> Intrinsics:
    first = chunk.frames[0].intrinsics
    if first is None:
        raise ReconstructionError(
            "the reconstructor 'geometric' needs a calibrated camera: publish camera_info or give a calibration file"
        )
    if any(frame.intrinsics != first for frame in chunk.frames):
        raise ReconstructionError(f"the camera's calibration changes within chunk {chunk.index}")
    return first


def _points_by_frame(table: TrackTable, motion: Motion, frames: int) -> dict[int, NDArray[np.float64]]:
    """The adjusted points (k, 3) that each frame sees."""
    _, in_table, in_motion = np.intersect1d(table.ids, motion.ids, return_indices=True)
    row = np.full(len(table.ids), -1)
    row[in_table] = in_motion
    return {
        frame: motion.points[rows[rows >= 0]]
        for frame, rows in ((frame, row[table.track[table.frame == frame]]) for frame in range(frames))
    }
