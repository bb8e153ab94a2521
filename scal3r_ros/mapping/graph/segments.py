"""Which submaps something measured connects."""

from __future__ import annotations

from collections.abc import Sequence

from scal3r_ros.mapping.graph.edges import Edge, EdgeKind


class Segments:
    """State: of each submap the segment it belongs to, by the number of the segment's first submap."""

    def __init__(self) -> None:
        self.of: dict[int, int] = {}

    @staticmethod
    def of_graph(submaps: Sequence[int], edges: Sequence[Edge]) -> Segments:
        """The segments of a whole graph."""
        segments = Segments()
        segments.of = {submap: submap for submap in submaps}
        for edge in edges:
            if edge.kind is not EdgeKind.BRIDGE and segments.of[edge.i] != segments.of[edge.j]:
                segments.join(edge)
        return segments

    def add(self, submap: int, edge: Edge | None) -> None:
        """A new submap, with the edge that leads to it."""
        apart = edge is None or edge.kind is EdgeKind.BRIDGE
        self.of[submap] = submap if edge is None or apart else self.of[edge.i]

    def join(self, edge: Edge) -> frozenset[int]:
        """Both ends of an edge are in one segment from now on; gives the submaps that were in that of its end j."""
        here, there = self.of[edge.i], self.of[edge.j]
        moved = frozenset(submap for submap, segment in self.of.items() if segment == there)
        both = min(here, there)
        self.of = {submap: both if segment in (here, there) else segment for submap, segment in self.of.items()}
        return moved
