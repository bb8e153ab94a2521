"""Submaps of a drive whose truth is known, as the sources of scale see them: poses only, in a unit of their own."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.geometry.sim3 import Sim3
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.mapping.scale.source import SubmapView
from scal3r_ros.reconstruction.protocol import Chunk, ChunkGeometry, ChunkHealth, Frame

CAMERA = Intrinsics(160.0, 160.0, 79.5, 47.5, 160, 96)
NOTHING = np.zeros((96, 160, 3), np.uint8)


def submaps(
    drive: Trajectory,
    unit_m: float,
    every: int = 2,
    size: int = 14,
    shared: int = 6,
    health: ChunkHealth = ChunkHealth.OK,
    noise: float = 0.0,
    growth: float = 0.0,
) -> Iterator[SubmapView]:
    """Overlapping chunks of every so many frames of the drive; a unit is `unit_m` metres, growing by chunk."""
    rng = np.random.default_rng(0)
    keyframes = np.arange(0, len(drive), every)
    anchors: dict[int, Sim3] = {}
    S_map_first = Sim3(1.0, np.eye(3), -drive.T_ref_cam[0, :3, 3])
    for index, begin in enumerate(range(0, len(keyframes) - size + 1, size - shared)):
        chosen = keyframes[begin : begin + size]
        unit = unit_m * np.exp(growth * index)
        T = np.linalg.inv(drive.T_ref_cam[chosen[0]]) @ drive.T_ref_cam[chosen]
        T[:, :3, 3] = T[:, :3, 3] / unit + rng.normal(size=(size, 3)) * noise / unit
        frames = tuple(Frame(int(k), int(drive.stamps_ns[k]), NOTHING, CAMERA) for k in chosen)
        depth = np.zeros((size, 4, 4), np.float32)
        geometry = ChunkGeometry(T, (CAMERA.scaled(4, 4),) * size, depth, depth, health)
        # `map` is in units of the first submap, and begins at the first camera; z is up.
        anchor = Sim3(unit / unit_m, *_parts(S_map_first, drive.T_ref_cam[chosen[0]], unit_m))
        before = None if index == 0 else anchors[index - 1].inverse() @ anchor
        anchors[index] = anchor
        chunk = Chunk(index, frames, 0 if index == 0 else shared)
        yield SubmapView(index, chunk, geometry, before, dict(anchors))


def _parts(S: Sim3, T: np.ndarray, unit_m: float) -> tuple[np.ndarray, np.ndarray]:
    moved = S.apply_pose(T)
    return moved[:3, :3], moved[:3, 3] / unit_m
