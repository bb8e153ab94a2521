"""Voxels of a regular grid: their packed integer keys, and what is known of the points that fell into each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.int64]

_BITS = 21
_HALF_RANGE = 1 << (_BITS - 1)
_MASK = (1 << _BITS) - 1
MOST_COUNTED = np.iinfo(np.uint16).max


@dataclass(eq=False)
class Voxels:
    """Columns of n voxels.

    The packed `key` (n,) int64; of the points that fell in, the means `point` (n, 3) float32 and `colour` (n, 3) uint8,
    the summed confidence `weight` (n,) float32 and the number `count` (n,) uint16; `block` (n,) int32 keeps them.
    """

    key: Keys
    point: NDArray[np.float32]
    colour: NDArray[np.uint8]
    weight: NDArray[np.float32]
    count: NDArray[np.uint16]
    block: NDArray[np.int32]

    @classmethod
    def zeros(cls, count: int) -> Voxels:
        """`count` rows of nothing."""
        return cls(
            np.zeros(count, np.int64),
            np.zeros((count, 3), np.float32),
            np.zeros((count, 3), np.uint8),
            np.zeros(count, np.float32),
            np.zeros(count, np.uint16),
            np.zeros(count, np.int32),
        )

    @classmethod
    def from_columns(cls, columns: Mapping[str, NDArray[np.generic]]) -> Voxels:
        """Voxels of the arrays that `columns` gave; the arrays are kept, not copied."""
        return cls(**{item.name: columns[item.name] for item in fields(cls)})  # type: ignore[arg-type]

    def columns(self) -> dict[str, NDArray[np.generic]]:
        """The arrays by name."""
        return {item.name: getattr(self, item.name) for item in fields(self)}

    def __len__(self) -> int:
        return len(self.key)

    def take(self, rows: NDArray[np.integer]) -> Voxels:
        """A copy of the rows of these numbers."""
        return Voxels.from_columns({name: column.take(rows, axis=0) for name, column in self.columns().items()})

    def put(self, rows: NDArray[np.integer], voxels: Voxels) -> None:
        """Overwrite the rows of these numbers."""
        columns = voxels.columns()
        for name, column in self.columns().items():
            column[rows] = columns[name]

    def extended(self, count: int) -> Voxels:
        """The same rows and `count` more of nothing."""
        more = Voxels.zeros(count).columns()
        return Voxels.from_columns({name: np.concatenate([old, more[name]]) for name, old in self.columns().items()})


def voxel_keys(points: NDArray[np.float64], size: float) -> Keys:
    """Keys (n,) ≥ 0 of the voxels of edge `size` around the points (n, 3); -1 beyond a million voxels, and for NaN."""
    cells = np.floor(points * (1.0 / size)) + _HALF_RANGE
    in_range = (cells >= 0) & (cells <= _MASK)
    inside = in_range[:, 0] & in_range[:, 1] & in_range[:, 2]
    if not inside.all():
        cells[~inside] = 0
    x, y, z = cells.astype(np.int64).T
    keys = (x << (2 * _BITS)) | (y << _BITS) | z
    keys[~inside] = -1
    return keys


def coarser_keys(keys: Keys, level: int) -> Keys:
    """Keys (n,) of the voxels 2^level times as large around the voxels `keys` (n,)."""
    kept = _MASK & ~((1 << level) - 1)
    return keys & ((kept << (2 * _BITS)) | (kept << _BITS) | kept)


def voxel_means(
    keys: Keys, points: NDArray[np.float64], colours: NDArray[np.uint8], weights: NDArray[np.float32]
) -> tuple[Voxels, NDArray[np.float64]]:
    """The m voxels that n points fall into, by ascending key, and the weighted mean (m, 3) of the points in each.

    The voxels' `point` and `block` are left zero: whose coordinates to keep them in is not known here.
    """
    order = np.argsort(keys)
    keys = keys[order]
    starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
    weighted = np.empty((len(keys), 7))
    weighted[:, :3], weighted[:, 3:6], weighted[:, 6] = points.take(order, axis=0), colours.take(order, axis=0), 1.0
    weighted *= weights[order][:, None]
    sums = np.add.reduceat(weighted, starts)
    means = sums[:, :6] / sums[:, 6:]
    voxels = Voxels.zeros(len(starts))
    voxels.key = keys[starts]
    voxels.colour = np.rint(means[:, 3:]).astype(np.uint8)
    voxels.weight = sums[:, 6].astype(np.float32)
    voxels.count = np.minimum(np.diff(starts, append=len(keys)), MOST_COUNTED).astype(np.uint16)
    return voxels, means[:, :3]
