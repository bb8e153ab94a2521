"""What is measured of one submap alone: the length of its unit, which way is up in it, where a point of it lies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TypeGuard

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.errors import MappingError
from scal3r_ros.geometry.sim3 import Sim3

Array = NDArray[np.float64]

METRIC_SIGMA = 0.15
"""Standard deviation of the log scale from which on the map's unit is taken to be known, and becomes the metre."""


class Source(Enum):
    """What an observation was measured by."""

    CAMERA_HEIGHT = "camera_height"
    WHEEL_ODOMETRY = "wheel_odometry"
    GNSS = "gnss"
    IMU = "imu"
    MEMORY = "memory"


@dataclass(frozen=True)
class ScaleObservation:
    """The unit of submap `submap` is exp(`log_scale`) metres long, give or take `sigma` (of the logarithm).

    With a `reference` it is so many units of that submap long: the source knows no metres.
    `source` names what measured it. Errors of one source are correlated in time; `sigma` is widened for that, so that
    observations may be combined as if they were independent.
    """

    submap: int
    log_scale: float
    sigma: float
    source: Source
    reference: int | None = None

    def in_map(self, anchors: Mapping[int, Sim3]) -> float:
        """The log scale from the submap to `map` that it asks for, where `map` is in metres or it has a `reference`."""
        return self.log_scale + (0.0 if self.reference is None else float(np.log(anchors[self.reference].scale)))


@dataclass(frozen=True, eq=False)
class UpObservation:
    """`up_submap` (3,), a unit vector in the submap, points against gravity, give or take `sigma_rad` each way."""

    submap: int
    up_submap: Array
    sigma_rad: float
    source: Source


@dataclass(frozen=True, eq=False)
class PositionObservation:
    """`point_submap` (3,), in the frame and unit of the submap, lies at `position_map` (3,).

    `sigma` (3,) are the standard deviations along the axes of `map`, in its unit.
    """

    submap: int
    point_submap: Array
    position_map: Array
    sigma: Array
    source: Source


Observation = ScaleObservation | UpObservation | PositionObservation


def in_metres(observation: Observation) -> TypeGuard[ScaleObservation]:
    """Whether it is a scale in metres."""
    return isinstance(observation, ScaleObservation) and observation.reference is None


def check_observation(observation: Observation) -> None:
    """Raises MappingError where a number is not finite or a sigma not positive."""
    match observation:
        case ScaleObservation():
            numbers, sigmas = [observation.log_scale], [observation.sigma]
        case UpObservation():
            numbers, sigmas = [*observation.up_submap], [observation.sigma_rad]
        case PositionObservation():
            numbers = [*observation.point_submap, *observation.position_map]
            sigmas = [*observation.sigma]
    if not np.isfinite([*numbers, *sigmas]).all() or min(sigmas) <= 0:
        raise MappingError(
            f"the observation of submap {observation.submap} by {observation.source.value} is not finite, or its sigma "
            "is not positive"
        )


def metres_per_unit(observations: Iterable[Observation], anchors: Mapping[int, Sim3]) -> tuple[float, float] | None:
    """Logarithm of the metres in a unit of `map`, by its scale observations in metres, and its standard deviation.

    The weighted median, so that a source that is wrong now and then does not move it; None without observations.
    """
    scales = [o for o in observations if in_metres(o) and o.submap in anchors]
    if not scales:
        return None
    ratios = np.array([o.log_scale - np.log(anchors[o.submap].scale) for o in scales])
    weights = np.array([o.sigma**-2.0 for o in scales])
    order = np.argsort(ratios, kind="stable")
    half = np.cumsum(weights[order]) - 0.5 * weights[order]
    median = float(np.interp(0.5 * weights.sum(), half, ratios[order]))
    return median, float(weights.sum() ** -0.5)
