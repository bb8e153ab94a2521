"""The graph of submaps: where each lies in `map`, by odometry between neighbours and loops between revisited places."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import gtsam
import numpy as np
from numpy.typing import NDArray

from scal3r_ros.errors import MappingError
from scal3r_ros.geometry.sim3 import Sim3

_GTSAM_ORDER = np.array([3, 4, 5, 0, 1, 2, 6])
"""GTSAM's tangent of Similarity3 is (rotation, translation, log scale), ours (translation, rotation, log scale)."""
_PRIOR_SIGMA = 1e-5
_LOOP_KERNEL = 10.0
"""Width of the Cauchy kernel on loops, in their sigmas: what the odometry can not explain at all fades out.

Wide, since drift is systematic, and far larger than the odometry's covariance makes it.
"""
_MOST_UPDATES = 60
_CONVERGED = 1e-7
_MOVED = 1e-6


class EdgeKind(Enum):
    """What an edge was measured by."""

    ODOMETRY = "odometry"
    LOOP = "loop"


@dataclass(frozen=True, eq=False)
class Edge:
    """A measured `S_i_j` between submaps i and j.

    `covariance` (7, 7), positive definite, is that of δ in `S_i_j @ Sim3.from_log(δ)`, in the order of `Sim3.log`.
    """

    i: int
    j: int
    S_i_j: Sim3
    covariance: NDArray[np.float64]
    kind: EdgeKind = EdgeKind.ODOMETRY


