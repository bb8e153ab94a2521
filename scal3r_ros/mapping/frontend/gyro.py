"""How the camera has turned between two images, by a gyroscope."""

from __future__ import annotations

import threading
from collections import deque

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from scal3r_ros.mapping.values import ImuSample

Array = NDArray[np.float64]

KEPT_S = 10.0
MOST_SAMPLES = 20_000
MAX_GAP_S = 0.1
"""Time between samples, or between a sample and an image, beyond which nothing is known."""


class Gyro:
    """State: the angular velocities of the last `KEPT_S`, in the camera's axes. Any thread may call any method."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._samples: deque[tuple[int, Array]] = deque(maxlen=MOST_SAMPLES)

    def clear(self) -> None:
        """Forgets all samples."""
        with self._lock:
            self._samples.clear()

    def add(self, sample: ImuSample) -> None:
        """Takes in a sample; one whose stamp is not later than the last one's begins anew."""
        rate = sample.T_imu_cam[:3, :3].T @ sample.angular_velocity
        if not np.isfinite(rate).all():
            return
        with self._lock:
            if self._samples and sample.stamp_ns <= self._samples[-1][0]:
                self._samples.clear()
            self._samples.append((sample.stamp_ns, rate))
            while self._samples[0][0] < sample.stamp_ns - KEPT_S * 1e9:
                self._samples.popleft()

    def turn(self, from_ns: int, to_ns: int) -> Array | None:
        """R_from_to (3, 3): maps directions in the camera's axes at `to_ns` to those at `from_ns`.

        None where samples are missing on the way.
        """
        with self._lock:
            samples = [(stamp, rate) for stamp, rate in self._samples if from_ns - 1e9 < stamp < to_ns + 1e9]
        if len(samples) < 2 or to_ns <= from_ns:
            return None
        seconds = (np.array([stamp for stamp, _ in samples]) - from_ns) * 1e-9
        rates = np.stack([rate for _, rate in samples])
        end = (to_ns - from_ns) * 1e-9
        inside = (seconds > 0) & (seconds < end)
        knots = np.concatenate([[0.0], seconds[inside], [end]])
        nearest = np.abs(knots[:, None] - seconds[None]).min(axis=1)
        if nearest.max() > MAX_GAP_S or np.diff(knots).max() > MAX_GAP_S:
            return None
        at = np.stack([np.interp(knots, seconds, rates[:, axis]) for axis in range(3)], axis=1)
        R = Rotation.identity()
        for step in np.diff(knots)[:, None] * (at[1:] + at[:-1]) / 2.0:
            R = R * Rotation.from_rotvec(step)
        return np.asarray(R.as_matrix())
