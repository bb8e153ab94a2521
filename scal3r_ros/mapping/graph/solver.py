"""Optimal anchors of a graph of submaps, by iSAM2 over Similarity3, and which of its loops contradict the rest.

The first submap fixes the map in place. It is released in those directions that observations of submaps measure: in
scale once the unit is the metre, in tilt where gravity is known, in all where positions are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import gtsam
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import dijkstra

from scal3r_ros.geometry.sim3 import Sim3, largest_change, rows_of
from scal3r_ros.mapping.graph.edges import Edge, EdgeKind, unknown_covariance
from scal3r_ros.mapping.graph.factors import (
    FIXED_SIGMA,
    edge_factor,
    from_gtsam,
    observation_factor,
    prior_factor,
    to_gtsam,
)
from scal3r_ros.mapping.graph.observations import (
    METRIC_SIGMA,
    Observation,
    PositionObservation,
    UpObservation,
    in_metres,
    metres_per_unit,
)

Array = NDArray[np.float64]

_RELEASED = (5.0, 0.1, 3.0)
"""Sigmas of the first submap where it is released: translation in units of `map`, rotation in rad, log of the scale."""
_MOST_UPDATES = 60
_CONVERGED = 1e-7


@dataclass(frozen=True, eq=False)
class GraphProblem:
    """The graph at one moment: what there is to solve. `anchors` are where a solution starts from.

    `constraints` and the last `new_observations` of the `observations` were not solved before. `metric`: the unit of
    `map` is the metre.
    """

    generation: int
    anchors: Mapping[int, Sim3]
    edges: tuple[Edge, ...]
    constraints: tuple[Edge, ...]
    observations: tuple[Observation, ...] = ()
    new_observations: int = 0
    metric: bool = False

    @property
    def pending(self) -> bool:
        """Whether anything was not solved before."""
        return bool(self.constraints) or self.new_observations > 0

    def path_length(self, i: int, j: int) -> float:
        """Length in map units of the shortest path from submap i to j along edges; loops cost nothing.

        Infinite where there is none.
        """
        return self.between(i, j).length

    def between(self, i: int, j: int) -> Between:
        """What the edges along the shortest path from submap i to j say; loops have no length."""
        nothing = Between(float("inf"), unknown_covariance())
        if i not in self.anchors or j not in self.anchors or not self.edges:
            return nothing
        order = {index: row for row, index in enumerate(self.anchors)}
        names = list(order)
        rows = [order[edge.i] for edge in self.edges]
        columns = [order[edge.j] for edge in self.edges]
        centres = np.stack([anchor.t for anchor in self.anchors.values()])
        lengths = np.linalg.norm(centres[rows] - centres[columns], axis=1)
        lengths[[edge.kind is EdgeKind.LOOP for edge in self.edges]] = 0.0
        # csgraph takes zero for no edge.
        graph = coo_array((lengths + 1e-9, (rows, columns)), shape=(len(order), len(order))).tocsr()
        distance, before = dijkstra(graph, directed=False, indices=order[i], return_predecessors=True)
        if not np.isfinite(distance[order[j]]):
            return nothing
        edges = {(edge.i, edge.j): edge for edge in self.edges}
        edges |= {(edge.j, edge.i): edge for edge in self.edges if (edge.j, edge.i) not in edges}
        covariance, now = np.zeros((7, 7)), order[j]
        forward = Sim3.identity()  # from the submap at hand to j
        while now != order[i]:
            start, end = names[before[now]], names[now]
            edge = edges[start, end]
            step = edge if edge.i == start else edge.inverse()
            adjoint = forward.inverse().adjoint()
            covariance += adjoint @ step.covariance @ adjoint.T
            forward, now = step.S_i_j @ forward, before[now]
        return Between(float(distance[order[j]]), covariance)


@dataclass(frozen=True, eq=False)
class Between:
    """What connects two submaps: a path's `length` in map units, infinite where there is none, and the `covariance`
    (7, 7) of δ in `S_i_j @ Sim3.from_log(δ)` along it, in the order of `Sim3.log`.
    """

    length: float
    covariance: Array

    def sigma_of_position(self, unit: float) -> float:
        """Standard deviation of submap j's place seen from i, in a unit of which that of j is `unit`."""
        return unit * float(np.sqrt(np.trace(self.covariance[:3, :3])))

    @property
    def sigma_of_log_scale(self) -> float:
        """Standard deviation of the log of the ratio of both scales."""
        return float(np.sqrt(self.covariance[6, 6]))


@dataclass(frozen=True, eq=False)
class GraphSolution:
    """Optimal anchors of a problem, which of its loops contradict the others, and whether there was a solution.

    `metric`: their unit is the metre. `scale_sigma` is then the standard deviation of the newest submap's log scale.
    """

    problem: GraphProblem
    anchors: Mapping[int, Sim3]
    rejected: tuple[Edge, ...] = ()
    solved: bool = True
    metric: bool = False
    scale_sigma: float | None = None


@dataclass(frozen=True)
class _Gauge:
    """What the first submap is released in."""

    scale: bool
    tilt: bool
    position: bool

    def covariance(self, anchor: Sim3) -> Array | None:
        """Covariance (7, 7) of the first submap, in the order of `Sim3.log`; None where it is not released at all.

        Tilt and yaw are about axes of `map`.
        """
        if not (self.scale or self.tilt or self.position):
            return None
        translation, rotation, log_scale = _RELEASED
        tilt = rotation if self.tilt or self.position else FIXED_SIGMA
        yaw = rotation if self.position else FIXED_SIGMA
        covariance = np.zeros((7, 7))
        covariance[:3, :3] = np.eye(3) * (translation / anchor.scale if self.position else FIXED_SIGMA) ** 2
        covariance[3:6, 3:6] = anchor.R.T @ np.diag(np.square([tilt, tilt, yaw])) @ anchor.R
        covariance[6, 6] = (log_scale if self.scale else FIXED_SIGMA) ** 2
        return covariance


