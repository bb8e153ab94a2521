"""Places chunks in `odom`: the first by convention, every other by the one before."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.geometry import se3
from scal3r_ros.geometry.sim3 import Sim3
from scal3r_ros.mapping.config import MapperConfig
from scal3r_ros.mapping.graph.edges import Edge, odometry_edge
from scal3r_ros.mapping.submaps.alignment import align_chunk
from scal3r_ros.mapping.values import PointCloud, SubmapSummary
from scal3r_ros.reconstruction.protocol import Chunk, ChunkGeometry

R_ODOM_CAM = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
"""The first camera in `odom`: x is its viewing direction, z is up (REP-103)."""


_MOST_SCALE_STEP = 100.0
"""Ratio of neighbouring submaps' units beyond which their alignment is rejected."""


@dataclass(frozen=True)
class PlacedSubmap:
    """A chunk with its geometry and where that lies in `odom`."""

    index: int
    S_odom_submap: Sim3
    chunk: Chunk
    geometry: ChunkGeometry

    @property
    def last_centre(self) -> NDArray[np.float64]:
        """Centre (3,) of its last camera, in the submap."""
        centre: NDArray[np.float64] = self.geometry.T_chunk_cam[-1, :3, 3]
        return centre

    def in_unit_of(self, scale: float) -> Sim3:
        """S_odom_submap at another scale; its last camera stays where it is, so that `odom` is continuous."""
        S = self.S_odom_submap
        if scale == S.scale:
            return S
        return Sim3(scale, S.R, S.apply(self.last_centre) - scale * (S.R @ self.last_centre))


@dataclass(frozen=True)
class Placed:
    """A new submap, the edge that leads to it from the one before, and what was missing for its alignment.

    `metric`: it is the first one, and placed in metres.
    """

    submap: PlacedSubmap
    edge: Edge | None
    note: str
    metric: bool = False


def place(
    chunk: Chunk,
    geometry: ChunkGeometry,
    before: PlacedSubmap | None,
    S_odom_before: Sim3 | None,
    config: MapperConfig,
) -> Placed:
    """The submap of a chunk: aligned to the one `before`, which lies at `S_odom_before`, or the first of a map."""
    if before is None or S_odom_before is None:
        return _first_submap(chunk, geometry, config)
    return _next_submap(chunk, geometry, before, S_odom_before, config)


def _first_submap(chunk: Chunk, geometry: ChunkGeometry, config: MapperConfig) -> Placed:
    """A submap that begins a map: its first camera at the origin, the median of its depth as configured."""
    confident = geometry.depth[geometry.confidence >= config.min_confidence]
    median = float(np.median(confident)) if len(confident) else 1.0
    R = R_ODOM_CAM @ geometry.T_chunk_cam[0, :3, :3].T
    scale = config.initial_median_depth_m / median
    S_odom_submap = Sim3(scale, R, -scale * R @ geometry.T_chunk_cam[0, :3, 3])
    return Placed(PlacedSubmap(chunk.index, S_odom_submap, chunk, geometry), None, "")


def _next_submap(
    chunk: Chunk, geometry: ChunkGeometry, before: PlacedSubmap, S_odom_before: Sim3, config: MapperConfig
) -> Placed:
    """A submap aligned to the one `before`, which lies at `S_odom_before`, over the frames that they share.

    Where the reconstructor has adjusted both together, it lies where that has put it.
    """
    S_before_submap: Sim3 | None = None
    if chunk.shared:
        alignment = align_chunk(before.geometry, geometry, chunk.shared, config.alignment)
        S_before_submap, covariance, note = alignment.S_previous_current, alignment.covariance, alignment.note
        if geometry.T_previous_chunk is not None:
            S_before_submap = Sim3.from_rigid(geometry.T_previous_chunk)
        if not _plausible(S_before_submap):
            S_before_submap, note = None, "its alignment is out of all proportion"
    else:
        note = "it shares no frame with the submap before"
    if S_before_submap is None:
        same = geometry.T_chunk_cam[max(0, chunk.shared - 1)]
        S_before_submap = Sim3.from_rigid(before.geometry.T_chunk_cam[-1] @ se3.invert(same))
        covariance, note = np.eye(7), f"{note}: joined at its last pose"
    submap = PlacedSubmap(chunk.index, S_odom_before @ S_before_submap, chunk, geometry)
    return Placed(submap, odometry_edge(before.index, submap.index, S_before_submap, covariance), note)


def _plausible(S: Sim3) -> bool:
    """Whether a similarity between neighbours consists of finite numbers and keeps the scale within reason."""
    finite = bool(np.isfinite(S.t).all() and np.isfinite(S.R).all() and np.isfinite(S.scale))
    return finite and 1.0 / _MOST_SCALE_STEP < S.scale < _MOST_SCALE_STEP


def summary_of(placed: Placed, anchor: Sim3, cloud_map: PointCloud) -> SubmapSummary:
    """The summary of a new submap at S_map_submap `anchor`, with its new points in `map`."""
    chunk, geometry = placed.submap.chunk, placed.submap.geometry
    return SubmapSummary(
        index=placed.submap.index,
        first_stamp_ns=chunk.frames[0].stamp_ns,
        last_stamp_ns=chunk.frames[-1].stamp_ns,
        keyframes=len(chunk.frames) - chunk.shared,
        health=geometry.health,
        note=", ".join(part for part in (geometry.note, placed.note) if part),
        scale_to_previous=1.0 if placed.edge is None else placed.edge.S_i_j.scale,
        S_map_submap=anchor,
        cloud_map=cloud_map,
    )


def shared_frames(before: PlacedSubmap | None, chunk: Chunk) -> int:
    """How many of the chunk's first frames the submap before ends with: 0 for the first chunk or after a lost one."""
    if before is None or not chunk.shared:
        return 0
    ends = [frame.index for frame in before.chunk.frames[-chunk.shared :]]
    return chunk.shared if ends == [frame.index for frame in chunk.frames[: chunk.shared]] else 0
