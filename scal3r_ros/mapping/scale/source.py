"""What a source of scale is shown, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.geometry.sim3 import Sim3
from scal3r_ros.mapping.graph.observations import Observation
from scal3r_ros.mapping.submaps.submap import Placed
from scal3r_ros.mapping.values import SensorSample
from scal3r_ros.reconstruction.protocol import Chunk, ChunkGeometry, ChunkHealth

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SubmapView:
    """A new submap as sources see it: its chunk and geometry, and where it lies in the submap before.

    `S_before_submap` is None for the first one. `anchors` place it and all before it in `map`.
    """

    index: int
    chunk: Chunk
    geometry: ChunkGeometry
    S_before_submap: Sim3 | None
    anchors: Mapping[int, Sim3]

    @property
    def measured(self) -> bool:
        """Whether the chunk's motion was measured rather than extrapolated."""
        return self.geometry.health is ChunkHealth.OK

    @property
    def stamps_ns(self) -> NDArray[np.int64]:
        """Stamps (s,) of the keyframes, in nanoseconds."""
        return np.array([frame.stamp_ns for frame in self.chunk.frames], np.int64)

    @property
    def new_from(self) -> int:
        """The first keyframe whose way from the one before belongs to this submap alone."""
        return max(1, self.chunk.shared)

    @property
    def centres(self) -> Array:
        """Camera centres (s, 3) in the submap."""
        return np.asarray(self.geometry.T_chunk_cam[:, :3, 3])


def view_of(placed: Placed, anchors: Mapping[int, Sim3]) -> SubmapView:
    """A submap as sources see it, that is not among `anchors` yet."""
    submap, edge = placed.submap, placed.edge
    own = submap.S_odom_submap if edge is None or edge.i not in anchors else anchors[edge.i] @ edge.S_i_j
    S_before_submap = None if edge is None else edge.S_i_j
    return SubmapView(submap.index, submap.chunk, submap.geometry, S_before_submap, {**anchors, submap.index: own})


class ScaleSource(Protocol):
    """Turns what it sees into observations of submaps, and gives none where it does not know."""

    def add(self, sample: SensorSample) -> None:
        """Takes in a sample; those of other sensors are passed over."""

    def observe(self, view: SubmapView) -> list[Observation]:
        """What is known of the newest submap, and of those before it."""

    def clear(self) -> None:
        """Forgets all samples and submaps."""
