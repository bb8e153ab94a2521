"""The GNSS and IMU of KITTI raw: oxts/data/NNNNNNNNNN.txt, a line of 30 numbers each, as oxts/dataformat.txt says."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from scal3r_ros.errors import SequenceError
from scal3r_ros.geometry import se3
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.mapping.values import Fix, ImuSample, SensorSample

RIG = ("calib_imu_to_velo.txt", "calib_velo_to_cam.txt", "calib_cam_to_cam.txt")
EARTH_RADIUS_M = 6378137.0
ACCELERATION, TURN_RATE, ACCURACY_M = slice(11, 14), slice(17, 20), 23
"""Columns of acceleration and turn rate in the vehicle's axes (forward, left, up), and of the position's accuracy."""
UP_RATIO = 2.0
"""How much less accurate heights are; the file has no figure for them."""
LONGEST_IMU_STEP_S = 0.03
"""Samples farther apart miss what the vehicle does between them, as the 10 Hz of synchronized drives do."""

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _Oxts:
    stamps_ns: NDArray[np.int64]
    numbers: Array
    T_imu_cam: Array


def read_oxts(folder: Path) -> Trajectory | None:
    """Poses of camera 0 by the drive's GNSS and IMU, in a frame of the first; None where a calibration is missing.

    As the raw development kit makes them: latitude and longitude by a Mercator projection at the first latitude, roll,
    pitch and yaw as rotations about x, y and z.

    Raises:
        SequenceError: a file is damaged.
    """
    oxts = _read(folder)
    if oxts is None:
        return None
    latitude, longitude, altitude, roll, pitch, yaw = oxts.numbers[:, :6].T
    scale = np.cos(np.radians(latitude[0]))
    east = scale * EARTH_RADIUS_M * np.radians(longitude)
    north = scale * EARTH_RADIUS_M * np.log(np.tan(np.radians(90 + latitude) / 2))
    R = Rotation.from_euler("ZYX", np.stack([yaw, pitch, roll], axis=1)).as_matrix()
    T = se3.se3(R, np.stack([east, north, altitude], axis=1)) @ oxts.T_imu_cam
    return Trajectory(oxts.stamps_ns, se3.invert(T[0]) @ T)


def read_oxts_samples(folder: Path) -> tuple[SensorSample, ...]:
    """A fix a row, and, where rows are close enough in time, what its IMU felt; none where a calibration is missing.

    Positions are those of the unit itself. Their accuracy is the file's, in metres.
    """
    oxts = _read(folder)
    if oxts is None or oxts.numbers.shape[1] <= ACCURACY_M:
        return ()
    unit_cam = se3.invert(oxts.T_imu_cam)[:3, 3]
    steps = np.diff(oxts.stamps_ns) * 1e-9
    has_imu = len(steps) > 0 and float(np.median(steps)) <= LONGEST_IMU_STEP_S
    samples: list[SensorSample] = []
    for stamp, row in zip(oxts.stamps_ns.tolist(), oxts.numbers, strict=True):
        if has_imu:
            samples.append(ImuSample(stamp, row[TURN_RATE].copy(), row[ACCELERATION].copy(), oxts.T_imu_cam))
        covariance = np.diag([1.0, 1.0, UP_RATIO**2]) * row[ACCURACY_M] ** 2 if row[ACCURACY_M] > 0 else None
        samples.append(Fix(stamp, float(row[0]), float(row[1]), float(row[2]), covariance, unit_cam))
    return tuple(samples)


def _read(folder: Path) -> _Oxts | None:
    """All rows by time, each time once; None where one of the calibrations is missing."""
    files = [place / name for name in RIG for place in (folder, folder.parent) if (place / name).is_file()]
    rows = sorted((folder / "oxts" / "data").glob("*.txt"))
    if {file.name for file in files} != set(RIG) or not rows:
        return None
    by_name = {file.name: _named_rows(file) for file in reversed(files)}
    try:
        numbers = np.array([path.read_text().split() for path in rows], np.float64)
        T_velo_imu = _rigid(by_name["calib_imu_to_velo.txt"])
        T_cam_velo = _rigid(by_name["calib_velo_to_cam.txt"])
        R_rect = np.array(by_name["calib_cam_to_cam.txt"]["R_rect_00"]).reshape(3, 3)
    except (KeyError, ValueError):
        raise SequenceError(f"the oxts or calibration files of {folder} are damaged") from None
    if numbers.shape[1] < 6:
        raise SequenceError(f"the oxts files of {folder} have {numbers.shape[1]} numbers a line; KITTI's have 30")
    T_imu_cam = se3.invert(se3.se3(R_rect, np.zeros(3)) @ T_cam_velo @ T_velo_imu)
    stamps = read_timestamps(folder / "oxts" / "timestamps.txt")[: len(numbers)]
    if len(stamps) < len(numbers):
        raise SequenceError(f"{folder / 'oxts'} has {len(stamps)} times for {len(numbers)} files")
    order = np.unique(stamps, return_index=True)[1]
    return _Oxts(stamps[order], numbers[order], T_imu_cam)


def read_timestamps(path: Path) -> NDArray[np.int64]:
    """Lines such as `2011-09-26 13:02:25.594360375`, to the nanosecond."""
    stamps = []
    for line in path.read_text().splitlines():
        if line.strip():
            seconds, _, fraction = line.strip().partition(".")
            try:
                whole = datetime.fromisoformat(f"{seconds}+00:00")
                stamps.append(int(whole.timestamp()) * 10**9 + int(f"{fraction:0<9}"[:9]))
            except ValueError:
                raise SequenceError(f"times file {path} holds the time {line!r}, which is none") from None
    return np.array(stamps, np.int64)


def _named_rows(path: Path) -> dict[str, list[float]]:
    rows = {}
    for line in path.read_text().splitlines():
        name, _, values = line.partition(":")
        try:
            rows[name.strip()] = [float(word) for word in values.split()]
        except ValueError:
            continue  # a time of calibration
    return rows


def _rigid(rows: dict[str, list[float]]) -> NDArray[np.float64]:
    return se3.se3(np.array(rows["R"]).reshape(3, 3), np.array(rows["T"]))
