"""The graph of submaps: where each lies in `map`, by odometry between neighbours and loops between revisited places."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.errors import MappingError
from scal3r_ros.geometry.sim3 import Sim3, largest_change, rows_of, similarity_of
from scal3r_ros.mapping.graph.edges import Edge, EdgeKind, check_edge
from scal3r_ros.mapping.graph.observation_rows import observations_of, rows_of_observations
from scal3r_ros.mapping.graph.observations import Observation, PositionObservation, ScaleObservation, check_observation
from scal3r_ros.mapping.graph.segments import Segments
from scal3r_ros.mapping.graph.solver import GraphProblem, GraphSolution, GraphSolver

__all__ = ["Edge", "EdgeKind", "SubmapGraph"]

_MOVED = 1e-6
_NOTICEABLE = 1e-2
"""Change in map units, of an entry of a rotation or of scale, that has to be shown where observations come steadily."""


class SubmapGraph:
    """Submaps' anchors `S_map_submap`. It keeps one node a submap and its edges, nothing of their frames or points.

    Until the first loop the anchors are the composed odometry and cost nothing; from then on iSAM2 keeps them optimal.
    `optimise` does everything in step. Whoever has a thread for it calls its three parts: `problem` and `accept`, which
    are quick and must not overlap with other calls, and between them `solve`, which may take long and overlap with all
    others but itself. A loop whose Mahalanobis distance from the solution exceeds `max_conflict` is rejected.
    """

    def __init__(self, max_conflict: float = float("inf")) -> None:
        self._max_conflict = max_conflict
        self._segments = Segments()
        self._generation = 0  # of graphs restored or absorbed, which no older solution fits
        self._anchors: dict[int, Sim3] = {}
        self._shown: dict[int, Sim3] = {}  # as of the last time that a move was reported, or a submap added
        self._edges: list[Edge] = []
        self._new_constraints: list[Edge] = []
        self._observations: list[Observation] = []
        self._new_observations = 0  # so many of the last were not solved
        self._metric = False
        self._scale_sigma: float | None = None
        self._solver = GraphSolver(max_conflict)

    def __len__(self) -> int:
        return len(self._anchors)

    def __contains__(self, index: int) -> bool:
        return index in self._anchors

    @property
    def edges(self) -> tuple[Edge, ...]:
        """All edges, in order of their addition."""
        return (*self._edges, *self._new_constraints)

    @property
    def observations(self) -> tuple[Observation, ...]:
        """All observations of single submaps, in order of their addition."""
        return tuple(self._observations)

    @property
    def segments(self) -> Mapping[int, int]:
        """Of each submap the segment it belongs to, by the number of that one's first submap."""
        return dict(self._segments.of)

    @property
    def unconnected(self) -> int:
        """Submaps that nothing measured connects to the first one."""
        return sum(not self.is_connected(submap) for submap in self._anchors)

    def is_connected(self, submap: int) -> bool:
        """Whether anything measured connects a submap to the first one."""
        return self._segments.of.get(submap) == self._segments.of.get(next(iter(self._anchors), submap))

    @property
    def metric(self) -> bool:
        """Whether the unit of `map` is the metre: from the first solution on in which it was known."""
        return self._metric

    @property
    def scale_sigma(self) -> float | None:
        """Standard deviation of the log scale of the newest submap in the last solution; None where it is unknown."""
        return self._scale_sigma

    @property
    def pending(self) -> bool:
        """Whether there is anything that `optimise` has not taken in."""
        return bool(self._new_constraints) or self._new_observations > 0

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
            self._anchors[index] = self._shown[index] = Sim3.identity() if anchor is None else anchor
            self._segments.add(index, None)
            return
        if edge is None or edge.j != index or edge.i not in self._anchors or anchor is not None:
            raise MappingError(f"submap {index} needs an edge from a submap of the graph to itself, and no anchor")
        check_edge(edge)
        self._anchors[index] = self._shown[index] = self._anchors[edge.i] @ edge.S_i_j
        self._edges.append(edge)
        self._segments.add(index, edge)

    def join(self, edge: Edge) -> None:
        """Connect the segment of submap j, which moves, to that of i by a measured edge in place of its bridge.

        Raises:
            MappingError: both are in one segment, or the covariance is not positive definite.
        """
        if self._segments.of.get(edge.i) == self._segments.of.get(edge.j):
            raise MappingError(f"submaps {edge.i} and {edge.j} are in one segment already")
        check_edge(edge)
        S_joined = self._anchors[edge.i] @ edge.S_i_j @ self._anchors[edge.j].inverse()
        moved = self._segments.join(edge)
        self._anchors |= {index: S_joined @ self._anchors[index] for index in moved}
        self._edges = [one for one in self._edges if one.kind is not EdgeKind.BRIDGE or one.j not in moved]
        self._new_constraints.append(replace(edge, kind=EdgeKind.ODOMETRY))
        self._solver = GraphSolver(self._max_conflict)
        self._generation += 1

    def add_edge(self, edge: Edge) -> None:
        """Add a further measurement between two submaps of the graph; `optimise` takes it in.

        Raises:
            MappingError: one of the submaps is not in the graph, or the covariance is not positive definite.
        """
        if edge.i not in self._anchors or edge.j not in self._anchors or edge.i == edge.j:
            raise MappingError(f"an edge from submap {edge.i} to {edge.j} needs two submaps that are in the graph")
        check_edge(edge)
        if self._segments.of[edge.i] != self._segments.of[edge.j]:
            self._segments.join(edge)
        self._new_constraints.append(edge)

    def add_observations(self, observations: Sequence[Observation]) -> None:
        """Add what was measured of single submaps of the graph; `optimise` takes it in.

        Raises:
            MappingError: one of the submaps is not in the graph, or a number is not usable; none is added.
        """
        for observation in observations:
            others = [observation.reference] if isinstance(observation, ScaleObservation) else []
            if not {observation.submap, *others} - {None} <= self._anchors.keys():
                raise MappingError(f"submap {observation.submap} is observed, but it is not in the graph")
            check_observation(observation)
        self._observations += observations
        self._new_observations += len(observations)

    def be_metric(self) -> None:
        """The first submap was placed in metres: the unit of `map` is the metre from now on.

        Raises:
            MappingError: other submaps have been added, in another unit.
        """
        if len(self._anchors) > 1:
            raise MappingError("only the first submap sets the unit of a graph; add scale observations instead")
        self._metric = True

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
        return GraphProblem(
            self._generation,
            dict(self._anchors),
            tuple(self._edges),
            tuple(self._new_constraints),
            tuple(self._observations),
            self._new_observations,
            self._metric,
        )

    def solve(self, problem: GraphProblem) -> GraphSolution:
        """The optimum of a problem. It changes nothing that the other methods read."""
        return self._solver.solve(problem)

    def accept(self, solution: GraphSolution) -> bool:
        """Take over a solution; submaps added since its problem follow their neighbours. Returns whether one moved.

        A solution of a graph from before `restore` or `absorb` is ignored.

        Raises:
            MappingError: there was none; the anchors stay as they are and its new edges are removed.
        """
        problem = solution.problem
        if problem.generation != self._generation or not problem.pending:
            return False
        gone = {id(edge) for edge in solution.rejected}
        taken = {id(edge) for edge in problem.constraints}
        self._edges = [edge for edge in (*self._edges, *problem.constraints) if id(edge) not in gone]
        self._new_constraints = [edge for edge in self._new_constraints if id(edge) not in taken]
        self._new_observations = len(self._observations) - len(problem.observations)
        if not solution.solved:
            first_new = len(problem.observations) - problem.new_observations
            del self._observations[first_new : len(problem.observations)]
            raise MappingError("the submap graph has no solution with its newest edges, which are removed")
        self._metric, self._scale_sigma = solution.metric, solution.scale_sigma
        self._anchors = dict(solution.anchors)
        for edge in self._edges:
            if edge.j not in self._anchors:
                self._anchors[edge.j] = self._anchors[edge.i] @ edge.S_i_j
        shown = {index: self._shown.get(index, anchor) for index, anchor in self._anchors.items()}
        moved = largest_change(shown, self._anchors) > (_MOVED if problem.constraints else _NOTICEABLE)
        if moved:
            self._shown = dict(self._anchors)
        return moved

    def snapshot(self) -> dict[str, NDArray[np.generic]]:
        """The graph as plain arrays, for `restore`."""
        return {
            "index": np.array(list(self._anchors), np.int64),
            "anchor": rows_of(self._anchors.values()),
            "edge_index": np.array([(edge.i, edge.j) for edge in self.edges], np.int64).reshape(-1, 2),
            "edge_transform": rows_of(edge.S_i_j for edge in self.edges),
            "edge_covariance": np.array([edge.covariance for edge in self.edges], np.float64).reshape(-1, 7, 7),
            "edge_is_loop": np.array([edge.kind is EdgeKind.LOOP for edge in self.edges], bool),
            "edge_is_bridge": np.array([edge.kind is EdgeKind.BRIDGE for edge in self.edges], bool),
            "edge_kernel": np.array([edge.kernel for edge in self.edges], np.float64),
            "new_constraints": np.array(len(self._new_constraints), np.int64),
            "observations": rows_of_observations(self._observations),
            "metric": np.array(self._metric),
        }

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Become the graph whose `snapshot` is given, in place of this one."""
        indices = [int(index) for index in arrays["index"]]
        self._anchors = dict(zip(indices, map(similarity_of, arrays["anchor"]), strict=True))
        self._shown = dict(self._anchors)
        columns = [arrays[f"edge_{name}"] for name in ("index", "transform", "covariance", "is_loop", "kernel")]
        bridges = arrays.get("edge_is_bridge", np.zeros(len(columns[0]), bool))
        edges = [
            Edge(int(i), int(j), similarity_of(S), covariance.copy(), _kind(is_loop, is_bridge), float(kernel))
            for (i, j), S, covariance, is_loop, kernel, is_bridge in zip(*columns, bridges, strict=True)
        ]
        self._observations = observations_of(arrays["observations"]) if "observations" in arrays else []
        self._new_observations, self._metric = 0, bool(arrays.get("metric", False))
        self._scale_sigma = None
        taken = len(edges) - int(arrays["new_constraints"])
        self._edges, self._new_constraints = edges[:taken], edges[taken:]
        self._segments = Segments.of_graph(indices, edges)
        self._solver = GraphSolver(self._max_conflict)
        self._generation += 1

    def absorb(self, earlier: Mapping[str, NDArray[Any]], S_earlier_own: Sim3) -> None:
        """Take in the graph of another map's `snapshot`, as older; the own submaps move into its frame.

        Observed positions of the own submaps are given up: they are in the frame that is left.
        The two are connected only by a later `add_edge`, which has to come before `optimise`.

        Raises:
            MappingError: a submap is in both.
        """
        common = sorted(set(self._anchors) & {int(index) for index in earlier["index"]})
        if common:
            raise MappingError(f"submap {common[0]} is in both graphs; give every submap its own index")
        own, earlier = self.snapshot(), {"edge_is_bridge": np.zeros(len(earlier["edge_is_loop"]), bool), **earlier}
        moved = [S_earlier_own @ anchor for anchor in self._anchors.values()]
        columns = [name for name in own if np.ndim(own[name]) and name != "observations"]
        joined = {name: np.concatenate([earlier[name], own[name]]) for name in columns}
        joined["anchor"] = np.concatenate([earlier["anchor"], rows_of(moved)])
        kept = rows_of_observations(o for o in self._observations if not isinstance(o, PositionObservation))
        joined["observations"] = np.concatenate([earlier.get("observations", kept[:0]), kept])
        metric = earlier.get("metric", np.array(False))
        self.restore(joined | {"new_constraints": own["new_constraints"], "metric": metric})
        self._new_observations = len(kept)


def _kind(is_loop: bool, is_bridge: bool) -> EdgeKind:
    return EdgeKind.LOOP if is_loop else EdgeKind.BRIDGE if is_bridge else EdgeKind.ODOMETRY
