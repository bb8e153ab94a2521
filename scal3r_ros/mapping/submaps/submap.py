"""Places chunks in `odom`: the first by convention, every other by the one before."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.geometry import se3
from scal3r_ros.geometry.sim3 import Sim3
from scal3r_ros.mapping.config import MapperConfig
from scal3r_ros.mapping.graph.edges import Edge, drift, odometry_edge
from scal3r_ros.mapping.submaps.alignment import align_chunk
from scal3r_ros.mapping.submaps.uncertainty import chained, with_scale_sigma
from scal3r_ros.mapping.values import PointCloud, Step, SubmapSummary
from scal3r_ros.reconstruction.protocol import Chunk, ChunkGeometry, ChunkHealth

R_ODOM_CAM = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
"""The first camera in `odom`: x is its viewing direction, z is up (REP-103)."""


WINDOW_INFLATION = 3.0
"""How much larger the covariance of a step is than a window of independent image points has it."""
_LEAST_WAY = 1e-9
_MOST_SCALE_STEP = 100.0
"""Ratio of neighbouring submaps' units beyond which their alignment is rejected."""


@dataclass(frozen=True)
class PlacedSubmap:
    """A chunk with its geometry and where that lies in `odom`.

    `covariance` (7, 7) is that of δ in `S_odom_submap @ Sim3.from_log(δ)`, since the beginning of the map; `growth`
    (7, 7) is what a camera that goes on beyond the submap adds to it with every unit of its way.
    """

    index: int
    S_odom_submap: Sim3
    chunk: Chunk
    geometry: ChunkGeometry
    covariance: NDArray[np.float64] = field(default_factory=lambda: np.zeros((7, 7)))
    growth: NDArray[np.float64] = field(default_factory=lambda: np.zeros((7, 7)))

    @property
    def last_centre(self) -> NDArray[np.float64]:
        """Centre (3,) of its last camera, in the submap."""
        centre: NDArray[np.float64] = self.geometry.T_chunk_cam[-1, :3, 3]
        return centre

    def in_unit_of(self, scale: float) -> PlacedSubmap:
        """The submap at another scale; its last camera stays where it is, so that `odom` is continuous."""
        S = self.S_odom_submap
        if scale == S.scale:
            return self
        t = S.apply(self.last_centre) - scale * (S.R @ self.last_centre)
        return replace(self, S_odom_submap=Sim3(scale, S.R, t))

    def at_scale_sigma(self, sigma: float | None) -> PlacedSubmap:
        """The submap where sensors know the log of its scale to `sigma`; as it is where they do not (None)."""
        if sigma is None:
            return self
        return replace(self, covariance=with_scale_sigma(self.covariance, sigma))


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
    config: MapperConfig,
) -> Placed:
    """The submap of a chunk: aligned to the one `before`, or the first of a map."""
    if before is None:
        return _first_submap(chunk, geometry, config)
    return _next_submap(chunk, geometry, before, config)


def _first_submap(chunk: Chunk, geometry: ChunkGeometry, config: MapperConfig) -> Placed:
    """A submap that begins a map: its first camera at the origin, the median of its depth as configured."""
    confident = geometry.depth[geometry.confidence >= config.min_confidence]
    median = float(np.median(confident)) if len(confident) else 1.0
    R = R_ODOM_CAM @ geometry.T_chunk_cam[0, :3, :3].T
    scale = config.initial_median_depth_m / median
    S_odom_submap = Sim3(scale, R, -scale * R @ geometry.T_chunk_cam[0, :3, 3])
    way = float(np.linalg.norm(geometry.T_chunk_cam[-1, :3, 3] - geometry.T_chunk_cam[0, :3, 3]))
    growth = drift(way) / max(way, _LEAST_WAY)
    return Placed(PlacedSubmap(chunk.index, S_odom_submap, chunk, geometry, growth=growth), None, "")


def _next_submap(chunk: Chunk, geometry: ChunkGeometry, before: PlacedSubmap, config: MapperConfig) -> Placed:
    """A submap aligned to the one `before`, over the frames that they share.

    Where the reconstructor has adjusted both together, it lies where that has put it.
    """
    S_before_submap: Sim3 | None = None
    if chunk.shared:
        alignment = align_chunk(before.geometry, geometry, chunk.shared, config.alignment)
        S_before_submap, covariance, note = alignment.S_previous_current, alignment.covariance, alignment.note
        if geometry.T_previous_chunk is not None:
            S_before_submap = Sim3.from_rigid(geometry.T_previous_chunk)
            measured = before.geometry.health is ChunkHealth.OK and geometry.health is ChunkHealth.OK
            if geometry.step_covariance is not None and measured:
                covariance = WINDOW_INFLATION * geometry.step_covariance
        if not _plausible(S_before_submap):
            S_before_submap, note = None, "its alignment is out of all proportion"
    else:
        note = "it shares no frame with the submap before"
    if S_before_submap is None:
        same = geometry.T_chunk_cam[max(0, chunk.shared - 1)]
        S_before_submap = Sim3.from_rigid(before.geometry.T_chunk_cam[-1] @ se3.invert(same))
        covariance, note = np.eye(7), f"{note}: joined at its last pose"
    edge = odometry_edge(before.index, chunk.index, S_before_submap, covariance)
    way = float(np.linalg.norm(S_before_submap.t)) / S_before_submap.scale
    submap = PlacedSubmap(
        chunk.index,
        before.S_odom_submap @ S_before_submap,
        chunk,
        geometry,
        chained(before.covariance, S_before_submap, edge.covariance),
        edge.covariance / max(way, _LEAST_WAY),
    )
    return Placed(submap, edge, note)


def _plausible(S: Sim3) -> bool:
    """Whether a similarity between neighbours consists of finite numbers and keeps the scale within reason."""
    finite = bool(np.isfinite(S.t).all() and np.isfinite(S.R).all() and np.isfinite(S.scale))
    return finite and 1.0 / _MOST_SCALE_STEP < S.scale < _MOST_SCALE_STEP


def summary_of(placed: Placed, anchor: Sim3, cloud_map: PointCloud, seen: PointCloud) -> SubmapSummary:
    """The summary of a new submap at S_map_submap `anchor`, with its new points in `map`, and all it saw in its own."""
    chunk, geometry = placed.submap.chunk, placed.submap.geometry
    return SubmapSummary(
        index=placed.submap.index,
        first_stamp_ns=chunk.frames[0].stamp_ns,
        last_stamp_ns=chunk.frames[-1].stamp_ns,
        keyframes=len(chunk.frames) - chunk.shared,
        health=geometry.health,
        note=", ".join(part for part in (geometry.note, placed.note) if part),
        scale_to_previous=1.0 if placed.edge is None else placed.edge.S_i_j.scale,
        step=None if placed.edge is None else Step(placed.edge.S_i_j, placed.edge.covariance),
        S_odom_submap=placed.submap.S_odom_submap,
        covariance=placed.submap.covariance,
        S_map_submap=anchor,
        cloud_map=cloud_map,
        seen=seen,
    )


def shared_frames(before: PlacedSubmap | None, chunk: Chunk) -> int:
    """How many of the chunk's first frames the submap before ends with: 0 for the first chunk or after a lost one."""
    if before is None or not chunk.shared:
        return 0
    ends = [frame.index for frame in before.chunk.frames[-chunk.shared :]]
    return chunk.shared if ends == [frame.index for frame in chunk.frames[: chunk.shared]] else 0
