"""How a map begins: upright and in metres, where its first submap was observed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.geometry import se3
from scal3r_ros.geometry.sim3 import Sim3
from scal3r_ros.mapping.graph.observations import METRIC_SIGMA, Observation, UpObservation, in_metres
from scal3r_ros.mapping.submaps.submap import Placed

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Start:
    """What is known of the first submap: `up_submap` (3,), a unit vector, and the metres in its unit; None if not.

    `sigma` is the standard deviation of the logarithm of the latter.
    """

    up_submap: Array | None = None
    metres_per_unit: float | None = None
    sigma: float | None = None

    @property
    def known(self) -> bool:
        """Whether anything is."""
        return self.up_submap is not None or self.metres_per_unit is not None


def start_of(observations: Sequence[Observation]) -> Start:
    """The start that the observations of a first submap allow, its scale where they know it well enough together."""
    up = next((o.up_submap for o in observations if isinstance(o, UpObservation)), None)
    scales = [o for o in observations if in_metres(o)]
    weights = np.array([o.sigma**-2.0 for o in scales])
    if not scales or weights.sum() ** -0.5 > METRIC_SIGMA:
        return Start(up)
    mean = float(weights @ [o.log_scale for o in scales] / weights.sum())
    return Start(up, float(np.exp(mean)), float(weights.sum() ** -0.5))


def begun(placed: Placed, observations: Sequence[Observation], systematic_sigma: float = 0.0) -> Placed:
    """A first submap turned upright and in metres, as far as it was observed; its first camera stays at the origin.

    `systematic_sigma` is what no number of observations takes from the standard deviation of the log of the metre.
    Any other submap, and one that was not observed, is given back as it is.
    """
    start = start_of(observations)
    if placed.edge is not None or not start.known:
        return placed
    submap = placed.submap
    S = submap.S_odom_submap
    R = S.R if start.up_submap is None else upright(S.R, start.up_submap)
    scale = start.metres_per_unit or S.scale
    first = submap.geometry.T_chunk_cam[0, :3, 3]
    metric = start.metres_per_unit is not None
    turned = replace(submap, S_odom_submap=Sim3(scale, R, -scale * R @ first))
    sigma = None if start.sigma is None else float(np.hypot(start.sigma, systematic_sigma))
    return replace(placed, submap=turned.at_scale_sigma(sigma), metric=metric)


def upright(R_odom_submap: Array, up_submap: Array) -> Array:
    """The rotation turned by the least angle that takes `up_submap` to z."""
    up = R_odom_submap @ up_submap
    axis = np.cross(up, [0.0, 0.0, 1.0])
    sine = float(np.linalg.norm(axis))
    if sine < 1e-12:
        return R_odom_submap
    return np.asarray(se3.rotation_exp(axis / sine * np.arctan2(sine, up[2])) @ R_odom_submap)
