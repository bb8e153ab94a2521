"""The graph's measurements as factors of GTSAM."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gtsam
import numpy as np
from numpy.typing import NDArray

from scal3r_ros.geometry.se3 import hat
from scal3r_ros.geometry.sim3 import Sim3
from scal3r_ros.mapping.graph.edges import Edge, EdgeKind
from scal3r_ros.mapping.graph.observations import Observation, PositionObservation, ScaleObservation

Array = NDArray[np.float64]

GTSAM_ORDER = np.array([3, 4, 5, 0, 1, 2, 6])
"""GTSAM's tangent of Similarity3 is (rotation, translation, log scale), ours (translation, rotation, log scale)."""
FIXED_SIGMA = 1e-5
"""Standard deviation, in each direction, of a submap that is fixed."""
UNKNOWN = 1e8
"""Standard deviation of what a factor does not measure."""
OBSERVATION_KERNEL = 3.0
"""Width of the Cauchy kernel on observations of a single submap, in their sigmas: outliers fade out."""


def edge_factor(edge: Edge) -> gtsam.NonlinearFactor:
    """The factor of a measurement between two submaps: robust for loops, Gaussian for odometry."""
    gaussian = gtsam.noiseModel.Gaussian.Covariance(edge.covariance[np.ix_(GTSAM_ORDER, GTSAM_ORDER)])
    noise: gtsam.noiseModel.Base = _robust(gaussian, edge.kernel) if edge.kind is EdgeKind.LOOP else gaussian
    return gtsam.BetweenFactorSimilarity3(edge.i, edge.j, to_gtsam(edge.S_i_j), noise)


def prior_factor(index: int, anchor: Sim3, covariance: Array | None = None) -> gtsam.NonlinearFactor:
    """The factor that fixes a submap at `anchor`, firmly or with `covariance` (7, 7) in the order of `Sim3.log`."""
    noise: gtsam.noiseModel.Base = gtsam.noiseModel.Isotropic.Sigma(7, FIXED_SIGMA)
    if covariance is not None:
        noise = gtsam.noiseModel.Gaussian.Covariance(covariance[np.ix_(GTSAM_ORDER, GTSAM_ORDER)])
    return gtsam.PriorFactorSimilarity3(index, to_gtsam(anchor), noise)


def observation_factor(observation: Observation) -> gtsam.NonlinearFactor:
    """The robust factor of an observation: of one submap, or of its scale and that of a reference."""
    if isinstance(observation, ScaleObservation):
        # A prior's error in log scale depends on nothing but the scale; all else is left open.
        sigmas = np.array([UNKNOWN] * 6 + [observation.sigma])
        prior = gtsam.Similarity3(gtsam.Rot3(), np.zeros(3), float(np.exp(observation.log_scale)))
        noise = _robust(gtsam.noiseModel.Diagonal.Sigmas(sigmas), OBSERVATION_KERNEL)
        if observation.reference is not None:
            return gtsam.BetweenFactorSimilarity3(observation.reference, observation.submap, prior, noise)
        return gtsam.PriorFactorSimilarity3(observation.submap, prior, noise)
    if isinstance(observation, PositionObservation):
        noise = _robust(gtsam.noiseModel.Diagonal.Sigmas(observation.sigma), OBSERVATION_KERNEL)
        return gtsam.CustomFactor(noise, [observation.submap], _position_error(observation))
    noise = _robust(gtsam.noiseModel.Isotropic.Sigma(2, observation.sigma_rad), OBSERVATION_KERNEL)
    return gtsam.CustomFactor(noise, [observation.submap], _up_error(observation.submap, observation.up_submap))


def to_gtsam(S: Sim3) -> gtsam.Similarity3:
    """GTSAM's Similarity3 maps p to s (R p + t): its translation is ours in the source's unit."""
    return gtsam.Similarity3(gtsam.Rot3(S.R), S.t / S.scale, S.scale)


def from_gtsam(S: gtsam.Similarity3) -> Sim3:
    """The inverse of `to_gtsam`."""
    return Sim3(S.scale(), S.rotation().matrix(), S.scale() * S.translation())


_Error = Callable[[Any, gtsam.Values, "list[Array] | None"], Array]


def _position_error(observation: PositionObservation) -> _Error:
    submap, point, position = observation.submap, observation.point_submap, observation.position_map

    def error(_: Any, values: gtsam.Values, jacobians: list[Array] | None) -> Array:
        S = from_gtsam(values.atSimilarity3(submap))
        if jacobians is not None:  # of s R exp(δ)(p) + t: s R [−[p]×, I, p] in GTSAM's order
            sR = S.scale * S.R
            jacobians[0] = np.concatenate([-sR @ hat(point), sR, (sR @ point)[:, None]], axis=1)
        return S.apply(point) - position

    return error


def _up_error(submap: int, up_submap: Array) -> _Error:
    def error(_: Any, values: gtsam.Values, jacobians: list[Array] | None) -> Array:
        R = values.atSimilarity3(submap).rotation().matrix()
        if jacobians is not None:
            jacobians[0] = np.concatenate([(-R @ hat(up_submap))[:2], np.zeros((2, 4))], axis=1)
        return np.asarray((R @ up_submap)[:2])

    return error


def _robust(noise: gtsam.noiseModel.Base, kernel: float) -> gtsam.noiseModel.Base:
    return gtsam.noiseModel.Robust.Create(gtsam.noiseModel.mEstimator.Cauchy.Create(kernel), noise)
