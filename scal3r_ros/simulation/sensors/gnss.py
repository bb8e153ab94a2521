"""A satellite receiver on a simulated drive: white and slow errors, outages, and where on earth the drive is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pymap3d
from numpy.typing import NDArray

from scal3r_ros.mapping.values import Fix
from scal3r_ros.simulation.sensors.motion import SmoothMotion

Array = NDArray[np.float64]


@dataclass(frozen=True)
class GnssModel:
    """Errors of about 1 m each way on the plan, in metres: `white` ones, and `slow` ones that last `slow_s` seconds.

    Height errs by `vertical` times as much. There are no fixes within `outages`, pairs of seconds since the start.
    `yaw_deg` turns the drive's x axis from east towards north.
    """

    rate_hz: float = 1.0
    white: float = 0.8
    slow: float = 0.6
    slow_s: float = 60.0
    vertical: float = 1.7
    outages: tuple[tuple[float, float], ...] = ()
    latitude_deg: float = 49.0094
    longitude_deg: float = 8.4044
    altitude_m: float = 115.0
    yaw_deg: float = 37.0


def simulate_gnss(motion: SmoothMotion, seed: int = 0, model: GnssModel | None = None) -> list[Fix]:
    """Fixes along a drive, of the camera's own place. Equal arguments give equal fixes."""
    model = model or GnssModel()
    rng = np.random.default_rng([seed, 3])
    stamps = motion.stamps_at(model.rate_hz)
    true = enu_of(motion.poses(stamps)[:, :3, 3], model)
    kept = np.exp(-1.0 / (model.rate_hz * model.slow_s))
    slow = np.zeros((len(stamps), 3))
    slow[0] = rng.normal(size=3) * model.slow
    for k in range(1, len(stamps)):
        slow[k] = kept * slow[k - 1] + np.sqrt(1 - kept**2) * model.slow * rng.normal(size=3)
    error = (slow + rng.normal(size=slow.shape) * model.white) * [1.0, 1.0, model.vertical]
    variance = model.white**2 + model.slow**2
    covariance = np.diag([variance, variance, variance * model.vertical**2])
    origin = (model.latitude_deg, model.longitude_deg, model.altitude_m)
    fixes = []
    for stamp, place in zip(stamps, true + error, strict=True):
        seconds = (stamp - stamps[0]) * 1e-9
        if any(begin <= seconds < end for begin, end in model.outages):
            continue
        latitude, longitude, altitude = map(float, pymap3d.enu2geodetic(*place, *origin))
        fixes.append(Fix(int(stamp), latitude, longitude, altitude, covariance))
    return fixes


def enu_of(places: Array, model: GnssModel) -> Array:
    """Places (n, 3) of the level frame of a drive, east, north and up of the model's origin in metres."""
    yaw = np.deg2rad(model.yaw_deg)
    R = np.array([[np.cos(yaw), -np.sin(yaw), 0.0], [np.sin(yaw), np.cos(yaw), 0.0], [0.0, 0.0, 1.0]])
    return np.asarray(places @ R.T)
