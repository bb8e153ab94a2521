"""A coloured cloud cut into cubes, so that only what changed is sent, and far cubes are sent coarser."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.mapping.values import PointCloud

Key = tuple[int, int, int]

MOST_TILES = 256
"""Each tile is one or two draw calls of the page; beyond this number tiles are made twice as large."""

COARSE_SHARE = 8
"""One point in this many is part of a tile's coarse level."""

_MIX = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Tile:
    """Points of one cube: `points` (n, 3) float32 from its `centre` (3,), `colours` (n, 3) uint8, `age` (n,) float32.

    The order is such that every beginning of the arrays is an even choice of the tile's points; the first `coarse` of
    them are its coarse level.
    """

    centre: NDArray[np.float64]
    points: NDArray[np.float32]
    colours: NDArray[np.uint8]
    age: NDArray[np.float32]
    coarse: int

    def __len__(self) -> int:
        """Number of points."""
        return len(self.points)


class Tiles:
    """The cloud that a page shows, in cubes of `edge`; `age` of a point counts the points that came before it.

    Args:
        edge: of a cube, in the cloud's unit; doubled as often as there would be more than `MOST_TILES`.
        most_points: points to keep. Beyond, tiles farthest from where the camera is keep their coarse level only.
    """

    def __init__(self, edge: float = 10.0, most_points: int = 4_000_000) -> None:
        self._first_edge = edge
        self._most = most_points
        self.clear()

    def clear(self) -> None:
        """Forgets all points."""
        self.edge = self._first_edge
        self._tiles: dict[Key, Tile] = {}
        self._came = 0
        self.generation = 0

    def __len__(self) -> int:
        """Number of points."""
        return sum(len(tile) for tile in self._tiles.values())

    @property
    def keys(self) -> tuple[Key, ...]:
        """The tiles there are."""
        return tuple(self._tiles)

    @property
    def came(self) -> int:
        """How many points were given since the last `clear` or `replace`: what `age` is counted up to."""
        return self._came

    def __getitem__(self, key: Key) -> Tile:
        return self._tiles[key]

    def add(self, cloud: PointCloud, camera: NDArray[np.float64] | None = None) -> set[Key]:
        """Takes in more points; gives the tiles that changed."""
        age = (self._came + np.arange(len(cloud.points))).astype(np.float32)
        self._came += len(cloud.points)
        changed = self._put(cloud.points, cloud.colours, age)
        while len(self._tiles) > MOST_TILES:
            changed = self._coarsen_grid()
        return changed | self._thin(camera)

    def replace(self, cloud: PointCloud, camera: NDArray[np.float64] | None = None) -> set[Key]:
        """Takes these points in place of all; gives the tiles that changed, those that are gone among them."""
        before, edge = self._tiles, self.edge
        self._tiles, self._came = {}, 0
        self.add(cloud, camera)
        if self.edge != edge:
            return set(before) | set(self._tiles)
        return {key for key in set(before) | set(self._tiles) if not _same(before.get(key), self._tiles.get(key))}

    def _put(self, points: NDArray[np.float32], colours: NDArray[np.uint8], age: NDArray[np.float32]) -> set[Key]:
        finite = np.isfinite(points).all(axis=1)
        points, colours, age = points[finite], colours[finite], age[finite]
        cells = np.floor(points.astype(np.float64) / self.edge).astype(np.int64)
        unique, inverse = np.unique(cells, axis=0, return_inverse=True)
        rows = np.argsort(inverse.reshape(-1), kind="stable")
        ends = np.cumsum(np.bincount(inverse.reshape(-1), minlength=len(unique)))
        changed = set()
        for cell, chosen in zip(unique.tolist(), np.split(rows, ends[:-1]), strict=False):
            key: Key = (cell[0], cell[1], cell[2])
            centre = (np.array(key) + 0.5) * self.edge
            local = (points[chosen] - centre).astype(np.float32)
            self._tiles[key] = _joined(self._tiles.get(key), centre, local, colours[chosen], age[chosen])
            changed.add(key)
        return changed

    def _coarsen_grid(self) -> set[Key]:
        """Doubles the edge of all tiles; gives both the old and the new ones."""
        old = self._tiles
        self._tiles, self.edge = {}, 2.0 * self.edge
        self.generation += 1
        for tile in old.values():
            self._put((tile.points + tile.centre).astype(np.float32), tile.colours, tile.age)
        return set(old) | set(self._tiles)

    def _thin(self, camera: NDArray[np.float64] | None) -> set[Key]:
        """Reduces the tiles farthest from the camera to their coarse level until the rest fits."""
        surplus = len(self) - self._most
        changed: set[Key] = set()
        if surplus <= 0:
            return changed
        for key in reversed(nearest_first(self._tiles, self.edge, camera)):
            tile = self._tiles[key]
            few = slice(tile.coarse)
            points, colours, age = tile.points[few].copy(), tile.colours[few].copy(), tile.age[few].copy()
            kept = Tile(tile.centre, points, colours, age, _coarse(len(points)))
            surplus -= len(tile) - len(kept)
            self._tiles[key] = kept
            changed.add(key)
            if surplus <= 0:
                break
        return changed


def nearest_first(keys: Iterable[Key], edge: float, camera: NDArray[np.float64] | None) -> list[Key]:
    """The tiles by the distance of their centres from the camera (3,); without one, in order of their keys."""
    ordered = sorted(keys)
    if camera is None or not ordered:
        return ordered
    centres = (np.array(ordered) + 0.5) * edge
    return [ordered[row] for row in np.argsort(np.linalg.norm(centres - camera, axis=1), kind="stable").tolist()]


def levels_within(tiles: Tiles, most_points: int, camera: NDArray[np.float64] | None) -> dict[Key, int]:
    """How many points of each tile to show, `most_points` in all: the coarse level everywhere, all points nearby.

    Where even the coarse levels are too many, each tile shows the same share of its own.
    """
    order = nearest_first(tiles.keys, tiles.edge, camera)
    coarse = {key: tiles[key].coarse for key in order}
    total = sum(coarse.values())
    if total > most_points:
        return {key: count * most_points // total for key, count in coarse.items()}
    shown = dict(coarse)
    for key in order:
        finer = len(tiles[key]) - coarse[key]
        if total + finer > most_points:
            break
        shown[key] += finer
        total += finer
    return shown


def _joined(
    tile: Tile | None,
    centre: NDArray[np.float64],
    points: NDArray[np.float32],
    colours: NDArray[np.uint8],
    age: NDArray[np.float32],
) -> Tile:
    if tile is not None:
        points = np.concatenate([tile.points, points])
        colours = np.concatenate([tile.colours, colours])
        age = np.concatenate([tile.age, age])
    order = _evenly(points)
    return Tile(centre, points[order], colours[order], age[order], _coarse(len(points)))


def _evenly(points: NDArray[np.float32]) -> NDArray[np.intp]:
    """An order that depends on the points alone and whose every beginning is spread over all of them."""
    bits = np.ascontiguousarray(points, np.float32).view(np.uint32).astype(np.uint64)
    mixed = (bits[:, 0] * _MIX) ^ ((bits[:, 1] + np.uint64(1)) * np.uint64(0xBF58476D1CE4E5B9))
    mixed ^= (bits[:, 2] + np.uint64(2)) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return np.argsort(mixed * _MIX, kind="stable")


def _coarse(count: int) -> int:
    return -(-count // COARSE_SHARE)


def _same(one: Tile | None, other: Tile | None) -> bool:
    return (
        one is not None
        and other is not None
        and np.array_equal(one.points, other.points)
        and np.array_equal(one.colours, other.colours)
    )
