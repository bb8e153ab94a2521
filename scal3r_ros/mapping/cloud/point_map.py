"""The coloured point map: one point a voxel, kept in submap coordinates so that it moves with the submap graph."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scal3r_ros.errors import MappingError
from scal3r_ros.geometry.sim3 import Sim3
from scal3r_ros.mapping.cloud.blocks import Block, Rows, corners_of, restored, rows_in_order, stored
from scal3r_ros.mapping.cloud.config import PointMapConfig
from scal3r_ros.mapping.cloud.fusion import confirm, fuse, gone
from scal3r_ros.mapping.cloud.reading import change_of, cloud_of, cloud_of_blocks, confidence_of, submaps_of
from scal3r_ros.mapping.cloud.visibility import DepthView, Looks, Surface, look
from scal3r_ros.mapping.cloud.voxel_table import VoxelTable
from scal3r_ros.mapping.cloud.voxels import Samples, Voxels, as_bytes, coarser_keys, voxel_keys, voxel_means
from scal3r_ros.mapping.values import CloudChange, PointCloud

_COARSEST = 6
"""After so many doublings of its voxels, a submap that has to shrink further is removed."""


class PointMap:
    """Coloured points of all submaps, one for each voxel of a grid in `map`: the weighted mean of what fell into it.

    A point is kept in the coordinates of the submap that filled its voxel first. Points of the newest submaps are
    compared with the depth maps of each new one. Memory is bounded by `max_points`, and an `add` costs what its own
    points and those of the newest submaps cost, however long the drive.

    Args:
        config: resolution and size.
        thinned: receives the number of a submap and its points, in its own coordinates, before it is thinned for the
            first time.
    """

    def __init__(self, config: PointMapConfig, thinned: Callable[[int, PointCloud], object] | None = None) -> None:
        self._config = config
        self._on_thinned = thinned
        self._revision = 1
        self.clear()

    def __len__(self) -> int:
        """Number of points that `cloud()` gives."""
        return int(np.count_nonzero(self._voxels.count >= self._config.min_observations))

    def clear(self) -> None:
        """Forget all points and counters."""
        self._voxels, self._free = Voxels.zeros(0), np.zeros(0, np.int32)  # rows in no block: count 0, and in _free
        self._blocks: dict[int, Block] = {}
        self._next_serial = 0
        self._finest_first: list[tuple[int, int]] = []  # a heap of (level, serial)
        self._table = VoxelTable()
        self._thinned = self._refused = self._cleared = 0

    def add(
        self, submap_index: int, points_submap: ArrayLike, colours: ArrayLike, confidence: ArrayLike,
        S_map_submap: Sim3, surface: Surface | None = None,
    ) -> PointCloud:  # fmt: skip
        """Fuse points (n, 3) of a submap, with colours (n, 3) uint8 and confidence (n,); gives those new to the map.

        The new points are given in `map`. Points that are not finite, have no positive confidence or lie a million
        voxels away are refused and counted. With a `surface`, what its views look through is removed and counted.

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
        surface = surface or Surface.unknown(len(points))
        normals, distances = surface.normals @ S_map_submap.R.T, surface.distances * np.float32(S_map_submap.scale)
        samples = Samples(points, normals, rgb, weights, distances)
        self._compare_newest(surface.views[surface.shared :], S_map_submap)
        if not usable.any():
            return PointCloud.empty()
        if not usable.all():
            keys, samples = keys[usable], samples.take(np.flatnonzero(usable))
        voxels, means = voxel_means(keys, samples)
        rows = self._table.find(voxels.key)
        known, unknown = np.flatnonzero(rows >= 0), np.flatnonzero(rows < 0)
        shown_before = np.zeros(len(rows), bool)
        shown_before[known] = self._shown(rows[known])
        self._fuse(rows[known], voxels.take(known), means.take(known))
        block = self._append(submap_index, voxels.take(unknown), means.take(unknown), S_map_submap)
        if block is not None:
            rows[unknown] = block.rows
            self._compare_own(block, surface.views)
        new = np.flatnonzero(self._shown(rows) & ~shown_before)
        fresh, facing = (array.take(new, axis=0).astype(np.float32) for array in (means.points, means.normals))
        shown = self._voxels.take(rows[new])
        of = submaps_of(shown.block, self._blocks)
        cloud = PointCloud(fresh, shown.colour, facing, confidence_of(shown.weight), of)
        self._thin_to_budget()
        return cloud

    def reanchor(self, anchors: Mapping[int, Sim3]) -> None:
        """Move the points of the submaps in `anchors` to their new S_map_submap; none is added, merged or lost."""
        stale = False
        for block in self._blocks.values():
            anchor = anchors.get(block.submap, block.anchor)
            if anchor is not block.anchor:
                block.anchor, block.revision = anchor, self._revision
            moved = block.anchor.apply(block.corners) - block.key_anchor.apply(block.corners)
            stale |= bool(np.linalg.norm(moved, axis=1).max() > 0.5 * self._config.voxel_size)
        if stale:
            self._sort_into_voxels()

    def cloud(self, max_points: int | None = None, without: Container[int] = ()) -> PointCloud:
        """The points in `map`, oldest submap first, but for those of the submaps `without`.

        With `max_points` an even choice of them, which is steady between calls.
        """
        blocks = [block for block in self._blocks.values() if block.submap not in without]
        return cloud_of_blocks(self._voxels, blocks, self._config.min_observations, max_points)

    def change(self, since: int) -> CloudChange:
        """What became of the map since it had the revision `since`: that of the last change, 0 for all there is."""
        self._revision += 1
        blocks = tuple(self._blocks.values())
        return change_of(self._voxels, blocks, self._config.min_observations, since, self._revision)

    def counters(self) -> dict[str, int]:
        """Points in RAM, thinned away to keep the budget, refused as unusable, and removed by what sees more."""
        return {
            "map_points": len(self._voxels) - len(self._free),
            "map_points_thinned": self._thinned,
            "map_points_refused": self._refused,
            "map_points_cleared": self._cleared,
        }

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """The map as plain arrays, for `restore`."""
        counters = np.array([self._next_serial, self._thinned, self._refused, self._cleared], np.int64)
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
        joined["counters"] = own["counters"].copy()
        joined["counters"][: len(earlier["counters"])] += earlier["counters"]
        self.restore(own | joined | {"voxel_size": earlier["voxel_size"]})
        self._sort_into_voxels()
        self._thin_to_budget()

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Become the map whose `snapshot` is given, in place of this one, in voxels of this one's size."""
        self.clear()
        self._voxels = Voxels.from_columns({name: column.copy() for name, column in arrays.items()})
        self._blocks = dict(restored(arrays["blocks"]))
        for block in self._blocks.values():
            block.revision = self._revision
        self._finest_first = [(block.level, serial) for serial, block in self._blocks.items()]
        heapq.heapify(self._finest_first)
        counters = [int(value) for value in arrays["counters"]]
        self._next_serial, self._thinned, self._refused = counters[:3]
        self._cleared = sum(counters[3:])  # maps of older versions count none
        if float(arrays["voxel_size"]) == self._config.voxel_size:
            self._index()
        else:
            self._sort_into_voxels()

    def _shown(self, rows: Rows) -> NDArray[np.bool_]:
        return np.asarray(self._voxels.count[rows] >= self._config.min_observations)

    def _compare_newest(self, views: Sequence[DepthView], anchor: Sim3) -> None:
        """Shows new depth maps of a submap at `anchor` the points of the newest submaps, and takes in what they say."""
        for block in itertools.islice(reversed(self._blocks.values()), self._config.checked_submaps if views else 0):
            voxels, looks = self._looks(block, views, anchor)
            if looks.seen.any() or looks.through.any():
                confirm(voxels, looks)
                self._voxels.put(block.rows, voxels)
                self._clear(block, gone(voxels, looks))
                block.revision = self._revision

    def _compare_own(self, block: Block, views: Sequence[DepthView]) -> None:
        """Shows the points of a new submap its own depth maps, which their positions and counts are of already."""
        if not self._config.checked_submaps:
            return
        voxels, looks = self._looks(block, views, block.anchor)
        voxels.seen, voxels.through = looks.seen, looks.through
        self._voxels.put(block.rows, voxels)
        self._clear(block, gone(voxels, looks))

    def _looks(self, block: Block, views: Sequence[DepthView], anchor: Sim3) -> tuple[Voxels, Looks]:
        voxels = self._voxels.take(block.rows)
        S_views_block = anchor.inverse() @ block.anchor
        tolerance = self._config.depth_tolerance
        return voxels, look(voxels.point, voxels.distance, block.corners, S_views_block, views, tolerance)

    def _clear(self, block: Block, gone: NDArray[np.bool_]) -> None:
        self._release(block.rows[gone])
        block.rows = block.rows[~gone]
        self._cleared += int(np.count_nonzero(gone))

    def _fuse(self, rows: Rows, seen: Voxels, means: Samples) -> None:
        """Take new observations of voxels into their running means, each in the coordinates of its submap."""
        if len(rows) == 0:
            return
        known = self._voxels.take(rows)
        serials, which = np.unique(known.block, return_inverse=True)
        blocks = [self._blocks[serial] for serial in serials.tolist()]
        inverses = [block.anchor.inverse() for block in blocks]
        for block in blocks:
            block.revision = self._revision
        fuse(known, seen, means, np.array([S.matrix[:3] for S in inverses]).take(which, axis=0))
        self._voxels.put(rows, known)

    def _append(self, submap: int, seen: Voxels, means: Samples, anchor: Sim3) -> Block | None:
        """Keep voxels that nobody filled before as a new block."""
        if len(seen) == 0:
            return None
        rows = self._allocate(len(seen))
        points = anchor.inverse().apply(means.points)
        serial, self._next_serial = self._next_serial, self._next_serial + 1
        seen.point[:], seen.block[:] = points, serial
        seen.normal[:], seen.distance[:] = as_bytes(means.normals @ anchor.R), means.distances / anchor.scale
        self._voxels.put(rows, seen)
        block = self._blocks[serial] = Block(submap, 0, rows, corners_of(points), anchor, anchor, self._revision)
        heapq.heappush(self._finest_first, (0, serial))
        self._table.insert(seen.key, rows)
        return block

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
                self._thin(block, np.zeros(len(block.rows), bool))
                del self._blocks[serial]
                continue
            if level == 0 and self._on_thinned is not None:
                rows = block.rows[self._shown(block.rows)]
                self._on_thinned(block.submap, cloud_of(self._voxels, rows, block.submap))
            block.level = level + 1
            coarse = coarser_keys(self._voxels.key[block.rows], block.level)
            kept = np.zeros(len(coarse), bool)
            kept[np.unique(coarse, return_index=True)[1]] = True
            self._thin(block, kept)
            heapq.heappush(self._finest_first, (block.level, serial))

    def _thin(self, block: Block, kept: NDArray[np.bool_]) -> None:
        self._release(block.rows[~kept])
        self._thinned += int(np.count_nonzero(~kept))
        block.rows, block.revision = block.rows[kept], self._revision

    def _release(self, rows: Rows) -> None:
        keys = self._voxels.key[rows]
        self._table.erase(keys[self._table.find(keys) == rows])
        self._voxels.count[rows] = 0
        self._free = np.concatenate([self._free, rows])

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
