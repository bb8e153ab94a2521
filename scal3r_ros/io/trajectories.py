"""Trajectory files: KITTI rows, 4×4 rows and TUM lines, and their times."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.errors import SequenceError
from scal3r_ros.geometry.se3 import is_rotation, quat_xyzw, rotation_from_quat_xyzw
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.io.bags.topics import FIRST_STAMP_NS
from scal3r_ros.io.stamps import stamps_ns as stamps_of_times

KITTI_COLUMNS = 12
MATRIX_COLUMNS = 16
TUM_COLUMNS = 8
EUROC_COLUMNS = 17
EUROC_HINT = "; where these are poses of EuRoC's body, give the folder of the sequence, which knows where the camera is"
ROTATION_TOLERANCE = 1e-2


def even_stamps(count: int, rate_hz: float) -> NDArray[np.int64]:
    """Stamps (count,) int64 in nanoseconds at a steady rate, for sequences without a clock of their own."""
    return FIRST_STAMP_NS + np.round(np.arange(count) * (1e9 / rate_hz)).astype(np.int64)


def read_trajectory(path: Path, stamps_ns: NDArray[np.int64] | None = None, rate_hz: float | None = None) -> Trajectory:
    """The camera poses of a file, in metres; the number of columns decides its form.

    12 columns are the 3×4 rows of KITTI, 16 a 4×4 matrix a line, 8 TUM's `stamp tx ty tz qx qy qz qw` in seconds. The
    first two have no stamps: `stamps_ns` (n,) int64 gives them in the file's order, or a steady `rate_hz` does.
    TUM's own are kept, and sorted.

    Raises:
        SequenceError: the file is missing or of no such form, holds no rotation, or stamps are missing or too few.
    """
    rows, numbers = _read_table(path)
    columns = numbers.shape[1]
    if columns == TUM_COLUMNS:
        stamps = _stamps([row[0] for row in rows], path)
        T = _poses_from_tum(numbers, path)
        order = np.argsort(stamps, kind="stable")
        stamps, T = stamps[order], T[order]
    elif columns in (KITTI_COLUMNS, MATRIX_COLUMNS):
        if stamps_ns is None and rate_hz is not None:
            stamps_ns = even_stamps(len(rows), rate_hz)
        if stamps_ns is None:
            raise SequenceError(
                f"trajectory file {path} has no stamps; give the times of its {len(rows)} poses as well"
            )
        if len(stamps_ns) < len(rows):
            raise SequenceError(
                f"trajectory file {path} has {len(rows)} poses, but only {len(stamps_ns)} stamps are given"
            )
        stamps = np.asarray(stamps_ns[: len(rows)], np.int64)
        T = np.tile(np.eye(4), (len(rows), 1, 1))
        T[:, :3, :] = numbers.reshape(len(rows), -1, 4)[:, :3, :]
    else:
        raise SequenceError(
            f"trajectory file {path} has {columns} columns, but 12 (KITTI), 16 (4×4) or 8 (TUM) are expected"
            + (EUROC_HINT if columns == EUROC_COLUMNS else "")
        )
    _check_rotations(T, path)
    if np.any(np.diff(stamps) <= 0):
        raise SequenceError(f"trajectory file {path} has two poses with the same stamp or stamps that go back")
    return Trajectory(stamps, T)


def read_times(path: Path) -> NDArray[np.int64]:
    """Stamps (n,) int64 in nanoseconds from the first column of a file such as KITTI's `times.txt`, in seconds, or
    in milli-, micro- or nanoseconds since 1970. What else its lines hold, such as names of images, is passed over.

    Raises:
        SequenceError: the file is missing, holds something other than numbers, or its times do not increase.
    """
    times = _stamps([row[0] for row in _read_words(path)], path)
    if np.any(np.diff(times) <= 0):
        raise SequenceError(f"times file {path} does not increase from line to line")
    return times


def tum_bytes(trajectory: Trajectory) -> bytes:
    """`stamp tx ty tz qx qy qz qw` lines; stamps keep every nanosecond, the rest nine decimals."""
    T = trajectory.T_ref_cam
    quats_xyzw = quat_xyzw(T[:, :3, :3]) if len(T) else np.zeros((0, 4))
    lines = [
        f"{stamp // 10**9}.{stamp % 10**9:09d} " + " ".join(f"{value:.9f}" for value in (*pose[:3, 3], *quat)) + "\n"
        for stamp, pose, quat in zip(trajectory.stamps_ns.tolist(), T, quats_xyzw, strict=True)
    ]
    return "".join(lines).encode()


def kitti_bytes(trajectory: Trajectory) -> bytes:
    """A row of the 12 numbers of a pose's upper 3×4, row by row, for each pose; without stamps."""
    rows = trajectory.T_ref_cam[:, :3, :].reshape(-1, KITTI_COLUMNS)
    return "".join(" ".join(f"{value:.9e}" for value in row) + "\n" for row in rows.tolist()).encode()


