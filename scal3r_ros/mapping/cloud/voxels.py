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
NORMAL_STEPS = 127
"""A normal's coordinate of 1, as it is stored."""


@dataclass(eq=False)
class Voxels:
    """Columns of n voxels.

    The packed `key` (n,) int64; of the points that fell in, the means `point` (n, 3) float32, `normal` (n, 3) int8
    (`NORMAL_STEPS` is 1; zero where unknown) and `colour` (n, 3) uint8, the summed confidence `weight` (n,) float32,
    the least `distance` (n,) float32 from which one was seen, and the number `count` (n,) uint16 of points and
    confirming depth maps. `seen` and `through` (n,) uint16 count the depth maps that see the point, and that look
    through it; `block` (n,) int32 keeps it. Points, normals and distances are in the frame and unit of the block's
    submap.
    """

    key: Keys
    point: NDArray[np.float32]
    colour: NDArray[np.uint8]
    weight: NDArray[np.float32]
    count: NDArray[np.uint16]
    block: NDArray[np.int32]
    normal: NDArray[np.int8]
    distance: NDArray[np.float32]
    seen: NDArray[np.uint16]
    through: NDArray[np.uint16]

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
            np.zeros((count, 3), np.int8),
            np.zeros(count, np.float32),
            np.zeros(count, np.uint16),
            np.zeros(count, np.uint16),
        )

    @classmethod
    def from_columns(cls, columns: Mapping[str, NDArray[np.generic]]) -> Voxels:
        """Voxels of the arrays that `columns` gave; the arrays are kept, not copied. Zero is what is not among them."""
        missing = cls.zeros(len(columns["key"])) if any(item.name not in columns for item in fields(cls)) else None
        return cls(**{item.name: columns.get(item.name, getattr(missing, item.name, None)) for item in fields(cls)})  # type: ignore[arg-type]

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


@dataclass(frozen=True, eq=False)
class Samples:
    """n points that fall into voxels, all in `map`.

    `points` and `normals` (n, 3) float64, the latter zero where unknown; `colours` (n, 3) uint8; `weights` (n,) and
    `distances` (n,) float32, what they were seen from.
    """

    points: NDArray[np.float64]
    normals: NDArray[np.float64]
    colours: NDArray[np.uint8]
    weights: NDArray[np.float32]
    distances: NDArray[np.float32]

    def take(self, rows: NDArray[np.integer]) -> Samples:
        """A copy of the rows of these numbers."""
        return Samples(**{item.name: getattr(self, item.name).take(rows, axis=0) for item in fields(self)})


def voxel_means(keys: Keys, samples: Samples) -> tuple[Voxels, Samples]:
    """The m voxels that n samples fall into, by ascending key, and the weighted mean of the samples in each.

    The voxels' `point`, `normal`, `distance` and `block` are left zero: whose coordinates to keep them in is not known
    here. The mean of distances is their least.
    """
    order = np.argsort(keys)
    keys = keys[order]
    starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
    weighted = np.empty((len(keys), 10))
    weighted[:, :3], weighted[:, 3:6] = samples.points.take(order, axis=0), samples.colours.take(order, axis=0)
    weighted[:, 6:9], weighted[:, 9] = samples.normals.take(order, axis=0), 1.0
    weighted *= samples.weights[order][:, None]
    sums = np.add.reduceat(weighted, starts)
    means = sums[:, :9] / sums[:, 9:]
    voxels = Voxels.zeros(len(starts))
    voxels.key = keys[starts]
    voxels.colour = np.rint(means[:, 3:6]).astype(np.uint8)
    voxels.weight = sums[:, 9].astype(np.float32)
    voxels.count = np.minimum(np.diff(starts, append=len(keys)), MOST_COUNTED).astype(np.uint16)
    distances = np.minimum.reduceat(samples.distances[order], starts)
    return voxels, Samples(means[:, :3], unit(means[:, 6:9]), voxels.colour, voxels.weight, distances)


def unit(vectors: NDArray[np.floating]) -> NDArray[np.float64]:
    """Vectors (n, 3) at length 1; zero ones stay zero."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(length > 0, length, 1.0), np.float64)


def as_bytes(normals: NDArray[np.floating]) -> NDArray[np.int8]:
    """Unit vectors (n, 3) as they are stored."""
    return np.rint(NORMAL_STEPS * normals).astype(np.int8)
