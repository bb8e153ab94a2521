"""Similarities as rows of plain numbers, for files and comparisons."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.geometry.sim3 import Sim3


def rows_of(transforms: Iterable[Sim3]) -> NDArray[np.float64]:
    """Rows (n, 13) of scale, R row by row, t."""
    return np.array([[S.scale, *S.R.ravel(), *S.t] for S in transforms], np.float64).reshape(-1, 13)


def similarity_of(numbers: NDArray[np.float64]) -> Sim3:
    return Sim3(float(numbers[0]), numbers[1:10].reshape(3, 3).copy(), numbers[10:].copy())


def largest_change(before: Mapping[int, Sim3], after: Mapping[int, Sim3]) -> float:
    """The largest difference in any rotation entry, scale ratio or translation (in map units)."""
    old, new = rows_of(before.values()), rows_of(after.values())
    return float(np.abs(np.concatenate([(new[:, :1] / old[:, :1] - 1), new[:, 1:] - old[:, 1:]], axis=1)).max())
