"""The graph of submaps: where each lies in `map`, by odometry between neighbours and loops between revisited places."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.errors import MappingError
from scal3r_ros.geometry.sim3 import Sim3, largest_change, rows_of, similarity_of
from scal3r_ros.mapping.graph.edges import Edge, EdgeKind, check_edge
from scal3r_ros.mapping.graph.solver import GraphProblem, GraphSolution, GraphSolver

__all__ = ["Edge", "EdgeKind", "SubmapGraph"]

_MOVED = 1e-6


class SubmapGraph:
    """Submaps' anchors `S_map_submap`. It keeps one node a submap and its edges, nothing of their frames or points.

    Until the first loop the anchors are the composed odometry and cost nothing; from then on iSAM2 keeps them optimal.
    `optimise` does everything in step. Whoever has a thread for it calls its three parts: `problem` and `accept`, which
    are quick and must not overlap with other calls, and between them `solve`, which may take long and overlap with all
    others but itself. A loop whose Mahalanobis distance from the solution exceeds `max_conflict` is rejected.
    """

    def __init__(self, max_conflict: float = float("inf")) -> None:
        self._max_conflict = max_conflict
        self._generation = 0  # of graphs restored or absorbed, which no older solution fits
        self._anchors: dict[int, Sim3] = {}
        self._edges: list[Edge] = []
        self._new_constraints: list[Edge] = []
        self._solver = GraphSolver(max_conflict)

    def __len__(self) -> int:
        return len(self._anchors)

    def __contains__(self, index: int) -> bool:
        return index in self._anchors

    @property
    def edges(self) -> tuple[Edge, ...]:
        """All edges, in order of their addition."""
        return (*self._edges, *self._new_constraints)

    def add_submap(self, index: int, edge: Edge | None = None, anchor: Sim3 | None = None) -> None:
        """Add a submap: the first at `anchor` (identity where None), every other by an edge from one already there.

        Raises:
            MappingError: the submap exists, or the edge does not lead to it from a submap of the graph.
        """
        if index in self._anchors:
            raise MappingError(f"submap {index} is in the graph already; give every submap its own index")
        if not self._anchors:
            if edge is not None:
                raise MappingError(f"submap {index} is the graph's first, so that no edge can lead to it; give none")
            self._anchors[index] = Sim3.identity() if anchor is None else anchor
            return
        if edge is None or edge.j != index or edge.i not in self._anchors or anchor is not None:
            raise MappingError(f"submap {index} needs an edge from a submap of the graph to itself, and no anchor")
        check_edge(edge)
        self._anchors[index] = self._anchors[edge.i] @ edge.S_i_j
        self._edges.append(edge)

    def add_edge(self, edge: Edge) -> None:
        """Add a further measurement between two submaps of the graph; `optimise` takes it in.

        Raises:
            MappingError: one of the submaps is not in the graph, or the covariance is not positive definite.
        """
        if edge.i not in self._anchors or edge.j not in self._anchors or edge.i == edge.j:
            raise MappingError(f"an edge from submap {edge.i} to {edge.j} needs two submaps that are in the graph")
        check_edge(edge)
        self._new_constraints.append(edge)

    def anchor(self, index: int) -> Sim3:
        """S_map_submap of one submap, as of the last `optimise`.

        Raises:
            MappingError: there is no such submap.
        """
        if index not in self._anchors:
            raise MappingError(f"submap {index} is not in the graph")
        return self._anchors[index]

    def anchors(self) -> dict[int, Sim3]:
        """S_map_submap of every submap, in order of their addition."""
        return dict(self._anchors)

    def optimise(self) -> bool:
        """Take in the edges of `add_edge` since the last call; returns whether any anchor moved.

        Raises:
            MappingError: the edges have no common solution; the anchors stay as they are and those edges are removed.
        """
        return self.accept(self.solve(self.problem()))

    def problem(self) -> GraphProblem:
        """What there is to solve now."""
        return GraphProblem(self._generation, dict(self._anchors), tuple(self._edges), tuple(self._new_constraints))

    def solve(self, problem: GraphProblem) -> GraphSolution:
        """The optimum of a problem. It changes nothing that the other methods read."""
        return self._solver.solve(problem)

    def accept(self, solution: GraphSolution) -> bool:
        """Take over a solution; submaps added since its problem follow their neighbours. Returns whether one moved.

        A solution of a graph from before `restore` or `absorb` is ignored.

        Raises:
            MappingError: there was none; the anchors stay as they are and its new edges are removed.
        """
        if solution.problem.generation != self._generation or not solution.problem.constraints:
            return False
        gone = {id(edge) for edge in solution.rejected}
        taken = {id(edge) for edge in solution.problem.constraints}
        self._edges = [edge for edge in (*self._edges, *solution.problem.constraints) if id(edge) not in gone]
        self._new_constraints = [edge for edge in self._new_constraints if id(edge) not in taken]
        if not solution.solved:
            raise MappingError("the submap graph has no solution with its newest edges, which are removed")
        before, self._anchors = self._anchors, dict(solution.anchors)
        for edge in self._edges:
            if edge.j not in self._anchors:
                self._anchors[edge.j] = self._anchors[edge.i] @ edge.S_i_j
        return largest_change(before, self._anchors) > _MOVED

    def snapshot(self) -> dict[str, NDArray[np.generic]]:
        """The graph as plain arrays, for `restore`."""
        return {
            "index": np.array(list(self._anchors), np.int64),
            "anchor": rows_of(self._anchors.values()),
            "edge_index": np.array([(edge.i, edge.j) for edge in self.edges], np.int64).reshape(-1, 2),
            "edge_transform": rows_of(edge.S_i_j for edge in self.edges),
            "edge_covariance": np.array([edge.covariance for edge in self.edges], np.float64).reshape(-1, 7, 7),
            "edge_is_loop": np.array([edge.kind is EdgeKind.LOOP for edge in self.edges], bool),
            "edge_kernel": np.array([edge.kernel for edge in self.edges], np.float64),
            "new_constraints": np.array(len(self._new_constraints), np.int64),
        }

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Become the graph whose `snapshot` is given, in place of this one."""
        indices = [int(index) for index in arrays["index"]]
        self._anchors = dict(zip(indices, map(similarity_of, arrays["anchor"]), strict=True))
        columns = (arrays[f"edge_{name}"] for name in ("index", "transform", "covariance", "is_loop", "kernel"))
        edges = [
            Edge(int(i), int(j), similarity_of(S), covariance.copy(), _kind(is_loop), float(kernel))
            for (i, j), S, covariance, is_loop, kernel in zip(*columns, strict=True)
        ]
        taken = len(edges) - int(arrays["new_constraints"])
        self._edges, self._new_constraints = edges[:taken], edges[taken:]
        self._solver = GraphSolver(self._max_conflict)
        self._generation += 1

    def absorb(self, earlier: Mapping[str, NDArray[Any]], S_earlier_own: Sim3) -> None:
        """Take in the graph of another map's `snapshot`, as older; the own submaps move into its frame.

        The two are connected only by a later `add_edge`, which has to come before `optimise`.

        Raises:
            MappingError: a submap is in both.
        """
        common = sorted(set(self._anchors) & {int(index) for index in earlier["index"]})
        if common:
            raise MappingError(f"submap {common[0]} is in both graphs; give every submap its own index")
        own = self.snapshot()
        moved = [S_earlier_own @ anchor for anchor in self._anchors.values()]
        joined = {name: np.concatenate([earlier[name], own[name]]) for name in own if np.ndim(own[name])}
        joined["anchor"] = np.concatenate([earlier["anchor"], rows_of(moved)])
        self.restore(joined | {"new_constraints": own["new_constraints"]})


def _kind(is_loop: bool) -> EdgeKind:
    return EdgeKind.LOOP if is_loop else EdgeKind.ODOMETRY
