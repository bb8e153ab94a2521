"""The grids of all submaps as one, wherever their submaps lie now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from scal3r_ros.geometry.sim3 import Sim3
from scal3r_ros.mapping.occupancy.submap_grid import SubmapGrid
from scal3r_ros.mapping.values import FREE, OCCUPIED, UNKNOWN, OccupancyGrid

Array = NDArray[np.float64]
Sums = NDArray[np.int16]

CERTAIN = 2
"""Votes from which on a cell is occupied, or under whose negative it is free."""
MOVED_CELLS = 0.5
"""How far a corner of a submap's grid may be from where it was drawn, in cells, before it is drawn anew."""
GROWTH = 256
"""Cells by which the drawing grows beyond what it needs, so that it does not grow with every submap."""
LOCAL_SUBMAPS = 12
"""Newest submaps that a window is drawn from."""


class OccupancyMap:
    """Grids by submap, within a budget of bytes; the sum of their votes is drawn as far as it has changed.

    Args:
        cell_size: edge of a cell in metres; anchors have to be in metres.
        max_cells: cells of the whole grid at most: beyond, the cells of the drawing are 2, 4, 8, … times larger.
        max_bytes: of compressed grids; beyond, those of the oldest submaps are left out.
    """

    def __init__(self, cell_size: float, max_cells: int, max_bytes: int) -> None:
        self._cell_size = cell_size
        self._max_cells = max_cells
        self._max_bytes = max_bytes
        self.clear()

    def __len__(self) -> int:
        """Number of submaps with a grid."""
        return len(self._grids)

    def clear(self) -> None:
        """Forgets all grids."""
        self._grids: dict[int, SubmapGrid] = {}
        self._bytes = 0
        self.left_out = 0
        self._forget_drawing()

    def add(self, submap: int, grid: SubmapGrid) -> None:
        """Takes in the grid of a submap."""
        self._grids[submap] = grid
        self._bytes += len(grid.packed)
        while self._bytes > self._max_bytes and len(self._grids) > 1:
            oldest = min(self._grids)
            self._bytes -= len(self._grids[oldest].packed)
            if oldest in self._drawn:
                self._draw(oldest, self._drawn.pop(oldest), -1)
            del self._grids[oldest]
            self.left_out += 1

    def whole(self, anchors: Mapping[int, Sim3]) -> OccupancyGrid | None:
        """The whole grid with submaps at S_map_submap `anchors`, in metres; None where there is none."""
        placed = {submap: anchors[submap] for submap in self._grids if submap in anchors}
        if not placed:
            return None
        if any(submap not in placed for submap in self._drawn) or not self._make_room(placed):
            self._forget_drawing()
            self._make_room(placed)
        edge = self._cell_size * self._factor
        for submap, anchor in placed.items():
            before = self._drawn.get(submap)
            if before is not None:
                corners = [_corners(self._grids[submap], S) for S in (before, anchor)]
                if np.abs(corners[0] - corners[1]).max() < MOVED_CELLS * edge:
                    continue
                self._draw(submap, before, -1)
            self._draw(submap, anchor, 1)
            self._drawn[submap] = anchor
        known = self._sums != 0
        rows, columns = np.flatnonzero(known.any(axis=1)), np.flatnonzero(known.any(axis=0))
        if not len(rows):
            return None
        first = np.array([columns[0], rows[0]])
        sums = self._sums[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        z = float(np.median([_ground_z(self._grids[submap], S) for submap, S in placed.items()]))
        origin = (self._corner + first).astype(np.float64) * edge
        return OccupancyGrid(_states(sums), edge, origin, z)

    def window(self, anchors: Mapping[int, Sim3], centre: Array, size: float) -> OccupancyGrid | None:
        """A square of `size` metres around `centre` (2,) by the newest submaps; None where they do not reach it."""
        cells = max(1, round(size / self._cell_size))
        corner = np.round(centre / self._cell_size).astype(np.int64) - cells // 2
        sums, z = np.zeros((cells, cells), np.int16), None
        for submap in sorted(self._grids, reverse=True)[:LOCAL_SUBMAPS]:
            if submap in anchors:
                drawn = _add(sums, self._grids[submap], anchors[submap], corner, self._cell_size, 1, 1)
                z = _ground_z(self._grids[submap], anchors[submap]) if drawn and z is None else z
        origin = corner.astype(np.float64) * self._cell_size
        return None if z is None else OccupancyGrid(_states(sums), self._cell_size, origin, z)

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """All grids as plain arrays, for `absorb`."""
        grids = self._grids.values()
        return {
            "submap": np.array(list(self._grids), np.int64),
            "M_submap_cell": np.array([grid.M_submap_cell for grid in grids]).reshape(-1, 3, 3),
            "shape": np.array([grid.shape for grid in grids], np.int64).reshape(-1, 2),
            "length": np.array([len(grid.packed) for grid in grids], np.int64),
            "packed": np.frombuffer(b"".join(grid.packed for grid in grids), np.uint8),
            "cell_size": np.array(self._cell_size),
        }

    def absorb(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Takes in the grids of another map's `snapshot`; none of their submaps may be in both."""
        ends = np.cumsum(arrays["length"]).tolist()
        earlier = {
            submap: SubmapGrid(M, (rows, columns), arrays["packed"][end - length : end].tobytes())
            for submap, M, (rows, columns), length, end in zip(
                arrays["submap"].tolist(), arrays["M_submap_cell"], arrays["shape"].tolist(),
                arrays["length"].tolist(), ends, strict=True,
            )
        }  # fmt: skip
        own = self._grids
        self._grids, self._bytes = {}, 0
        self._forget_drawing()
        for submap, grid in (earlier | own).items():
            self.add(submap, grid)

    def _forget_drawing(self) -> None:
        self._drawn: dict[int, Sim3] = {}
        self._sums: Sums = np.zeros((0, 0), np.int16)
        self._corner: NDArray[np.int64] = np.zeros(2, np.int64)
        self._factor = 1

    def _make_room(self, placed: Mapping[int, Sim3]) -> bool:
        """Makes the drawing large enough; False where that takes other cells than those of what is drawn."""
        corners = np.concatenate([_corners(self._grids[submap], S) for submap, S in placed.items()])
        edge = self._cell_size * self._factor
        low = np.floor(corners.min(axis=0) / edge).astype(np.int64) - 1
        high = np.ceil(corners.max(axis=0) / edge).astype(np.int64) + 1
        size = np.array(self._sums.shape[::-1])
        if (size > 0).all() and (low >= self._corner).all() and (high <= self._corner + size).all():
            return True
        if (size > 0).all():
            low, high = np.minimum(low, self._corner), np.maximum(high, self._corner + size)
        if np.prod(high - low) > self._max_cells:
            if self._drawn:
                return False
            self._factor *= 2
            return self._make_room(placed)
        spare = GROWTH if np.prod(high - low + 2 * GROWTH) <= self._max_cells else 0
        low, high = low - spare, high + spare
        before, self._sums = self._sums, np.zeros((high - low)[::-1], np.int16)
        column, row = self._corner - low
        self._sums[row : row + before.shape[0], column : column + before.shape[1]] = before
        self._corner = low
        return True

    def _draw(self, submap: int, anchor: Sim3, sign: int) -> None:
        _add(self._sums, self._grids[submap], anchor, self._corner, self._cell_size, self._factor, sign)


def _affine(grid: SubmapGrid, S_map_submap: Sim3) -> Array:
    """(3, 3): from (column, row, 1) to x, y, z in `map`."""
    M = S_map_submap.scale * S_map_submap.R @ grid.M_submap_cell
    M[:, 2] += S_map_submap.t
    return M


def _corners(grid: SubmapGrid, S_map_submap: Sim3) -> Array:
    """Corners (4, 2) of a submap's grid in `map`."""
    rows, columns = grid.shape
    ends = np.array([[-0.5, -0.5, 1], [columns - 0.5, -0.5, 1], [columns - 0.5, rows - 0.5, 1], [-0.5, rows - 0.5, 1]])
    return np.asarray((ends @ _affine(grid, S_map_submap).T)[:, :2])


def _ground_z(grid: SubmapGrid, S_map_submap: Sim3) -> float:
    rows, columns = grid.shape
    return float(_affine(grid, S_map_submap)[2] @ [columns / 2, rows / 2, 1.0])


def _add(
    sums: Sums, grid: SubmapGrid, anchor: Sim3, corner: NDArray[np.int64], cell: float, factor: int, sign: int
) -> bool:
    """Adds the votes of a grid to `sums`, whose first cell is number `corner` (x, y); whether they overlap.

    `factor` is how many cells of the grid a cell of `sums` has each way: it takes the strongest obstacle among them.
    """
    corners = _corners(grid, anchor) / (cell * factor) - corner
    low = np.maximum(np.floor(corners.min(axis=0)).astype(int), 0)
    high = np.minimum(np.ceil(corners.max(axis=0)).astype(int), sums.shape[::-1])
    if (high <= low).any():
        return False
    W = _affine(grid, anchor)[:2] / cell
    W[:, 2] -= (corner + low) * factor + 0.5
    size = (high - low) * factor
    drawn = cv2.warpAffine(grid.votes.astype(np.int16), W, size.tolist(), flags=cv2.INTER_NEAREST)
    if factor > 1:
        blocks = drawn.reshape(high[1] - low[1], factor, high[0] - low[0], factor)
        most, least = blocks.max(axis=(1, 3)), blocks.min(axis=(1, 3))
        drawn = np.where(most > 0, most, least)
    sums[low[1] : high[1], low[0] : high[0]] += np.int16(sign) * np.asarray(drawn, np.int16)
    return True


def _states(sums: Sums) -> NDArray[np.int8]:
    states = np.full(sums.shape, UNKNOWN, np.int8)
    states[sums <= -CERTAIN] = FREE
    states[sums >= CERTAIN] = OCCUPIED
    return states


def placed_grid(
    arrays: Mapping[str, NDArray[Any]], anchors: Mapping[int, Sim3], max_cells: int
) -> OccupancyGrid | None:
    """The whole grid of a `snapshot` with submaps at S_map_submap `anchors`."""
    occupancy = OccupancyMap(float(arrays["cell_size"]), max_cells, int(arrays["packed"].nbytes) + 1)
    occupancy.absorb(arrays)
    return occupancy.whole(anchors)
