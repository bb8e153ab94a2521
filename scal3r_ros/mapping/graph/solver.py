"""Optimal anchors of a graph of submaps, by iSAM2 over Similarity3, and the loops that contradict the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import gtsam
import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import dijkstra

from scal3r_ros.geometry.sim3 import Sim3, largest_change, rows_of
from scal3r_ros.mapping.graph.edges import Edge, EdgeKind

_GTSAM_ORDER = np.array([3, 4, 5, 0, 1, 2, 6])
"""GTSAM's tangent of Similarity3 is (rotation, translation, log scale), ours (translation, rotation, log scale)."""
_PRIOR_SIGMA = 1e-5
_MOST_UPDATES = 60
_CONVERGED = 1e-7


@dataclass(frozen=True, eq=False)
class GraphProblem:
    """The graph at one moment: what there is to solve. `anchors` are where a solution starts from."""

    generation: int
    anchors: Mapping[int, Sim3]
    edges: tuple[Edge, ...]
    constraints: tuple[Edge, ...]

    def path_length(self, i: int, j: int) -> float:
        """Length in map units of the shortest path from submap i to j along edges; loops cost nothing.

        Infinite where there is none.
        """
        if i not in self.anchors or j not in self.anchors or not self.edges:
            return float("inf")
        order = {index: row for row, index in enumerate(self.anchors)}
        rows = [order[edge.i] for edge in self.edges]
        columns = [order[edge.j] for edge in self.edges]
        centres = np.stack([anchor.t for anchor in self.anchors.values()])
        lengths = np.linalg.norm(centres[rows] - centres[columns], axis=1)
        lengths[[edge.kind is EdgeKind.LOOP for edge in self.edges]] = 0.0
        # csgraph takes zero for no edge.
        graph = coo_array((lengths + 1e-9, (rows, columns)), shape=(len(order), len(order))).tocsr()
        return float(dijkstra(graph, directed=False, indices=order[i])[order[j]])


@dataclass(frozen=True, eq=False)
class GraphSolution:
    """Optimal anchors of a problem, which of its loops contradict the others, and whether there was a solution."""

    problem: GraphProblem
    anchors: Mapping[int, Sim3]
    rejected: tuple[Edge, ...] = ()
    solved: bool = True


class GraphSolver:
    """Solves problems that grow, each from the solution of the one before. State: iSAM2, and its edges."""

    def __init__(self, max_conflict: float) -> None:
        self._max_conflict = max_conflict
        self.forget()

    def forget(self) -> None:
        """Begin anew with the next problem."""
        self._isam: gtsam.ISAM2 | None = None
        self._inside: list[Edge] = []

    def solve(self, problem: GraphProblem) -> GraphSolution:
        """The optimum of a problem, without those of its loops that contradict it."""
        if not problem.constraints:
            return GraphSolution(problem, problem.anchors)
        edges = [*problem.edges, *problem.constraints]
        rejected: list[Edge] = []
        try:
            while True:
                anchors = self._optimum(problem.anchors, edges)
                worst = self._worst_loop(anchors, edges)
                if worst is None:
                    return GraphSolution(problem, anchors, tuple(rejected))
                rejected.append(worst)
                edges = [edge for edge in edges if edge is not worst]
        except RuntimeError:  # GTSAM's sign of an indeterminate system
            self.forget()
            return GraphSolution(problem, problem.anchors, problem.constraints, solved=False)

    def _optimum(self, anchors: Mapping[int, Sim3], edges: list[Edge]) -> dict[int, Sim3]:
        factors, values = gtsam.NonlinearFactorGraph(), gtsam.Values()
        kept = {id(edge) for edge in edges}
        if self._isam is None or any(id(edge) not in kept for edge in self._inside):
            parameters = gtsam.ISAM2Params()
            parameters.setRelinearizeThreshold(_CONVERGED)
            parameters.relinearizeSkip = 1
            self._isam, self._inside = gtsam.ISAM2(parameters), []
            first, anchor = next(iter(anchors.items()))
            noise = gtsam.noiseModel.Isotropic.Sigma(7, _PRIOR_SIGMA)
            factors.add(gtsam.PriorFactorSimilarity3(first, _to_gtsam(anchor), noise))
        isam, inside = self._isam, {id(edge) for edge in self._inside}
        new_edges = [edge for edge in edges if id(edge) not in inside]
        for edge in new_edges:
            factors.add(_factor(edge))
        for index, anchor in anchors.items():
            if not isam.valueExists(index):
                values.insert(index, _to_gtsam(anchor))
        self._inside = [*self._inside, *new_edges]
        isam.update(factors, values)
        solved = _estimate(isam, anchors)
        for _ in range(_MOST_UPDATES):
            isam.update()
            before, solved = solved, _estimate(isam, anchors)
            if largest_change(before, solved) < _CONVERGED:
                break
        return solved

    def _worst_loop(self, anchors: Mapping[int, Sim3], edges: list[Edge]) -> Edge | None:
        """The loop of the largest Mahalanobis distance from the solution, where that is too large."""
        loops = [edge for edge in edges if edge.kind is EdgeKind.LOOP]
        if not loops or np.isinf(self._max_conflict):
            return None
        distances = [edge.mahalanobis_distance(anchors) for edge in loops]
        worst = int(np.argmax(distances))
        return loops[worst] if distances[worst] > self._max_conflict else None


def _estimate(isam: gtsam.ISAM2, anchors: Mapping[int, Sim3]) -> dict[int, Sim3]:
    values = isam.calculateEstimate()
    solved = {index: _from_gtsam(values.atSimilarity3(index)) for index in anchors}
    if not np.isfinite(rows_of(solved.values())).all():
        raise RuntimeError("the estimate is not finite")
    return solved


def _factor(edge: Edge) -> gtsam.NonlinearFactor:
    gaussian = gtsam.noiseModel.Gaussian.Covariance(edge.covariance[np.ix_(_GTSAM_ORDER, _GTSAM_ORDER)])
    cauchy = gtsam.noiseModel.mEstimator.Cauchy.Create(edge.kernel)
    is_loop = edge.kind is EdgeKind.LOOP
    noise: gtsam.noiseModel.Base = gtsam.noiseModel.Robust.Create(cauchy, gaussian) if is_loop else gaussian
    return gtsam.BetweenFactorSimilarity3(edge.i, edge.j, _to_gtsam(edge.S_i_j), noise)


def _to_gtsam(S: Sim3) -> gtsam.Similarity3:
    # GTSAM's Similarity3 maps p to s (R p + t): its translation is ours in the source's unit.
    return gtsam.Similarity3(gtsam.Rot3(S.R), S.t / S.scale, S.scale)


def _from_gtsam(S: gtsam.Similarity3) -> Sim3:
    return Sim3(S.scale(), S.rotation().matrix(), S.scale() * S.translation())
