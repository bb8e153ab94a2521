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
