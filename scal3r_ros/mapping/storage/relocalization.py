"""A loaded map before relocalization: what is kept of it until then, and where the camera is found in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.errors import MappingError
from scal3r_ros.geometry.sim3 import Sim3
from scal3r_ros.mapping.graph.pose_graph import Edge, EdgeKind, SubmapGraph

Arrays = Mapping[str, NDArray[Any]]

MIN_AGREEING = 2
"""Loops to the loaded map that have to agree before it is joined."""
_MAX_TURN_DEG = 10.0
_MAX_LOG_SCALE = 0.3
_MAX_DRIFT = 0.2
"""Drift between two such loops, as a share of the distance between them."""
_SIGMAS = 4.0


@dataclass(frozen=True)
class Relocalization:
    """S_loaded_own: the frame of this drive in the loaded map, and the edges between both that agree on it.

    The first edge is no loop, so that the graph never rejects what connects the two.
    """

    S_loaded_own: Sim3
    edges: tuple[Edge, ...]


class LoadedMap:
    """The map in `folder` as plain arrays, `occupancy` None without a grid; `anchors` are S_loaded_submap."""

    def __init__(
        self, folder: Path, graph: Arrays, frames: Arrays, points: Arrays, occupancy: Arrays | None = None
    ) -> None:
        self.folder = folder
        self.graph, self.frames, self.points, self.occupancy = graph, frames, points, occupancy
        submaps = SubmapGraph()
        submaps.restore(graph)
        self.anchors = submaps.anchors()
        self._edges: list[Edge] = []  # verified, from a loaded submap to an own one

    def __contains__(self, submap: int) -> bool:
        return submap in self.anchors

    def __len__(self) -> int:
        return len(self.anchors)

    @property
    def next_submap(self) -> int:
        """A number above those of all submaps."""
        return max(self.anchors, default=-1) + 1

    def consider(self, edge: Edge, own: Mapping[int, Sim3]) -> Relocalization | None:
        """Takes in a verified edge between a submap of this map and an own one, with all own anchors.

        Gives the own frame in the loaded map as soon as `MIN_AGREEING` edges agree.

        Raises:
            MappingError: the own submap is not among the anchors.
        """
        edge = edge if edge.i in self else edge.inverse()
        if edge.j not in own:
            raise MappingError(f"an edge leads to submap {edge.j}, which is not in the graph")
        self._edges.append(edge)
        agreeing = [other for other in self._edges if agree(edge, other, self.anchors, own)]
        if len(agreeing) < MIN_AGREEING:
            return None
        surest = min(agreeing, key=lambda edge: float(np.trace(edge.covariance)))
        first = replace(surest, kind=EdgeKind.ODOMETRY)
        rest = (replace(edge, kind=EdgeKind.LOOP) for edge in agreeing if edge is not surest)
        return Relocalization(self._S_loaded_own(surest, own), (first, *rest))

    def _S_loaded_own(self, edge: Edge, own: Mapping[int, Sim3]) -> Sim3:
        return self.anchors[edge.i] @ edge.S_i_j @ own[edge.j].inverse()


def agree(one: Edge, other: Edge, there: Mapping[int, Sim3], own: Mapping[int, Sim3]) -> bool:
    """Whether two edges put the own submap of `one` at the same place there, up to the drift between them.

    Both lead from a submap of another map or segment, of the anchors `there`, to one of the `own` anchors.
    """
    if one is other:
        return True
    by_one = there[one.i] @ one.S_i_j
    by_other = there[other.i] @ other.S_i_j @ own[other.j].inverse() @ own[one.j]
    apart = (by_one.inverse() @ by_other).log()  # in the own submap's unit
    distance = float(np.linalg.norm((own[one.j].inverse() @ own[other.j]).t))
    sigma = np.sqrt(sum(float(np.trace(edge.covariance[:3, :3])) for edge in (one, other)))
    return bool(
        np.linalg.norm(apart[3:6]) < np.deg2rad(_MAX_TURN_DEG)
        and abs(apart[6]) < _MAX_LOG_SCALE
        and np.linalg.norm(apart[:3]) < _MAX_DRIFT * distance + _SIGMAS * sigma
    )
