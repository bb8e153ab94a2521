"""Satellite fixes of an NMEA 0183 file, as receivers write it: RMC for the date, GGA for the fix."""

from __future__ import annotations

import functools
import operator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.errors import SequenceError
from scal3r_ros.mapping.values import Fix

SIGMA_M = {1: 4.0, 2: 0.1, 4: 0.02, 5: 4.0, 9: 3.0}
"""Horizontal error by GGA's quality where HDOP is 1: the defaults of ROS's nmea_navsat_driver. Others are no fix."""
UP_RATIO = 2.0
"""How much less accurate heights are: as there."""


def read_nmea(path: Path, antenna_cam: NDArray[np.float64]) -> tuple[Fix, ...]:
    """The fixes by time; UTC is taken for the clock of the images. `antenna_cam` (3,) in metres.

    Sentences with a wrong checksum, and fixes before the first date, are left out.

    Raises:
        SequenceError: the file cannot be read.
    """
    try:
        lines = path.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError as error:
        raise SequenceError(f"NMEA file {path} cannot be read: {error.strerror}") from error
    fixes: dict[int, Fix] = {}
    newest: datetime | None = None
    for fields in filter(None, map(_fields, lines)):
        try:
            if fields[0].endswith("RMC") and fields[9]:
                newest = datetime.strptime(f"{fields[9]} {fields[1][:6]}", "%d%m%y %H%M%S").replace(tzinfo=UTC)
            elif fields[0].endswith("GGA") and newest is not None and int(fields[6]) in SIGMA_M:
                stamp_ns = _stamp(newest, fields[1])
                fixes[stamp_ns] = _fix(stamp_ns, fields, antenna_cam)
        except (ValueError, IndexError):
            continue  # a sentence of a receiver without a fix has empty fields
    return tuple(fixes[stamp] for stamp in sorted(fixes))


def _fields(line: str) -> list[str] | None:
    """What stands between `$` and `*`, where the checksum after it is right."""
    content, _, checksum = line.strip().partition("*")
    if not content.startswith("$"):
        return None
    right = functools.reduce(operator.xor, content[1:].encode(errors="replace"), 0)
    return content[1:].split(",") if checksum.upper() == f"{right:02X}" else None


def _stamp(newest: datetime, clock: str) -> int:
    """The time of day `hhmmss.ss` on the day on which it is nearest to the newest date and time."""
    seconds, _, fraction = clock.partition(".")
    time = datetime.strptime(seconds, "%H%M%S").time()
    days = [datetime.combine(newest.date() + timedelta(days=n), time, UTC) for n in (-1, 0, 1)]
    nearest = min(days, key=lambda day: abs(day - newest))
    return int(nearest.timestamp()) * 10**9 + int(f"{fraction:0<9}"[:9])


def _fix(stamp_ns: int, fields: list[str], antenna_cam: NDArray[np.float64]) -> Fix:
    """Heights above the ellipsoid: those of GGA are above the geoid, whose own height it gives."""
    latitude = _degrees(fields[2], 2) * (-1 if fields[3] == "S" else 1)
    longitude = _degrees(fields[4], 3) * (-1 if fields[5] == "W" else 1)
    altitude = float(fields[9]) + float(fields[11] or 0)
    sigma = SIGMA_M[int(fields[6])] * float(fields[8] or 1)
    return Fix(stamp_ns, latitude, longitude, altitude, np.diag([1.0, 1.0, UP_RATIO**2]) * sigma**2, antenna_cam)


def _degrees(text: str, digits: int) -> float:
    """Whole degrees in the first `digits`, then minutes."""
    return int(text[:digits]) + float(text[digits:]) / 60
