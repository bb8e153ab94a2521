"""A coloured cloud cut into cubes, so that only what changed is sent, and far cubes are sent coarser."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.mapping.values import CloudChange, PointCloud

Key = tuple[int, int, int]

MOST_TILES = 256
"""Each tile is a few draw calls of the page; beyond this number tiles are made twice as large."""

COARSE_SHARE = 8
"""One point in this many is part of a tile's coarse level."""

CONFIDENCE_STEPS = 255

PIECE = 200_000
"""Points that are sorted into tiles at a time: RAM for more would not be given back."""

_HALF_RANGE = 1 << 20
_MIX = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, eq=False)
class Points:
    """n points of one tile, or of all: their `points` (n, 3) float32 and `colours` (n, 3) uint8.

    `submaps` (n,) int32 are what they hang on, `confidence` (n,) uint8 in `CONFIDENCE_STEPS`.
    """

    points: NDArray[np.float32]
    colours: NDArray[np.uint8]
    submaps: NDArray[np.int32]
    confidence: NDArray[np.uint8]

    def __len__(self) -> int:
        """Number of points."""
        return len(self.points)

    def take(self, rows: NDArray[np.generic] | slice) -> Points:
        """A copy of some of them."""
        return Points(
            self.points[rows].copy(),
            self.colours[rows].copy(),
            self.submaps[rows].copy(),
            self.confidence[rows].copy(),
        )

    def after(self, earlier: Points) -> Points:
        """These points behind earlier ones."""
        return Points(
            np.concatenate([earlier.points, self.points]),
            np.concatenate([earlier.colours, self.colours]),
            np.concatenate([earlier.submaps, self.submaps]),
            np.concatenate([earlier.confidence, self.confidence]),
        )


