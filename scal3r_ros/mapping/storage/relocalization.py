"""A map from disk that the camera has not been found in yet: what it waits with, and when it is found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.geometry.sim3 import Sim3
from scal3r_ros.mapping.graph.pose_graph import Edge, EdgeKind, SubmapGraph

Arrays = Mapping[str, NDArray[Any]]

AGREEING = 2
"""Places found again that have to say the same about where the own frame lies."""
_MAX_TURN_DEG = 10.0
_MAX_LOG_SCALE = 0.3
_MAX_DRIFT = 0.2
"""Disagreement between two places, as a share of the way between them, that is drift rather than a mistake."""
_SIGMAS = 4.0


@dataclass(frozen=True)
class Relocalization:
    """Where the own frame lies in the loaded map, and the edges from its submaps to own ones that say so.

    The first is no loop: without it the two would fall apart.
    """

    S_loaded_own: Sim3
    edges: tuple[Edge, ...]


class LoadedMap:
    """Graph, frames and points of the map in `folder` as plain arrays; `anchors` are S_loaded_submap."""

    def __init__(self, folder: Path, graph: Arrays, frames: Arrays, points: Arrays) -> None:
        self.folder = folder
        self.graph, self.frames, self.points = graph, frames, points
        submaps = SubmapGraph()
        submaps.restore(graph)
        self.anchors = submaps.anchors()
        self._places: list[Edge] = []  # verified, from a loaded submap to an own one

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

        Gives where the own frame lies as soon as `AGREEING` places say the same.
        """
        edge = edge if edge.i in self else Edge(edge.j, edge.i, edge.S_i_j.inverse(), _inverted(edge), edge.kind)
        self._places.append(edge)
        agreeing = [other for other in self._places if self._agree(edge, other, own)]
        if len(agreeing) < AGREEING:
            return None
        surest = min(agreeing, key=lambda place: float(np.trace(place.covariance)))
        first = replace(surest, kind=EdgeKind.ODOMETRY)
        rest = (replace(place, kind=EdgeKind.LOOP) for place in agreeing if place is not surest)
        return Relocalization(self._S_loaded_own(surest, own), (first, *rest))

    def _S_loaded_own(self, place: Edge, own: Mapping[int, Sim3]) -> Sim3:
        return self.anchors[place.i] @ place.S_i_j @ own[place.j].inverse()

    def _agree(self, one: Edge, other: Edge, own: Mapping[int, Sim3]) -> bool:
        """Whether both put the own submap of `one` at the same place, as far as can be told after the way between."""
        if one is other:
            return True
        here = self.anchors[one.i] @ one.S_i_j
        there = self._S_loaded_own(other, own) @ own[one.j]
        apart = (here.inverse() @ there).log()  # in the own submap's unit
        way = float(np.linalg.norm((own[one.j].inverse() @ own[other.j]).t))
        sigma = np.sqrt(sum(float(np.trace(place.covariance[:3, :3])) for place in (one, other)))
        return bool(
            np.linalg.norm(apart[3:6]) < np.deg2rad(_MAX_TURN_DEG)
            and abs(apart[6]) < _MAX_LOG_SCALE
            and np.linalg.norm(apart[:3]) < _MAX_DRIFT * way + _SIGMAS * sigma
        )


def _inverted(edge: Edge) -> NDArray[np.float64]:
    """The covariance of the inverse: δ of S moves over to the other side by the adjoint, here taken numerically."""
    adjoint = np.stack(
        [(edge.S_i_j @ Sim3.from_log(1e-6 * axis) @ edge.S_i_j.inverse()).log() / 1e-6 for axis in np.eye(7)], axis=1
    )
    covariance = adjoint @ edge.covariance @ adjoint.T
    return np.asarray((covariance + covariance.T) / 2.0)
