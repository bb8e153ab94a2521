"""Where `map` lies on earth: the yaw, origin and unit that take points of it to satellite fixes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

ROUNDS = 10
OUTLIER = 3.0
"""Width of the Cauchy weight on fixes, in their sigmas."""


@dataclass(frozen=True, eq=False)
class Georeference:
    """`R_enu_map` (3, 3), a turn about up, `t_enu` (3,) in metres, and the metres in a unit of `map`.

    `sigma` is the standard deviation of the yaw in rad, and of the logarithm of the metres in a unit alike.
    """

    R_enu_map: Array
    t_enu: Array
    scale: float
    sigma: float

    def to_map(self, position_enu: Array) -> Array:
        """A place (3,) in metres east, north and up as one in `map`, in metres."""
        return np.asarray(self.R_enu_map.T @ (position_enu - self.t_enu))


def georeference(points_map: Array, positions_enu: Array, sigmas: Array) -> Georeference | None:
    """The similarity about up that takes `points_map` (n, 3) to `positions_enu` (n, 3), both on a plan; height apart.

    `sigmas` (n, 3) in metres. Least squares over complex numbers with weights that let outliers fade; None where the
    points do not determine it.
    """
    if len(points_map) < 3:
        return None
    z, w = points_map[:, 0] + 1j * points_map[:, 1], positions_enu[:, 0] + 1j * positions_enu[:, 1]
    sigma = np.sqrt(0.5 * np.square(sigmas[:, :2]).sum(axis=1))
    weight = sigma**-2
    for _ in range(ROUNDS):
        z0, w0 = (weight @ z) / weight.sum(), (weight @ w) / weight.sum()
        spread = float(weight @ np.square(np.abs(z - z0)))
        if spread <= 0:
            return None
        a = complex(weight @ (np.conj(z - z0) * (w - w0))) / spread
        residual = np.abs(w - w0 - a * (z - z0)) / sigma
        weight = sigma**-2 / (1.0 + np.square(residual / OUTLIER))
    scale, yaw = abs(a), float(np.angle(a))
    if scale <= 0:
        return None
    R = np.array([[np.cos(yaw), -np.sin(yaw), 0.0], [np.sin(yaw), np.cos(yaw), 0.0], [0.0, 0.0, 1.0]])
    origin = w0 - a * z0
    up = float(np.median(positions_enu[:, 2] - scale * points_map[:, 2]))
    # Residuals beyond the sigmas (drift, fixes worse than they claim) widen it.
    worse = max(1.0, float(np.sqrt(np.mean(np.minimum(np.square(residual), OUTLIER**2)) / 2.0)))
    return Georeference(R, np.array([origin.real, origin.imag, up]), scale, worse / (scale * np.sqrt(spread)))
