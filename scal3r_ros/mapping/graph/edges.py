"""What is measured between submaps: similarities with their covariance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.errors import MappingError
from scal3r_ros.geometry.sim3 import Sim3, rows_of

LOOP_KERNEL = 10.0
"""Width of the Cauchy kernel on loops, in their sigmas: what odometry cannot explain fades out."""
_DRIFT = (2.5e-3, 1.1e-3, 3e-3)
"""Systematic errors of odometry: translation as a share of the step, rotation in rad, log of the scale.

They add up along the drive, which the covariance of a single alignment does not show.
"""


_UNKNOWN = (10.0,) * 3 + (1.0,) * 3 + (2.0,)
"""Standard deviations of an edge that nothing is known of: translation in units of the newer submap, rad, log scale."""
_LEAST_VARIANCE = 1e-18
_LEAST_SHARE = 1e-9
"""Smallest eigenvalue of a covariance whose variances are scaled to 1."""


class EdgeKind(Enum):
    """What an edge was measured by. A BRIDGE was not measured: it keeps a segment in the graph until loops join it."""

    ODOMETRY = "odometry"
    BRIDGE = "bridge"
    LOOP = "loop"


@dataclass(frozen=True, eq=False)
class Edge:
    """A measured `S_i_j` between submaps i and j.

    `covariance` (7, 7), positive definite, is that of δ in `S_i_j @ Sim3.from_log(δ)`, in the order of `Sim3.log`.
    `kernel` is the width of the Cauchy kernel on a loop, in its standard deviations: a true
    loop that corrects much drift needs a wide one to have an effect.
    """

    i: int
    j: int
    S_i_j: Sim3
    covariance: NDArray[np.float64]
    kind: EdgeKind = EdgeKind.ODOMETRY
    kernel: float = LOOP_KERNEL

    @property
    def key(self) -> tuple[int, int, bytes]:
        """What tells this measurement from others; the same where the edge is read back from plain arrays."""
        return self.i, self.j, rows_of((self.S_i_j,)).tobytes()

    def inverse(self) -> Edge:
        """The same measurement from j to i."""
        adjoint = self.S_i_j.adjoint()
        covariance = adjoint @ self.covariance @ adjoint.T
        return replace(
            self, i=self.j, j=self.i, S_i_j=self.S_i_j.inverse(), covariance=(covariance + covariance.T) / 2.0
        )

    def mahalanobis_distance(self, anchors: Mapping[int, Sim3]) -> float:
        """Distance of the edge from anchors in its standard deviations: root mean square over directions."""
        delta = (self.S_i_j.inverse() @ anchors[self.i].inverse() @ anchors[self.j]).log()
        return float(np.sqrt(delta @ np.linalg.solve(self.covariance, delta) / len(delta)))


def drift(step: float) -> NDArray[np.float64]:
    """Covariance (7, 7) of the systematic errors of a step of odometry, `step` units of the newer submap long."""
    translation, rotation, log_scale = _DRIFT
    return np.diag(np.square([translation * step] * 3 + [rotation] * 3 + [log_scale]))


def odometry_edge(i: int, j: int, S_i_j: Sim3, covariance: NDArray[np.float64]) -> Edge:
    """The edge of an alignment between neighbours, its covariance widened by the drift that adds up along the way.

    Directions that a degenerate chunk says nothing of, or that come out of rounding without variance, get some.
    """
    step = float(np.linalg.norm(S_i_j.t)) / S_i_j.scale  # in the unit of submap j, as δ is
    return Edge(i, j, S_i_j, positive_definite(covariance + drift(step)))


def unknown_covariance() -> NDArray[np.float64]:
    """Covariance (7, 7) of an edge that nothing is known of."""
    return np.diag(np.square(_UNKNOWN))


def positive_definite(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """The nearest usable covariance (7, 7): symmetric, with variance in every direction.

    A wide one where the numbers given are not finite.
    """
    if not np.isfinite(covariance).all():
        return unknown_covariance()
    spread = np.sqrt(np.maximum(np.diag(covariance), _LEAST_VARIANCE))
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2.0 / np.outer(spread, spread))
    if values[0] >= _LEAST_SHARE:
        return np.asarray(covariance + np.diag(spread**2 - np.diag(covariance)))
    usable = (vectors * np.maximum(values, _LEAST_SHARE)) @ vectors.T
    return np.asarray((usable + usable.T) / 2.0 * np.outer(spread, spread))


def check_edge(edge: Edge) -> None:
    """Raises MappingError where the covariance is no positive definite matrix, whatever the unit of its lengths."""
    covariance = np.asarray(edge.covariance)
    usable = covariance.shape == (7, 7) and np.isfinite(covariance).all() and np.allclose(covariance, covariance.T)
    usable = usable and bool((np.diag(covariance) > 0).all())
    spread = np.sqrt(np.diag(covariance)) if usable else np.ones(7)
    if not usable or np.linalg.eigvalsh(covariance / np.outer(spread, spread))[0] <= 0:
        raise MappingError(
            f"the covariance of the edge from submap {edge.i} to {edge.j} is no positive definite (7, 7) matrix; "
            "give every direction some variance"
        )
