"""Which way is up, and scale where the motion is lively enough: the camera's way against what an IMU felt."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.mapping.graph.observations import Observation, ScaleObservation, Source, UpObservation
from scal3r_ros.mapping.scale.config import ScaleConfig
from scal3r_ros.mapping.scale.source import SubmapView
from scal3r_ros.mapping.scale.sources.inertial_alignment import InertialAlignment, align_inertial, gyro_bias
from scal3r_ros.mapping.scale.sources.preintegration import Preintegrated, preintegrate
from scal3r_ros.mapping.scale.sources.sample_buffer import SampleBuffer
from scal3r_ros.mapping.values import ImuSample, SensorSample

Array = NDArray[np.float64]

FEWEST_STEPS = 6
WINDOW = 40
"""Keyframes that are aligned with the IMU at once."""
CENTRE_SIGMA = 0.01
"""Standard deviation of a camera centre against the one before, as a share of the median step."""
EXCITED = 0.03
"""Standard deviation of the log scale beyond which the motion was too even to measure it."""
UP_KNOWN_RAD = np.deg2rad(3.0)
SYSTEMATIC_UP_RAD = np.deg2rad(0.3)
SYSTEMATIC_SCALE = 0.02
LARGEST_MISFIT = 5.0
LONGEST_WAIT_S = 1.0
"""Time between two keyframes beyond which the way between them is not preintegrated."""


@dataclass(frozen=True, eq=False)
class _Step:
    """The way from one keyframe to the next in a submap's unit, which is exp(`log_unit`) units of the first one.

    `felt` is what the IMU measured meanwhile, `T_imu_cam` its mount.
    """

    T: Array
    log_unit: float
    felt: Preintegrated
    T_imu_cam: Array


class ImuScale:
    """The source `imu`: gravity at any time, scale where it shows."""

    def __init__(self, config: ScaleConfig) -> None:
        self._config = config
        self._samples = SampleBuffer[ImuSample]()
        self.clear()

    def clear(self) -> None:
        """Forgets all samples and steps."""
        self._samples.clear()
        self._steps: deque[_Step] = deque(maxlen=WINDOW)
        self._newest_ns: int | None = None
        self._log_unit = 0.0

    def add(self, sample: SensorSample) -> None:
        """Takes in samples of the IMU; those that are no numbers are passed over."""
        if isinstance(sample, ImuSample) and np.isfinite([sample.angular_velocity, sample.linear_acceleration]).all():
            self._samples.add(sample)

    def observe(self, view: SubmapView) -> list[Observation]:
        """Up and scale by the newest keyframes whose motion was measured without a gap."""
        self._follow(view)
        aligned = self._aligned()
        if aligned is None or aligned.misfit > LARGEST_MISFIT:
            return []
        # `aligned` is in the axes of the newest keyframe, and in the unit of the newest submap.
        found: list[Observation] = []
        up_submap = view.geometry.T_chunk_cam[-1, :3, :3] @ aligned.up
        if aligned.up_sigma_rad < UP_KNOWN_RAD:
            sigma = float(np.hypot(aligned.up_sigma_rad, SYSTEMATIC_UP_RAD) * np.sqrt(self._share(view)))
            found.append(UpObservation(view.index, up_submap, sigma, Source.IMU))
        if aligned.log_scale_sigma < EXCITED:
            # Windows overlap: as many submaps as share one count as one.
            sigma = float(np.hypot(aligned.log_scale_sigma, SYSTEMATIC_SCALE) * np.sqrt(self._share(view)))
            found.append(ScaleObservation(view.index, aligned.log_scale, sigma, Source.IMU))
        return found

    def _share(self, view: SubmapView) -> float:
        return max(1.0, len(self._steps) / max(1, len(view.chunk.frames) - view.new_from))

    def _follow(self, view: SubmapView) -> None:
        S = view.S_before_submap
        if S is None or not view.measured:
            self._steps.clear()
        self._log_unit += 0.0 if S is None else float(np.log(S.scale))
        if not view.measured:
            return
        T, stamps = view.geometry.T_chunk_cam, view.stamps_ns
        if self._newest_ns != stamps[view.new_from - 1]:
            self._steps.clear()
        for k in range(view.new_from, len(stamps)):
            first_ns, last_ns = int(stamps[k - 1]), int(stamps[k])
            samples = self._samples.between(first_ns, last_ns)
            felt = None
            if samples and (last_ns - first_ns) * 1e-9 <= LONGEST_WAIT_S:
                felt = preintegrate(samples, first_ns, last_ns, self._config)
            if felt is None:
                self._steps.clear()
            else:
                step = np.linalg.solve(T[k - 1], T[k])
                self._steps.append(_Step(step, self._log_unit, felt, samples[0].T_imu_cam))
        self._newest_ns = int(stamps[-1])
        self._samples.forget_before(self._newest_ns)

    def _aligned(self) -> InertialAlignment | None:
        steps = list(self._steps)
        if len(steps) < FEWEST_STEPS:
            return None
        T_ref_cam, T_imu_cam = _poses(steps, self._log_unit), steps[-1].T_imu_cam
        R_ref_imu = T_ref_cam[:, :3, :3] @ T_imu_cam[:3, :3].T
        felt = [step.felt for step in steps]
        bias = gyro_bias(R_ref_imu, felt)
        way = float(np.median([np.linalg.norm(step.T[:3, 3]) for step in steps]))
        corrected = [one.corrected(bias) for one in felt]
        return align_inertial(T_ref_cam, T_imu_cam, corrected, CENTRE_SIGMA * way, self._config.imu_accel_bias)


def _poses(steps: Sequence[_Step], log_unit: float) -> Array:
    """The cameras (n + 1, 4, 4) in the axes of the last one, all in the unit that is exp(`log_unit`)."""
    T = [np.eye(4)]
    for step in reversed(steps):
        back = np.linalg.inv(step.T)
        back[:3, 3] *= np.exp(step.log_unit - log_unit)
        T.append(T[-1] @ back)
    return np.stack(T[::-1])