@dataclass(frozen=True, eq=False)
class Tile:
    """Points of one cube, given from its `centre` (3,).

    The first `shown` of them are confident enough to be shown. Every beginning of those is an even choice of them; the
    first `coarse` are the coarse level.
    """

    centre: NDArray[np.float64]
    all: Points
    shown: int

    @property
    def coarse(self) -> int:
        """Number of points of the coarse level."""
        return -(-self.shown // COARSE_SHARE)

    def __len__(self) -> int:
        """Number of points, whether shown or not."""
        return len(self.all)


class Tiles:
    """The cloud that a page shows, in cubes of `edge`. Points given without a submap are of one submap a call.

    Args:
        edge: of a cube, in the cloud's unit; doubled as often as there would be more than `MOST_TILES`.
        most_points: points to keep. Beyond, tiles farthest from where the camera is keep their coarse level only.
    """

    def __init__(self, edge: float = 10.0, most_points: int = 4_000_000) -> None:
        self._first_edge = edge
        self._most = most_points
        self._least = 0
        self.clear()

    def clear(self) -> None:
        """Forgets all points."""
        self.edge = self._first_edge
        self._tiles: dict[Key, Tile] = {}
        self.newest = 0

    def __len__(self) -> int:
        """Number of points, whether shown or not."""
        return sum(len(tile) for tile in self._tiles.values())

    @property
    def keys(self) -> tuple[Key, ...]:
        """The tiles there are."""
        return tuple(self._tiles)

    def __getitem__(self, key: Key) -> Tile:
        return self._tiles[key]

    def add(self, cloud: PointCloud, camera: NDArray[np.float64] | None = None) -> set[Key]:
        """Takes in more points; gives the tiles that changed."""
        return self._changed_by(lambda: self._put(self._usable(cloud)), camera)

    def replace(self, cloud: PointCloud, camera: NDArray[np.float64] | None = None) -> set[Key]:
        """Takes these points in place of all; gives the tiles that changed, those that are gone among them."""

        def take() -> None:
            self._tiles, self.newest = {}, 0
            self._put(self._usable(cloud))

        return self._changed_by(take, camera)

    def update(self, change: CloudChange, camera: NDArray[np.float64] | None = None) -> set[Key]:
        """Takes in what became of the map; gives the tiles that changed, those that are gone among them."""

        def take() -> None:
            self._drop_all_but(change.present - change.changed)
            self._put(self._usable(change.cloud))

        return self._changed_by(take, camera)

    def hide_below(self, confidence: float) -> set[Key]:
        """From now on shows only points of at least this confidence; gives the tiles that look different."""
        self._least = round(confidence * CONFIDENCE_STEPS)
        before = {key: tile.shown for key, tile in self._tiles.items()}
        self._tiles = {key: self._ordered(tile.centre, tile.all) for key, tile in self._tiles.items()}
        return {key for key, tile in self._tiles.items() if tile.shown != before[key]}

    def _changed_by(self, take: Callable[[], None], camera: NDArray[np.float64] | None) -> set[Key]:
        before, edge = dict(self._tiles), self.edge
        take()
        while len(self._tiles) > MOST_TILES:
            self._coarsen_grid()
        self._thin(camera)
        if self.edge != edge:
            return set(before) | set(self._tiles)
        return {key for key in set(before) | set(self._tiles) if not _same(before.get(key), self._tiles.get(key))}

    def _usable(self, cloud: PointCloud) -> Points:
        """The points that are finite and within a million tiles."""
        reach = self.edge * (_HALF_RANGE - 1)
        usable = np.asarray((np.abs(cloud.points) < reach).all(axis=1))
        cloud = cloud if usable.all() else cloud.take(usable)
        count = len(cloud.points)
        submaps = np.full(count, self.newest + 1, np.int32) if cloud.submaps is None else cloud.submaps
        self.newest = max(self.newest, int(submaps.max()) if count else 0)
        sure = np.ones(count, np.float32) if cloud.confidence is None else cloud.confidence
        steps = np.rint(np.clip(sure, 0.0, 1.0) * np.float32(CONFIDENCE_STEPS)).astype(np.uint8)
        return Points(cloud.points, cloud.colours, submaps, steps)

    def _put(self, points: Points) -> None:
        for start in range(0, len(points), PIECE):
            self._put_piece(points.take(slice(start, start + PIECE)))

    def _put_piece(self, piece: Points) -> None:
        cells = np.floor(piece.points / np.float64(self.edge)).astype(np.int64)
        packed = ((cells[:, 0] + _HALF_RANGE) << 42) | ((cells[:, 1] + _HALF_RANGE) << 21) | (cells[:, 2] + _HALF_RANGE)
        order = np.argsort(packed, kind="stable")
        starts = np.flatnonzero(np.diff(packed[order], prepend=-1))
        for rows in np.split(order, starts[1:]):
            x, y, z = cells[rows[0]].tolist()
            key: Key = (x, y, z)
            centre = (np.array(key) + 0.5) * self.edge
            chosen = piece.take(rows)
            local = replace(chosen, points=(chosen.points - centre).astype(np.float32))
            old = self._tiles.get(key)
            self._tiles[key] = self._ordered(centre, local if old is None else local.after(old.all))

    def _ordered(self, centre: NDArray[np.float64], points: Points) -> Tile:
        hidden = points.confidence < self._least
        order = np.lexsort((_evenly(points.points), hidden))
        return Tile(centre, points.take(order), len(points) - int(np.count_nonzero(hidden)))

    def _drop_all_but(self, submaps: Collection[int]) -> None:
        kept = np.zeros(max(self.newest, max(submaps, default=0)) + 2, bool)
        kept[list(submaps)] = True
        for key, tile in list(self._tiles.items()):
            stays = kept[tile.all.submaps]
            if not stays.any():
                del self._tiles[key]
            elif not stays.all():
                shown = int(np.count_nonzero(stays[: tile.shown]))
                self._tiles[key] = Tile(tile.centre, tile.all.take(stays), shown)

    def _coarsen_grid(self) -> None:
        """Doubles the edge of all tiles."""
        old = self._tiles
        self._tiles, self.edge = {}, 2.0 * self.edge
        for tile in old.values():
            self._put(replace(tile.all, points=(tile.all.points + tile.centre).astype(np.float32)))

    def _thin(self, camera: NDArray[np.float64] | None) -> None:
        """Reduces the tiles farthest from the camera to their coarse level until the rest fits."""
        surplus = len(self) - self._most
        if surplus <= 0:
            return
        for key in reversed(nearest_first(self._tiles, self.edge, camera)):
            tile = self._tiles[key]
            kept = Tile(tile.centre, tile.all.take(slice(tile.coarse)), tile.coarse)
            surplus -= len(tile) - len(kept)
            self._tiles[key] = kept
            if surplus <= 0:
                return


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
        finer = tiles[key].shown - coarse[key]
        if total + finer > most_points:
            break
        shown[key] += finer
        total += finer
    return shown


def _evenly(points: NDArray[np.float32]) -> NDArray[np.uint64]:
    """Numbers (n,) that depend on the points alone, and by whose order every beginning is spread over all of them."""
    bits = np.ascontiguousarray(points, np.float32).view(np.uint32).astype(np.uint64)
    mixed = (bits[:, 0] * _MIX) ^ ((bits[:, 1] + np.uint64(1)) * np.uint64(0xBF58476D1CE4E5B9))
    mixed ^= (bits[:, 2] + np.uint64(2)) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return np.asarray(mixed * _MIX, np.uint64)


def _same(one: Tile | None, other: Tile | None) -> bool:
    """Whether two tiles look alike, whatever their points are coloured by."""
    if one is other:
        return True
    return (
        one is not None
        and other is not None
        and one.shown == other.shown
        and np.array_equal(one.all.points[: one.shown], other.all.points[: other.shown])
        and np.array_equal(one.all.colours[: one.shown], other.all.colours[: other.shown])
        and np.array_equal(one.all.submaps[: one.shown], other.all.submaps[: other.shown])
    )
