"""Which verified loops are accepted: those that others nearby confirm, and that the drift so far can explain."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np

from scal3r_ros.geometry import se3
from scal3r_ros.geometry.sim3 import Sim3
from scal3r_ros.mapping.graph.edges import LOOP_KERNEL, Edge
from scal3r_ros.mapping.graph.solver import GraphProblem
from scal3r_ros.mapping.loops.config import LoopConfig

NEAR = 6
"""Submaps within which two loops measure the same stretch of the drive."""
LOCAL_DRIFT = 0.025
"""Drift between two such loops, as a share of the distance from one to the other."""
SIGMAS = 4.0
MAX_ROTATION_DEG = 6.0
MAX_LOG_SCALE = 0.15
PULL = 1 / 3
"""Width of an accepted loop's kernel, relative to its Mahalanobis distance from the graph: it must be able to pull."""
MAX_PENDING = 50
"""Loops without support that are kept at most; the oldest go first."""


class LoopConsistency:
    """Holds loops back until `min_support` others agree. State: pending and accepted loops."""

    def __init__(self, config: LoopConfig) -> None:
        self._config = config
        self._pending: list[Edge] = []
        self._accepted: list[Edge] = []
        self.gated = 0

    @property
    def pending(self) -> int:
        """Number of loops without support so far."""
        return len(self._pending)

    def clear(self) -> None:
        """Forget all loops."""
        self._pending, self._accepted = [], []

    def reject(self, edges: Iterable[Edge]) -> None:
        """Forgets loops that turned out to be wrong: they support no other any more."""
        wrong = {edge.key for edge in edges}
        self._accepted = [edge for edge in self._accepted if edge.key not in wrong]

    def accept(self, edge: Edge, anchors: Mapping[int, Sim3], problem: GraphProblem) -> list[Edge]:
        """Takes in a verified loop; gives the loops that are accepted from now on, it and those it confirms."""
        if not self._is_plausible(edge, anchors, problem):
            self.gated += 1
            return []
        pending = [other for other in self._pending if _agree(edge, other, anchors)]
        accepted = [other for other in self._accepted if _agree(edge, other, anchors)]
        if len(pending) + len(accepted) < self._config.min_support:
            self._pending = [*self._pending, edge][-MAX_PENDING:]
            return []
        taken = {other.key for other in pending}
        self._pending = [other for other in self._pending if other.key not in taken]
        confirmed = [
            replace(loop, kernel=max(LOOP_KERNEL, PULL * loop.mahalanobis_distance(anchors)))
            for loop in (*pending, edge)
        ]
        self._accepted += confirmed
        return confirmed

    def _is_plausible(self, edge: Edge, anchors: Mapping[int, Sim3], problem: GraphProblem) -> bool:
        """Whether the ends and scales of the path around the loop can have drifted so far apart.

        A healthy drive drifts by a share of its length; where chunks on the way were not well measured, the covariance
        of that way says how much further it may have gone.
        """
        way = problem.between(edge.i, edge.j)
        ratio = abs(np.log(edge.S_i_j.scale * anchors[edge.i].scale / anchors[edge.j].scale))
        if ratio > max(np.log(self._config.max_scale_ratio), SIGMAS * way.sigma_of_log_scale):
            return False
        measured = anchors[edge.i].apply(edge.S_i_j.t)
        known = anchors[edge.j].t
        slack = SIGMAS * anchors[edge.i].scale * float(np.sqrt(np.trace(edge.covariance[:3, :3]))) * edge.S_i_j.scale
        drift = max(self._config.max_drift * way.length, SIGMAS * way.sigma_of_position(anchors[edge.j].scale))
        return float(np.linalg.norm(measured - known)) <= drift + slack


def _agree(first: Edge, second: Edge, anchors: Mapping[int, Sim3]) -> bool:
    """Whether both loops close a cycle, up to their errors and a little drift."""
    if first.i == second.i and first.j == second.j and np.array_equal(first.S_i_j.t, second.S_i_j.t):
        return False  # the same loop
    if abs(first.i - second.i) > NEAR or abs(first.j - second.j) > NEAR:
        return False
    S_i = anchors[first.i].inverse() @ anchors[second.i]
    S_j = anchors[first.j].inverse() @ anchors[second.j]
    error = (first.S_i_j @ S_j).inverse() @ (S_i @ second.S_i_j)
    path = np.linalg.norm(S_j.t) + np.linalg.norm(S_i.t) / first.S_i_j.scale
    lever = float(np.linalg.norm(S_j.t))
    variance = sum(
        float(np.trace(edge.covariance[:3, :3]) + lever**2 * np.trace(edge.covariance[3:6, 3:6]))
        for edge in (first, second)
    )
    near = np.linalg.norm(error.t) <= SIGMAS * np.sqrt(variance) + LOCAL_DRIFT * path
    turned = np.rad2deg(se3.rotation_angle(error.R)) <= MAX_ROTATION_DEG
    return bool(near and turned and abs(np.log(error.scale)) <= MAX_LOG_SCALE)
