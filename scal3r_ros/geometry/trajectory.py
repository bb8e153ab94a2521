"""A timed sequence of camera poses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Trajectory:
    """`stamps_ns` (n,) int64 ascending; `T_ref_cam` (n, 4, 4) float64: the camera in the reference frame, n ≥ 0."""

    stamps_ns: NDArray[np.int64]
    T_ref_cam: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.stamps_ns)


def nearest_in_time(stamps_ns: NDArray[np.int64], wanted_ns: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each wanted stamp (m,) the index of the nearest of `stamps_ns`, the earlier of two that are equally near.

    `stamps_ns` (n,) is ascending, n ≥ 1.
    """
    last = len(stamps_ns) - 1
    after = np.clip(np.searchsorted(stamps_ns, wanted_ns), min(1, last), last)
    before = np.maximum(after - 1, 0)
    return np.where(wanted_ns - stamps_ns[before] <= stamps_ns[after] - wanted_ns, before, after)