def times_bytes(stamps_ns: NDArray[np.int64]) -> bytes:
    """Stamps (n,) in seconds with every nanosecond, one a line, as `read_times` takes them."""
    return "".join(f"{stamp // 10**9}.{stamp % 10**9:09d}\n" for stamp in stamps_ns.tolist()).encode()


def _read_words(path: Path) -> list[list[str]]:
    """The words of each line; lines that start with # are left out, and a first line of names."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise SequenceError(f"file {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SequenceError(f"file {path} is no text file") from error
    words = [line.replace(",", " ").split() for line in lines]
    rows = [row for row in words if row and not row[0].startswith("#")]
    if rows and rows[0][0][0].isalpha() and not _is_number(rows[0][0]):
        rows = rows[1:]
    if not rows:
        raise SequenceError(f"file {path} holds no numbers")
    return rows


def _read_table(path: Path) -> tuple[list[list[str]], NDArray[np.float64]]:
    """The words (n rows of equally many) and their numbers (n, columns)."""
    rows = _read_words(path)
    try:
        numbers = np.array(rows, np.float64)
    except ValueError:
        raise SequenceError(f"file {path} is no table of numbers with equally many on every line") from None
    if not np.all(np.isfinite(numbers)):
        raise SequenceError(f"file {path} holds numbers that are not finite")
    return rows, numbers


def _stamps(words: Sequence[str], path: Path) -> NDArray[np.int64]:
    try:
        return stamps_of_times([_decimal(word, path) for word in words])
    except SequenceError as error:
        raise SequenceError(f"file {path} cannot be used: {error}") from None


def _decimal(word: str, path: Path) -> Decimal:
    try:
        time = Decimal(word)
    except InvalidOperation:
        time = Decimal("nan")
    if not time.is_finite():
        raise SequenceError(f"file {path} holds the time {word!r}, which is no number")
    return time


def _is_number(word: str) -> bool:
    """Also `nan` and `inf`, which are no names."""
    try:
        float(word)
    except ValueError:
        return False
    return True


def _poses_from_tum(numbers: NDArray[np.float64], path: Path) -> NDArray[np.float64]:
    norms = np.linalg.norm(numbers[:, 4:8], axis=1)
    if np.any(np.abs(norms - 1.0) > ROTATION_TOLERANCE):
        raise SequenceError(
            f"trajectory file {path} has a quaternion of length {norms[np.argmax(abs(norms - 1))]:.3f}, not 1"
        )
    T = np.tile(np.eye(4), (len(numbers), 1, 1))
    T[:, :3, :3] = rotation_from_quat_xyzw(numbers[:, 4:8])
    T[:, :3, 3] = numbers[:, 1:4]
    return T


def _check_rotations(T: NDArray[np.float64], path: Path) -> None:
    if is_rotation(T[:, :3, :3], ROTATION_TOLERANCE):
        return
    bad = next(i for i, R in enumerate(T[:, :3, :3]) if not is_rotation(R, ROTATION_TOLERANCE))
    raise SequenceError(f"trajectory file {path} has no rotation in pose {bad}; a row is 3×4 or 4×4, row by row")