class SubmapGraph:
    """Submaps' anchors `S_map_submap`. It keeps one node a submap and its edges, nothing of their frames or points.

    Until the first loop the anchors are the composed odometry and cost nothing; from then on iSAM2 keeps them optimal.
    """

    def __init__(self) -> None:
        self._anchors: dict[int, Sim3] = {}
        self._edges: list[Edge] = []
        self._new_constraints: list[Edge] = []
        self._isam: gtsam.ISAM2 | None = None
        self._taken = 0  # edges that iSAM2 has

    def __len__(self) -> int:
        return len(self._anchors)

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
        _check(edge)
        self._anchors[index] = self._anchors[edge.i] @ edge.S_i_j
        self._edges.append(edge)

    def add_edge(self, edge: Edge) -> None:
        """Add a further measurement between two submaps of the graph; `optimise` takes it in.

        Raises:
            MappingError: one of the submaps is not in the graph, or the covariance is not positive definite.
        """
        if edge.i not in self._anchors or edge.j not in self._anchors or edge.i == edge.j:
            raise MappingError(f"an edge from submap {edge.i} to {edge.j} needs two submaps that are in the graph")
        _check(edge)
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
        """Take in the edges that `add_edge` brought since the last call; says whether any anchor moved.

        Raises:
            MappingError: the edges have no common solution; the anchors stay as they are and those edges are dropped.
        """
        if not self._new_constraints:
            return False
        constraints, self._new_constraints = self._new_constraints, []
        try:
            solved = self._solve([*self._edges[self._taken :], *constraints])
        except RuntimeError as error:  # how GTSAM says that a system is indeterminate
            self._isam, self._taken = None, 0
            raise MappingError("the submap graph has no solution with its newest edges, which are dropped") from error
        self._edges += constraints
        self._taken = len(self._edges)
        moved = _largest_change(self._anchors, solved) > _MOVED
        self._anchors = solved
        return moved

    def snapshot(self) -> dict[str, NDArray[np.generic]]:
        """The graph as plain arrays, for `restore`."""
        return {
            "index": np.array(list(self._anchors), np.int64),
            "anchor": _numbers(self._anchors.values()),
            "edge_index": np.array([(edge.i, edge.j) for edge in self.edges], np.int64).reshape(-1, 2),
            "edge_transform": _numbers(edge.S_i_j for edge in self.edges),
            "edge_covariance": np.array([edge.covariance for edge in self.edges], np.float64).reshape(-1, 7, 7),
            "edge_is_loop": np.array([edge.kind is EdgeKind.LOOP for edge in self.edges], bool),
            "new_constraints": np.array(len(self._new_constraints), np.int64),
        }

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Become the graph whose `snapshot` is given, in place of this one."""
        indices = [int(index) for index in arrays["index"]]
        self._anchors = dict(zip(indices, map(_similarity, arrays["anchor"]), strict=True))
        columns = (arrays[f"edge_{name}"] for name in ("index", "transform", "covariance", "is_loop"))
        edges = [
            Edge(int(i), int(j), _similarity(S), covariance.copy(), EdgeKind.LOOP if is_loop else EdgeKind.ODOMETRY)
            for (i, j), S, covariance, is_loop in zip(*columns, strict=True)
        ]
        taken = len(edges) - int(arrays["new_constraints"])
        self._edges, self._new_constraints = edges[:taken], edges[taken:]
        self._isam, self._taken = None, 0

    def absorb(self, earlier: Mapping[str, NDArray[Any]], S_earlier_own: Sim3) -> None:
        """Take in the graph of another map's `snapshot`, as older; the own submaps move into its frame.

        The two hang together only once `add_edge` has joined them, which has to be done before `optimise`.

        Raises:
            MappingError: a submap is in both.
        """
        common = sorted(set(self._anchors) & {int(index) for index in earlier["index"]})
        if common:
            raise MappingError(f"submap {common[0]} is in both graphs; give every submap its own index")
        own = self.snapshot()
        moved = [S_earlier_own @ anchor for anchor in self._anchors.values()]
        joined = {name: np.concatenate([earlier[name], own[name]]) for name in own if np.ndim(own[name])}
        joined["anchor"] = np.concatenate([earlier["anchor"], _numbers(moved)])
        self.restore(joined | {"new_constraints": own["new_constraints"]})

    def _solve(self, new_edges: list[Edge]) -> dict[int, Sim3]:
        factors, values = gtsam.NonlinearFactorGraph(), gtsam.Values()
        if self._isam is None:
            parameters = gtsam.ISAM2Params()
            parameters.setRelinearizeThreshold(_CONVERGED)
            parameters.relinearizeSkip = 1
            self._isam = gtsam.ISAM2(parameters)
            first, anchor = next(iter(self._anchors.items()))
            noise = gtsam.noiseModel.Isotropic.Sigma(7, _PRIOR_SIGMA)
            factors.add(gtsam.PriorFactorSimilarity3(first, _to_gtsam(anchor), noise))
        for edge in new_edges:
            factors.add(_factor(edge))
        for index, anchor in self._anchors.items():
            if not self._isam.valueExists(index):
                values.insert(index, _to_gtsam(anchor))
        self._isam.update(factors, values)
        solved = self._estimate(self._isam)
        for _ in range(_MOST_UPDATES):
            self._isam.update()
            before, solved = solved, self._estimate(self._isam)
            if _largest_change(before, solved) < _CONVERGED:
                break
        return solved

    def _estimate(self, isam: gtsam.ISAM2) -> dict[int, Sim3]:
        values = isam.calculateEstimate()
        solved = {index: _from_gtsam(values.atSimilarity3(index)) for index in self._anchors}
        if not np.isfinite(_numbers(solved.values())).all():
            raise RuntimeError("the estimate is not finite")
        return solved


def _check(edge: Edge) -> None:
    covariance = np.asarray(edge.covariance)
    usable = covariance.shape == (7, 7) and np.isfinite(covariance).all() and np.allclose(covariance, covariance.T)
    if not usable or np.linalg.eigvalsh(covariance)[0] <= 0:
        raise MappingError(
            f"the covariance of the edge from submap {edge.i} to {edge.j} is no positive definite (7, 7) matrix; "
            "give every direction some variance"
        )


def _factor(edge: Edge) -> gtsam.NonlinearFactor:
    gaussian = gtsam.noiseModel.Gaussian.Covariance(edge.covariance[np.ix_(_GTSAM_ORDER, _GTSAM_ORDER)])
    cauchy = gtsam.noiseModel.mEstimator.Cauchy.Create(_LOOP_KERNEL)
    is_loop = edge.kind is EdgeKind.LOOP
    noise: gtsam.noiseModel.Base = gtsam.noiseModel.Robust.Create(cauchy, gaussian) if is_loop else gaussian
    return gtsam.BetweenFactorSimilarity3(edge.i, edge.j, _to_gtsam(edge.S_i_j), noise)


def _to_gtsam(S: Sim3) -> gtsam.Similarity3:
    # GTSAM's Similarity3 maps p to s (R p + t): its translation is ours in the source's unit.
    return gtsam.Similarity3(gtsam.Rot3(S.R), S.t / S.scale, S.scale)


def _from_gtsam(S: gtsam.Similarity3) -> Sim3:
    return Sim3(S.scale(), S.rotation().matrix(), S.scale() * S.translation())


def _largest_change(before: Mapping[int, Sim3], after: Mapping[int, Sim3]) -> float:
    """The largest difference in any rotation entry, scale ratio or translation (in map units)."""
    old, new = _numbers(before.values()), _numbers(after.values())
    return float(np.abs(np.concatenate([(new[:, :1] / old[:, :1] - 1), new[:, 1:] - old[:, 1:]], axis=1)).max())


def _numbers(transforms: Iterable[Sim3]) -> NDArray[np.float64]:
    """Rows (n, 13) of scale, R row by row, t."""
    return np.array([[S.scale, *S.R.ravel(), *S.t] for S in transforms], np.float64).reshape(-1, 13)


def _similarity(numbers: NDArray[np.float64]) -> Sim3:
    return Sim3(float(numbers[0]), numbers[1:10].reshape(3, 3).copy(), numbers[10:].copy())
