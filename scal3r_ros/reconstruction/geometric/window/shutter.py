"""A rolling shutter in the window: rows are exposed one after the other, so points lie where they were at their row's
time. What the camera takes for all its rows is found with the window's motion; `TrackTable.shift` says how it shows.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.reconstruction.geometric.triangulation import TrackTable

Array = NDArray[np.float64]

_COMMON_ERROR = 0.2
"""Share of a track's error that all tracks of a window may have in common: slow windows say little of the readout."""


def read_out_later(table: TrackTable, seconds: float) -> TrackTable:
    """The table corrected for a readout that takes some `seconds` longer."""
    return table if table.shift is None else replace(table, xy=table.xy - seconds * table.shift)


def imprecision(table: TrackTable, blur: Array, sigma: float, readout_sigma_s: float) -> Array:
    """Factor (m,) by which observations are less precise than `sigma`, one standard deviation on the z = 1 plane.

    By the `blur` (s,) of their frame, and by what is not known of the readout: without that, a quick turn shows the
    wrong readout by outliers, and what is left agrees with it.
    """
    of_frame = blur[table.frame]
    if table.shift is None or not readout_sigma_s > 0:
        return of_frame
    return np.asarray(np.hypot(of_frame, readout_sigma_s * np.linalg.norm(table.shift, axis=1) / sigma))


def with_common_error(information: float, table: TrackTable, sigma: float) -> float:
    """The `information` (1/s²) that the tracks have about the readout, less what errors in common take from it."""
    if table.shift is None or not information > 0:
        return 0.0
    speed = float(np.sqrt(np.square(table.shift).sum(axis=1).mean()))
    return 1.0 / (1.0 / information + (_COMMON_ERROR * sigma / max(speed, 1e-12)) ** 2)
