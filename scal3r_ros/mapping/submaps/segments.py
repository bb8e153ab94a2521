"""Segments: runs of submaps that nothing measured connects to each other, because the camera was lost in between.

A segment has its own place and scale until loops lead from it to another one. Until then it lies where the camera was
lost, in a unit in which the scene is as deep as there; its bridge says that nothing is known of either.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.geometry.sim3 import Sim3
from scal3r_ros.mapping.config import MapperConfig
from scal3r_ros.mapping.graph.edges import Edge, EdgeKind, drift, unknown_covariance
from scal3r_ros.mapping.graph.pose_graph import SubmapGraph
from scal3r_ros.mapping.storage.relocalization import MIN_AGREEING, agree
from scal3r_ros.mapping.submaps.submap import Placed, PlacedSubmap, place
from scal3r_ros.mapping.submaps.uncertainty import chained
from scal3r_ros.reconstruction.protocol import Chunk, ChunkGeometry

Array = NDArray[np.float64]

_log = logging.getLogger(__name__)

MOST_WAITING = 50
"""Loops between segments that wait for one that agrees; the oldest go first."""
NOTE = "a new segment, which shares no frame with the submap before: its place and scale are not known"


def place_in_segment(
    chunk: Chunk, geometry: ChunkGeometry, before: PlacedSubmap | None, config: MapperConfig
) -> Placed:
    """The submap of a chunk in `odom`: aligned to the one `before`, or the first of the map or of a segment."""
    if before is None or chunk.shared:
        return place(chunk, geometry, before, config)
    return _place_apart(chunk, geometry, before, config.min_confidence)


def _place_apart(chunk: Chunk, geometry: ChunkGeometry, before: PlacedSubmap, min_confidence: float) -> Placed:
    """The first submap of a new segment: at the last camera of the one `before`, at the same depth of the scene."""
    unit = _depth(before.geometry, min_confidence) / _depth(geometry, min_confidence)
    S_before_last = Sim3.from_rigid(before.geometry.T_chunk_cam[-1])
    S_chunk_first = Sim3.from_rigid(geometry.T_chunk_cam[0])
    S_before_now = S_before_last @ Sim3(unit, np.eye(3), np.zeros(3)) @ S_chunk_first.inverse()
    edge = Edge(before.index, chunk.index, S_before_now, unknown_covariance(), EdgeKind.BRIDGE)
    way = float(np.linalg.norm(geometry.T_chunk_cam[-1, :3, 3] - geometry.T_chunk_cam[0, :3, 3]))
    submap = PlacedSubmap(
        chunk.index,
        before.S_odom_submap @ S_before_now,
        chunk,
        geometry,
        chained(before.covariance, S_before_now, edge.covariance),
        drift(way) / max(way, 1e-9),
    )
    return Placed(submap, edge, NOTE)


def _depth(geometry: ChunkGeometry, min_confidence: float) -> float:
    confident = geometry.depth[(geometry.confidence >= max(min_confidence, 1e-6)) & (geometry.depth > 0)]
    return float(np.median(confident)) if len(confident) else 1.0


class WaitingJoins:
    """Loops between segments that wait for another one to agree.

    State: those loops, the covariance of each segment's newest submap, and the `count` of segments that were joined.
    """

    def __init__(self) -> None:
        self.count = 0
        self._edges: list[Edge] = []
        self._covariances: dict[int, Array] = {}  # of each segment's newest submap

    def remember(self, segment: int, covariance: Array) -> None:
        """The covariance (7, 7) of a segment's newest submap, for whatever is joined to it."""
        self._covariances[segment] = covariance

    def join(self, graph: SubmapGraph, edge: Edge, newest: PlacedSubmap) -> PlacedSubmap:
        """Takes in a verified loop between two segments; connects them as soon as those of `MIN_AGREEING` pairs agree.

        Gives the newest submap with what is known of it now.
        """
        anchors, segments = graph.anchors(), graph.segments
        agreeing = self._agreeing(edge, anchors, segments)
        if not agreeing:
            return newest
        surest, *rest = agreeing
        older, newer = segments[surest.i], segments[surest.j]
        if segments[newest.index] == newer:
            newest = self._joined(newest, surest, older, anchors)
            self.remember(older, newest.covariance)
        graph.join(surest)
        for other in rest:
            graph.add_edge(other)
        self.count += 1
        _log.info("the camera was found again: submaps from %d on are connected to those from %d on", newer, older)
        return newest

    def _agreeing(self, edge: Edge, anchors: Mapping[int, Sim3], segments: Mapping[int, int]) -> tuple[Edge, ...]:
        """The loops that agree with one more between the same segments, the surest first; none as long as too few."""
        if segments[edge.i] > segments[edge.j]:
            edge = edge.inverse()
        ends = segments[edge.i], segments[edge.j]
        self._edges = [*self._edges, edge][-MOST_WAITING:]
        rivals = [other for other in self._edges if (segments.get(other.i), segments.get(other.j)) == ends]
        agreeing = [other for other in rivals if agree(edge, other, anchors, anchors)]
        if len({(other.i, other.j) for other in agreeing}) < MIN_AGREEING:  # of one pair they see the same images
            return ()
        self._edges = [other for other in self._edges if all(other is not one for one in rivals)]
        agreeing.sort(key=lambda one: float(np.trace(one.covariance)))
        return tuple(agreeing)

    def _joined(self, newest: PlacedSubmap, edge: Edge, older: int, anchors: Mapping[int, Sim3]) -> PlacedSubmap:
        """The newest submap as it is known once `edge` joins its segment to the `older` one."""
        S_i_now = edge.S_i_j @ anchors[edge.j].inverse() @ anchors[newest.index]
        step = chained(edge.covariance, anchors[edge.j].inverse() @ anchors[newest.index], drift(0.0))
        before = self._covariances.get(older, np.zeros((7, 7)))
        return replace(newest, covariance=chained(before, S_i_now, step))
