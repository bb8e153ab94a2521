"""Wheel odometry on a simulated drive: a circumference that is a little off, steps, slip, and a yaw that drifts."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.geometry import se3
from scal3r_ros.mapping.values import WheelOdometry
from scal3r_ros.simulation.sensors.motion import SmoothMotion

Array = NDArray[np.float64]


def _mount() -> Array:
    """The base on the ground below the rear axle: x forward, y left, z up: T_base_cam."""
    R_base_cam = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
    return se3.se3(R_base_cam, np.array([1.4, 0.1, 1.65]))


@dataclass(frozen=True, eq=False)
class WheelModel:
    """Errors as of a car's own wheels.

    `circumference` is the standard deviation of a share that is the same for the whole drive, `step` that of each
    step's noise. A wheel slips about every `slip_every_m`, for `slip_s` seconds, by a share of up to `slip_most` either
    way. `yaw` in rad/√m.
    """

    rate_hz: float = 50.0
    circumference: float = 0.004
    step: float = 0.01
    slip_every_m: float = 60.0
    slip_s: float = 0.6
    slip_most: float = 0.25
    yaw: float = 1e-3
    T_base_cam: Array = field(default_factory=_mount)


def simulate_wheels(motion: SmoothMotion, seed: int = 0, model: WheelModel | None = None) -> list[WheelOdometry]:
    """Poses of the base, integrated on a plane as wheel odometry does. Equal arguments give equal poses."""
    model = model or WheelModel()
    rng = np.random.default_rng([seed, 2])
    stamps = motion.stamps_at(model.rate_hz)
    T_level_base = motion.poses(stamps) @ se3.invert(model.T_base_cam)
    steps = se3.invert(T_level_base[:-1]) @ T_level_base[1:]
    forward, turn = steps[:, 0, 3], np.arctan2(steps[:, 1, 0], steps[:, 0, 0])
    way = np.abs(forward)
    share = rng.normal() * model.circumference + model.step * rng.normal(size=len(forward))
    share += _slip(way, rng, model)
    forward = forward * (1.0 + share)
    turn = turn + model.yaw * rng.normal(size=len(turn)) * np.sqrt(way)
    heading = np.concatenate([[0.0], np.cumsum(turn)])
    middle = heading[:-1] + 0.5 * turn
    x = np.concatenate([[0.0], np.cumsum(forward * np.cos(middle))])
    y = np.concatenate([[0.0], np.cumsum(forward * np.sin(middle))])
    c, s, zero, one = np.cos(heading), np.sin(heading), np.zeros_like(heading), np.ones_like(heading)
    R = np.stack([c, -s, zero, s, c, zero, zero, zero, one], axis=1).reshape(-1, 3, 3)
    T = se3.se3(R, np.stack([x, y, zero], axis=1))
    return [WheelOdometry(int(stamp), pose, model.T_base_cam) for stamp, pose in zip(stamps, T, strict=True)]


def _slip(way: Array, rng: np.random.Generator, model: WheelModel) -> Array:
    """The share (n,) by which each step is measured too long or too short."""
    starts = np.flatnonzero(rng.random(len(way)) < way / model.slip_every_m)
    slip = np.zeros(len(way))
    for start in starts:
        end = start + round(model.slip_s * model.rate_hz)
        slip[start:end] = rng.uniform(-0.5, 1.0) * model.slip_most
    return slip
