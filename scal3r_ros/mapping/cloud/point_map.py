"""The coloured point map: one point a voxel, kept in submap coordinates so that it moves with the submap graph."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scal3r_ros.configuration import parameter
from scal3r_ros.errors import MappingError
from scal3r_ros.geometry.sim3 import Sim3
from scal3r_ros.mapping.cloud.blocks import Block, Rows, restored, rows_in_order, stored
from scal3r_ros.mapping.cloud.voxel_table import VoxelTable
from scal3r_ros.mapping.cloud.voxels import MOST_COUNTED, Voxels, coarser_keys, voxel_keys, voxel_means
from scal3r_ros.mapping.values import PointCloud

_COARSEST = 6
"""After so many doublings of its voxels, a submap that has to shrink further is removed."""
_MIX = np.uint64(0xBF58476D1CE4E5B9)


@dataclass(frozen=True)
class PointMapConfig:
    """Resolution and size of the point map."""

    voxel_size: float = parameter(
        0.1, "edge of a voxel; the map keeps one point in each", unit="map units", minimum=1e-6
    )
    max_points: int = parameter(
        2_000_000,
        "points in RAM at most; beyond, the oldest submaps are thinned there and kept in full on disk",
        unit="points",
        minimum=1000,
    )
    min_observations: int = parameter(
        1,
        "points that must fall into a voxel before it is part of the map",
        unit="points",
        minimum=1,
        maximum=MOST_COUNTED,
    )


class PointMap:
    """Coloured points of all submaps, one for each voxel of a grid in `map`: the weighted mean of what fell into it.

    A point is kept in the coordinates of the submap that filled its voxel first. Memory is bounded by `max_points`, and
    an `add` costs what its own points cost, however long the drive.

    Args:
        config: resolution and size.
        thinned: receives the number of a submap and its points, in its own coordinates, before it is thinned for the
            first time.
    """

    def __init__(self, config: PointMapConfig, thinned: Callable[[int, PointCloud], object] | None = None) -> None:
        self._config = config
        self._on_thinned = thinned
        self.clear()

    def __len__(self) -> int:
        """Number of points that `cloud()` gives."""
        return int(np.count_nonzero(self._voxels.count >= self._config.min_observations))

    def clear(self) -> None:
        """Forget all points and counters."""
        self._voxels = Voxels.zeros(0)  # rows in no block have count 0 and stand in _free
        self._free: Rows = np.zeros(0, np.int32)
        self._blocks: dict[int, Block] = {}
        self._next_serial = 0
        self._finest_first: list[tuple[int, int]] = []  # a heap of (level, serial)
        self._table = VoxelTable()
        self._thinned = 0
        self._refused = 0

    def add(
        self, submap_index: int, points_submap: ArrayLike, colours: ArrayLike, confidence: ArrayLike, S_map_submap: Sim3
    ) -> PointCloud:
        """Fuse points (n, 3) of a submap, with colours (n, 3) uint8 and confidence (n,); gives those new to the map.

        The new points are given in `map`. Points that are not finite, have no positive confidence or lie a million
        voxels away are refused and counted.

        Raises:
            MappingError: the arrays' shapes do not belong together.
        """
        points = S_map_submap.apply(points_submap)
        rgb, weights = np.asarray(colours, np.uint8), np.asarray(confidence, np.float32)
        if points.ndim != 2 or rgb.shape != points.shape or weights.shape != points.shape[:1]:
            raise MappingError(
                f"points {points.shape}, colours {rgb.shape} and confidence {weights.shape} of submap {submap_index} "
                "do not belong together; give (n, 3), (n, 3) and (n,)"
            )
        keys = voxel_keys(points, self._config.voxel_size)
        usable = (keys >= 0) & np.isfinite(weights) & (weights > 0)
        self._refused += len(points) - int(np.count_nonzero(usable))
        if not usable.any():
            return PointCloud(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint8))
        if not usable.all():
            kept = np.flatnonzero(usable)
            keys, points = keys.take(kept), points.take(kept, axis=0)
            rgb, weights = rgb.take(kept, axis=0), weights.take(kept)
        voxels, means = voxel_means(keys, points, rgb, weights)
        rows = self._table.find(voxels.key)
        known, unknown = np.flatnonzero(rows >= 0), np.flatnonzero(rows < 0)
        shown_before = np.zeros(len(rows), bool)
        shown_before[known] = self._shown(rows[known])
        self._fuse(rows[known], voxels.take(known), means.take(known, axis=0))
        rows[unknown] = self._append(submap_index, voxels.take(unknown), means.take(unknown, axis=0), S_map_submap)
        new = np.flatnonzero(self._shown(rows) & ~shown_before)
        cloud = PointCloud(means.take(new, axis=0).astype(np.float32), self._voxels.colour.take(rows[new], axis=0))
        self._thin_to_budget()
        return cloud

    def reanchor(self, anchors: Mapping[int, Sim3]) -> None:
        """Move the points of the submaps in `anchors` to their new S_map_submap; none is added, merged or lost."""
        stale = False
        for block in self._blocks.values():
            block.anchor = anchors.get(block.submap, block.anchor)
            moved = block.anchor.apply(block.corners) - block.key_anchor.apply(block.corners)
            stale |= bool(np.linalg.norm(moved, axis=1).max() > 0.5 * self._config.voxel_size)
        if stale:
            self._sort_into_voxels()

    def cloud(self, max_points: int | None = None, without: Container[int] = ()) -> PointCloud:
        """The points in `map`, oldest submap first, but for those of the submaps `without`.

        With `max_points` an even choice of them, which is steady between calls.
        """
        shown = {
            serial: block.rows[self._shown(block.rows)]
            for serial, block in self._blocks.items()
            if block.submap not in without
        }
        total = sum(len(rows) for rows in shown.values())
        if max_points is not None and total > max_points:
            every = np.concatenate(list(shown.values()))
            rank = self._voxels.key[every].view(np.uint64) * _MIX
            chosen = np.zeros(len(self._voxels), bool)
            chosen[every[np.argpartition(rank, max_points)[:max_points]]] = True
            shown = {serial: rows[chosen[rows]] for serial, rows in shown.items()}
            total = max_points
        points, colours = np.empty((total, 3), np.float32), np.empty((total, 3), np.uint8)
        start = 0
        for serial, rows in shown.items():
            end = start + len(rows)
            points[start:end] = self._blocks[serial].anchor.apply(self._voxels.point.take(rows, axis=0))
            colours[start:end] = self._voxels.colour.take(rows, axis=0)
            start = end
        return PointCloud(points, colours)

    def counters(self) -> dict[str, int]:
        """Points in RAM, thinned away to keep the budget, and refused as unusable."""
        return {
            "map_points": len(self._voxels) - len(self._free),
            "map_points_thinned": self._thinned,
            "map_points_refused": self._refused,
        }

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """The map as plain arrays, for `restore`."""
        counters = np.array([self._next_serial, self._thinned, self._refused], np.int64)
        return self._voxels.take(rows_in_order(self._blocks.values())).columns() | {
            "blocks": stored(self._blocks),
            "counters": counters,
            "voxel_size": np.array(self._config.voxel_size),
            "min_observations": np.array(self._config.min_observations, np.int64),
        }

    def absorb(self, earlier: Mapping[str, NDArray[Any]]) -> None:
        """Take in the submaps of another map's `snapshot`, as older than all of this one; none of them may be in both.

        Their points stay where the snapshot has them: `reanchor` moves them.
        """
        own: dict[str, NDArray[Any]] = self.snapshot()
        offset = int(earlier["counters"][0])
        own["block"] = own["block"] + np.int32(offset)
        own["blocks"]["serial"] += offset
        joined = {name: np.concatenate([earlier[name], own[name]]) for name in own if np.ndim(own[name])}
        joined["counters"] = earlier["counters"] + own["counters"]
        self.restore(own | joined | {"voxel_size": earlier["voxel_size"]})
        self._sort_into_voxels()
        self._thin_to_budget()

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Become the map whose `snapshot` is given, in place of this one, in voxels of this one's size."""
        self.clear()
        self._voxels = Voxels.from_columns({name: column.copy() for name, column in arrays.items()})
        self._blocks = dict(restored(arrays["blocks"]))
        self._finest_first = [(block.level, serial) for serial, block in self._blocks.items()]
        heapq.heapify(self._finest_first)
        self._next_serial, self._thinned, self._refused = (int(value) for value in arrays["counters"])
        if float(arrays["voxel_size"]) == self._config.voxel_size:
            self._index()
        else:
            self._sort_into_voxels()

    def _shown(self, rows: Rows) -> NDArray[np.bool_]:
        return np.asarray(self._voxels.count[rows] >= self._config.min_observations)

    def _fuse(self, rows: Rows, seen: Voxels, means: NDArray[np.float64]) -> None:
        """Take new observations of voxels into their running means, each in the coordinates of its submap."""
        if len(rows) == 0:
            return
        known = self._voxels.take(rows)
        serials, which = np.unique(known.block, return_inverse=True)
        inverses = [self._blocks[serial].anchor.inverse() for serial in serials.tolist()]
        matrices = np.array([S.matrix[:3] for S in inverses]).take(which, axis=0)
        points = np.einsum("nij,nj->ni", matrices[:, :, :3], means) + matrices[:, :, 3]
        weight = known.weight + seen.weight
        share = (seen.weight / weight)[:, None]
        known.point += share * (points - known.point).astype(np.float32)
        known.colour = np.rint(known.colour + share * (seen.colour - known.colour.astype(np.float32))).astype(np.uint8)
        known.weight = weight
        known.count = np.minimum(known.count.astype(np.int64) + seen.count, MOST_COUNTED).astype(np.uint16)
        self._voxels.put(rows, known)

    def _append(self, submap: int, seen: Voxels, means: NDArray[np.float64], anchor: Sim3) -> Rows:
        """Keep voxels that nobody filled before as a new block; gives their rows."""
        if len(seen) == 0:
            return np.zeros(0, np.int32)
        rows = self._allocate(len(seen))
        points = anchor.inverse().apply(means)
        bounds = np.stack([points.min(axis=0), points.max(axis=0)])
        corners = np.array(
            [[bounds[i, 0], bounds[j, 1], bounds[k, 2]] for i, j, k in itertools.product((0, 1), repeat=3)]
        )
        serial = self._next_serial
        self._next_serial += 1
        seen.point[:], seen.block[:] = points, serial
        self._voxels.put(rows, seen)
        self._blocks[serial] = Block(submap, 0, rows, corners, anchor, anchor)
        heapq.heappush(self._finest_first, (0, serial))
        self._table.insert(seen.key, rows)
        return rows

    def _allocate(self, count: int) -> Rows:
        missing = count - len(self._free)
        if missing > 0:
            size = len(self._voxels)
            grown = max(missing, min(size, self._config.max_points - size))
            self._voxels = self._voxels.extended(grown)
            self._free = np.concatenate([np.arange(size + grown - 1, size - 1, -1, dtype=np.int32), self._free])
        rows = self._free[len(self._free) - count :][::-1].copy()
        self._free = self._free[: len(self._free) - count]
        return rows

    def _thin_to_budget(self) -> None:
        while len(self._voxels) - len(self._free) > self._config.max_points:
            level, serial = heapq.heappop(self._finest_first)
            block = self._blocks[serial]
            if level == _COARSEST:
                self._release(block.rows)
                del self._blocks[serial]
                continue
            if level == 0 and self._on_thinned is not None:
                self._on_thinned(block.submap, self._full_cloud(block))
            block.level = level + 1
            coarse = coarser_keys(self._voxels.key[block.rows], block.level)
            kept = np.zeros(len(coarse), bool)
            kept[np.unique(coarse, return_index=True)[1]] = True
            self._release(block.rows[~kept])
            block.rows = block.rows[kept]
            heapq.heappush(self._finest_first, (block.level, serial))

    def _release(self, rows: Rows) -> None:
        keys = self._voxels.key[rows]
        self._table.erase(keys[self._table.find(keys) == rows])
        self._voxels.count[rows] = 0
        self._free = np.concatenate([self._free, rows])
        self._thinned += len(rows)

    def _full_cloud(self, block: Block) -> PointCloud:
        rows = block.rows[self._shown(block.rows)]
        return PointCloud(self._voxels.point.take(rows, axis=0), self._voxels.colour.take(rows, axis=0))

    def _sort_into_voxels(self) -> None:
        for block in self._blocks.values():
            points = block.anchor.apply(self._voxels.point.take(block.rows, axis=0))
            self._voxels.key[block.rows] = voxel_keys(points, self._config.voxel_size)
            block.key_anchor = block.anchor
        self._index()

    def _index(self) -> None:
        """Fill the table anew; where points share a voxel, as after the graph moved, it knows the oldest."""
        rows = rows_in_order(self._blocks.values())
        keys, first = np.unique(self._voxels.key[rows], return_index=True)
        inside = keys >= 0
        self._table.clear()
        self._table.insert(keys[inside], rows[first[inside]])
