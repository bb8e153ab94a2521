"""IMU samples of data sets: EuRoC's table, which others use as well."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.errors import SequenceError
from scal3r_ros.mapping.values import ImuSample

COLUMNS = 7


def read_imu(path: Path, T_imu_cam: NDArray[np.float64]) -> tuple[ImuSample, ...]:
    """The samples of a table of time in ns, angular velocity (3) in rad/s and acceleration (3) in m/s², by time.

    `T_imu_cam` (4, 4) in metres is the camera's mount on the IMU.

    Raises:
        SequenceError: the file is no such table.
    """
    lines = [line for line in path.read_text(errors="replace").splitlines() if line.strip() and line[0] != "#"]
    try:
        rows = [line.replace(",", " ").split()[:COLUMNS] for line in lines]
        stamps = [int(row[0]) for row in rows]
        numbers = np.array([row[1:] for row in rows], np.float64).reshape(-1, COLUMNS - 1)
    except (ValueError, IndexError):
        raise SequenceError(f"IMU file {path} is no table of time in ns, angular velocity and acceleration") from None
    if not np.all(np.isfinite(numbers)):
        raise SequenceError(f"IMU file {path} holds numbers that are not finite")
    samples = (
        ImuSample(stamp, values[:3].copy(), values[3:].copy(), T_imu_cam)
        for stamp, values in zip(stamps, numbers, strict=True)
    )
    return tuple(sorted(samples, key=lambda sample: sample.stamp_ns))
