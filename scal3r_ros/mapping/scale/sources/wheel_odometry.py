"""Scale by the wheels: the way that they have measured between keyframes, against the way in the submap."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.geometry import se3
from scal3r_ros.mapping.graph.observations import Observation, ScaleObservation, Source
from scal3r_ros.mapping.scale.config import ScaleConfig
from scal3r_ros.mapping.scale.source import SubmapView
from scal3r_ros.mapping.scale.sources.sample_buffer import SampleBuffer
from scal3r_ros.mapping.values import SensorSample, WheelOdometry

Array = NDArray[np.float64]

LONGEST_GAP_NS = 250_000_000
"""Time between two samples over which a pose is interpolated."""
SHORTEST_WAY_M = 0.5
"""Way in the submap below which the wheels are not asked: they count in steps, and the camera trembles."""
STEP_SIGMA = 0.02
"""Standard deviation of a step between keyframes, as a share of it, where all steps of a submap happen to agree."""
UNKNOWN_LEVER_M = 2.0
"""How far the camera may be from the base where its mount is not known: in turns the two go ways of unlike length."""
LARGEST_LEVER_ERROR = 0.03
NEIGHBOURS = 4.0
"""Submaps that share one error (a surface that slips, a slope): the variance is widened by as much."""


class WheelScale:
    """The source `wheel_odometry`."""

    def __init__(self, config: ScaleConfig) -> None:
        self._config = config
        self._samples = SampleBuffer[WheelOdometry]()

    def add(self, sample: SensorSample) -> None:
        """Takes in the poses of wheel odometry; those that are no numbers are passed over."""
        if isinstance(sample, WheelOdometry) and np.isfinite(sample.T_wheel_base).all():
            self._samples.add(sample)

    def observe(self, view: SubmapView) -> list[Observation]:
        """The ratio of both ways, robustly over the steps between the submap's own keyframes."""
        stamps = view.stamps_ns
        samples = self._samples.between(int(stamps[0]), int(stamps[-1]))
        self._samples.forget_before(int(stamps[0]))
        if not view.measured or len(samples) < 2:
            return []
        T_base_cam = samples[-1].T_base_cam  # it may have become known meanwhile
        at = [_pose_at(samples, int(stamp), T_base_cam) for stamp in stamps]
        ratios, ways = [], []
        for k in range(view.new_from, len(stamps)):
            before, after = at[k - 1], at[k]
            seen = float(np.linalg.norm(view.centres[k] - view.centres[k - 1]))
            if before is None or after is None or seen <= 0:
                continue
            step = se3.invert(before) @ after
            way = float(np.linalg.norm(step[:3, 3]))
            lever = 0.0 if T_base_cam is not None else UNKNOWN_LEVER_M * se3.rotation_angle(step[:3, :3])
            if way > 0 and lever <= LARGEST_LEVER_ERROR * way:
                ratios.append(np.log(way / seen))
                ways.append(way)
        if sum(ways) < SHORTEST_WAY_M:
            return []
        log_scale, sigma = _robust_mean(np.array(ratios), np.array(ways))
        sigma = float(np.sqrt(NEIGHBOURS * sigma**2 + self._config.wheel_sigma**2))
        return [ScaleObservation(view.index, log_scale, sigma, Source.WHEEL_ODOMETRY)]

    def clear(self) -> None:
        """Forgets all samples."""
        self._samples.clear()


def _pose_at(samples: Sequence[WheelOdometry], stamp_ns: int, T_base_cam: Array | None) -> Array | None:
    """The camera (the base, where the mount is not known) in the wheels' frame; None too far from any sample."""
    after = next((k for k, sample in enumerate(samples) if sample.stamp_ns >= stamp_ns), None)
    if after is None or (after == 0 and samples[0].stamp_ns != stamp_ns):
        return None
    later, earlier = samples[after], samples[max(0, after - 1)]
    gap = later.stamp_ns - earlier.stamp_ns
    if gap > LONGEST_GAP_NS:
        return None
    share = 1.0 if gap == 0 else (stamp_ns - earlier.stamp_ns) / gap
    T_wheel_base = se3.interpolate(earlier.T_wheel_base, later.T_wheel_base, share)
    return np.asarray(T_wheel_base if T_base_cam is None else T_wheel_base @ T_base_cam)


def _robust_mean(ratios: Array, weights: Array) -> tuple[float, float]:
    """Weighted median of log ratios, and the standard deviation of it by the spread around it."""
    order = np.argsort(ratios, kind="stable")
    half = np.cumsum(weights[order]) - 0.5 * weights[order]
    median = float(np.interp(0.5 * weights.sum(), half, ratios[order]))
    spread = max(1.4826 * float(np.median(np.abs(ratios - median))), STEP_SIGMA)
    effective = weights.sum() ** 2 / np.square(weights).sum()
    return median, float(1.2533 * spread / np.sqrt(effective))
