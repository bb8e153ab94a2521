"""IMU samples of data sets: the table of EuRoC and 4Seasons, which others use as well."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.errors import SequenceError
from scal3r_ros.mapping.values import Fix, ImuSample, SensorSample

ROW = np.dtype([("stamp_ns", np.int64), ("turn_rate", np.float64, 3), ("acceleration", np.float64, 3)])
COLUMNS = range(7)


@dataclass(frozen=True, eq=False)
class ImuTable(Sequence[ImuSample]):
    """Samples (n,) by time, made from rows as they are asked for: ten minutes at 2 kHz are 70 MB so."""

    rows: NDArray[np.void]
    T_imu_cam: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> ImuSample: ...
    @overload
    def __getitem__(self, index: slice) -> ImuTable: ...
    def __getitem__(self, index: int | slice) -> ImuSample | ImuTable:
        if isinstance(index, slice):
            return ImuTable(self.rows[index], self.T_imu_cam)
        row = self.rows[index]
        return ImuSample(int(row["stamp_ns"]), row["turn_rate"].copy(), row["acceleration"].copy(), self.T_imu_cam)


def read_imu(path: Path, T_imu_cam: NDArray[np.float64]) -> ImuTable:
    """The samples of a table of time in ns, angular velocity (3) in rad/s and acceleration (3) in m/s², by time.

    Columns are separated by commas or spaces; lines that begin with `#` are none. `T_imu_cam` (4, 4) in metres is the
    camera's mount on the IMU.

    Raises:
        SequenceError: the file is no such table.
    """
    text = path.read_text(errors="replace").replace(",", " ")
    if not any(line.strip() and not line.startswith("#") for line in text.splitlines()):
        return no_imu(T_imu_cam)
    try:
        rows = np.atleast_1d(np.loadtxt(io.StringIO(text), ROW, usecols=COLUMNS))
    except ValueError:
        raise SequenceError(f"IMU file {path} is no table of time in ns, angular velocity and acceleration") from None
    if not all(np.all(np.isfinite(rows[name])) for name in ("turn_rate", "acceleration")):
        raise SequenceError(f"IMU file {path} holds numbers that are not finite")
    return ImuTable(rows[np.argsort(rows["stamp_ns"], kind="stable")], T_imu_cam)


def no_imu(T_imu_cam: NDArray[np.float64]) -> ImuTable:
    """A table without samples."""
    return ImuTable(np.zeros(0, ROW), T_imu_cam)


class ImuWithFixes(Sequence[SensorSample]):
    """The samples of an IMU and the fixes of a receiver in one order of time."""

    def __init__(self, imu: ImuTable, fixes: Sequence[Fix]) -> None:
        self._parts: tuple[ImuTable, Sequence[Fix]] = (imu, fixes)
        stamps = np.concatenate([imu.rows["stamp_ns"], np.array([fix.stamp_ns for fix in fixes], np.int64)])
        self._order = np.argsort(stamps, kind="stable")

    def __len__(self) -> int:
        return len(self._order)

    @overload
    def __getitem__(self, index: int) -> SensorSample: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[SensorSample]: ...
    def __getitem__(self, index: int | slice) -> SensorSample | Sequence[SensorSample]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        imu, fixes = self._parts
        row = int(self._order[index])
        return imu[row] if row < len(imu) else fixes[row - len(imu)]