class GraphSolver:
    """Solves problems that grow, each from the solution of the one before. State: iSAM2, and its edges."""

    def __init__(self, max_conflict: float) -> None:
        self._max_conflict = max_conflict
        self.forget()

    def forget(self) -> None:
        """Begin anew with the next problem."""
        self._isam: gtsam.ISAM2 | None = None
        self._inside: list[Edge] = []
        self._observed: set[int] = set()  # ids of the observations inside
        self._gauge = _Gauge(scale=False, tilt=False, position=False)

    def solve(self, problem: GraphProblem) -> GraphSolution:
        """The optimum of a problem, without those of its loops that contradict it."""
        if not problem.pending:
            return GraphSolution(problem, problem.anchors, metric=problem.metric)
        start, metric = _in_metres(problem)
        observations = [o for o in problem.observations if metric or not _needs_metres(o)]
        edges = [*problem.edges, *problem.constraints]
        if not observations and not any(edge.kind is EdgeKind.LOOP for edge in edges) and not problem.constraints:
            return GraphSolution(problem, start, metric=metric)
        rejected: list[Edge] = []
        try:
            while True:
                anchors = self._optimum(start, edges, observations, metric)
                worst = self._worst_loop(anchors, edges)
                if worst is None:
                    sigma = self._scale_sigma(max(anchors)) if metric else None
                    return GraphSolution(problem, anchors, tuple(rejected), metric=metric, scale_sigma=sigma)
                rejected.append(worst)
                edges = [edge for edge in edges if edge is not worst]
        except RuntimeError:  # GTSAM's sign of an indeterminate system
            self.forget()
            return GraphSolution(problem, problem.anchors, problem.constraints, solved=False, metric=problem.metric)

    def _optimum(
        self, anchors: Mapping[int, Sim3], edges: list[Edge], observations: list[Observation], metric: bool
    ) -> dict[int, Sim3]:
        factors, values = gtsam.NonlinearFactorGraph(), gtsam.Values()
        kept = {id(edge) for edge in edges}
        gauge = _Gauge(
            scale=metric,
            tilt=any(isinstance(o, UpObservation) for o in observations),
            position=any(isinstance(o, PositionObservation) for o in observations),
        )
        if self._isam is None or gauge != self._gauge or any(id(edge) not in kept for edge in self._inside):
            self.forget()
            parameters = gtsam.ISAM2Params()
            parameters.setRelinearizeThreshold(_CONVERGED)
            parameters.relinearizeSkip = 1
            self._isam, self._gauge = gtsam.ISAM2(parameters), gauge
            first, anchor = next(iter(anchors.items()))
            factors.add(prior_factor(first, anchor, gauge.covariance(anchor)))
        isam, inside = self._isam, {id(edge) for edge in self._inside}
        new_edges = [edge for edge in edges if id(edge) not in inside]
        for edge in new_edges:
            factors.add(edge_factor(edge))
        for observation in observations:
            if id(observation) not in self._observed:
                factors.add(observation_factor(observation))
        for index, anchor in anchors.items():
            if not isam.valueExists(index):
                values.insert(index, to_gtsam(anchor))
        self._inside = [*self._inside, *new_edges]
        self._observed |= {id(observation) for observation in observations}
        isam.update(factors, values)
        solved = _estimate(isam, anchors)
        for _ in range(_MOST_UPDATES):
            isam.update()
            before, solved = solved, _estimate(isam, anchors)
            if largest_change(before, solved) < _CONVERGED:
                break
        return solved

    def _scale_sigma(self, submap: int) -> float:
        assert self._isam is not None
        return float(np.sqrt(self._isam.marginalCovariance(submap)[6, 6]))

    def _worst_loop(self, anchors: Mapping[int, Sim3], edges: list[Edge]) -> Edge | None:
        """The loop of the largest Mahalanobis distance from the solution, where that is too large."""
        loops = [edge for edge in edges if edge.kind is EdgeKind.LOOP]
        if not loops or np.isinf(self._max_conflict):
            return None
        distances = [edge.mahalanobis_distance(anchors) for edge in loops]
        worst = int(np.argmax(distances))
        return loops[worst] if distances[worst] > self._max_conflict else None


def _needs_metres(observation: Observation) -> bool:
    return in_metres(observation) or isinstance(observation, PositionObservation)


def _in_metres(problem: GraphProblem) -> tuple[Mapping[int, Sim3], bool]:
    """The anchors to start from, in metres as soon as these are known, and whether they are."""
    if problem.metric:
        return problem.anchors, True
    unit = metres_per_unit(problem.observations, problem.anchors)
    if unit is None or unit[1] > METRIC_SIGMA:
        return problem.anchors, False
    metres = Sim3(float(np.exp(unit[0])), np.eye(3), np.zeros(3))
    return {index: metres @ anchor for index, anchor in problem.anchors.items()}, True


def _estimate(isam: gtsam.ISAM2, anchors: Mapping[int, Sim3]) -> dict[int, Sim3]:
    values = isam.calculateEstimate()
    solved = {index: from_gtsam(values.atSimilarity3(index)) for index in anchors}
    if not np.isfinite(rows_of(solved.values())).all():
        raise RuntimeError("the estimate is not finite")
    return solved
