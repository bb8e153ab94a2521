"""The grids of submaps as one: wherever their submaps lie, within cells and bytes, and from disk."""

from __future__ import annotations

import numpy as np
import pytest

from scal3r_ros.geometry import se3
from scal3r_ros.geometry.sim3 import Sim3
from scal3r_ros.mapping.occupancy.occupancy_map import OccupancyMap, placed_grid
from scal3r_ros.mapping.occupancy.submap_grid import SubmapGrid
from scal3r_ros.mapping.values import FREE, OCCUPIED, UNKNOWN, OccupancyGrid

CELL = 0.1
M = np.array([[CELL, 0.0, CELL / 2], [0.0, CELL, CELL / 2], [0.0, 0.0, 0.0]])
BUDGET = 10**7


def random_grid(seed: int, rows: int = 40, columns: int = 60) -> SubmapGrid:
    """Blocks of free and occupied cells, the first one at the origin of the submap."""
    rng = np.random.default_rng(seed)
    blocks = rng.choice([-6, -6, 0, 8], (rows // 4, columns // 4)).astype(np.int8)
    blocks[0, 0] = blocks[-1, -1] = -6
    grid = SubmapGrid.of(M, np.kron(blocks, np.ones((4, 4), np.int8)))
    assert grid is not None
    return grid


def filled(anchors: dict[int, Sim3], max_cells: int = BUDGET) -> tuple[OccupancyMap, OccupancyGrid]:
    occupancy = OccupancyMap(CELL, max_cells, BUDGET)
    for submap in anchors:
        occupancy.add(submap, random_grid(submap))
    grid = occupancy.whole(anchors)
    assert grid is not None
    return occupancy, grid


def at(x: float, y: float, yaw: float = 0.0) -> Sim3:
    return Sim3(1.0, se3.rotation_exp(np.array([0.0, 0.0, yaw])), np.array([x, y, 0.0]))


def same(a: OccupancyGrid, b: OccupancyGrid) -> None:
    np.testing.assert_array_equal(a.cells, b.cells)
    np.testing.assert_allclose(a.origin, b.origin)
    assert a.resolution == b.resolution
    assert a.ground_z == pytest.approx(b.ground_z)


def test_a_submap_that_turns_takes_its_cells_with_it() -> None:
    upright, turned = filled({0: at(0.0, 0.0)})[1], filled({0: at(3.0, 1.0, np.pi / 2)})[1]
    np.testing.assert_array_equal(upright.cells, np.rot90(turned.cells, 1))
    np.testing.assert_allclose(turned.origin, [3.0 - 4.0, 1.0])


def test_a_map_that_moves_is_the_map_that_was_never_elsewhere() -> None:
    before = {submap: at(2.0 * submap, 0.3 * submap) for submap in range(5)}
    after = {submap: at(1.7 * submap - 3.0, 0.9 * submap, 0.1 * submap) for submap in range(5)}
    occupancy, first = filled(before)
    moved, expected = occupancy.whole(after), filled(after)[1]
    assert moved is not None
    same(moved, expected)
    back = occupancy.whole(before)
    assert back is not None
    same(back, first)


def test_what_contradicts_itself_is_unknown() -> None:
    occupancy = OccupancyMap(CELL, BUDGET, BUDGET)
    for submap, votes in enumerate((-6, 6)):
        grid = SubmapGrid.of(M, np.full((10, 10), votes, np.int8))
        assert grid is not None
        occupancy.add(submap, grid)
    grid = occupancy.whole({0: at(0.0, 0.0), 1: at(0.5, 0.0)})
    assert grid is not None
    assert [set(np.unique(part)) for part in np.split(grid.cells, 3, axis=1)] == [{FREE}, {UNKNOWN}, {OCCUPIED}]


def test_a_large_map_has_larger_cells_and_keeps_its_obstacles() -> None:
    anchors = {submap: at(20.0 * submap, 0.0) for submap in range(10)}
    fine, coarse = filled(anchors)[1], filled(anchors, 30_000)[1]
    assert coarse.resolution > CELL
    assert coarse.cells.size <= 30_000
    row, column = np.nonzero(fine.cells == OCCUPIED)
    xy = np.column_stack([column + 0.5, row + 0.5]) * fine.resolution + fine.origin
    cell = np.floor((xy - coarse.origin) / coarse.resolution).astype(int)
    assert (coarse.cells[cell[:, 1], cell[:, 0]] == OCCUPIED).all()


def test_the_oldest_submaps_leave_a_full_budget() -> None:
    size = len(random_grid(0).packed)
    occupancy = OccupancyMap(CELL, BUDGET, int(3.5 * size))
    for submap in range(6):
        occupancy.add(submap, random_grid(submap))
        occupancy.whole({number: at(10.0 * number, 0.0) for number in range(6)})
    assert occupancy.left_out == 6 - len(occupancy) > 0
    grid = occupancy.whole({number: at(10.0 * number, 0.0) for number in range(6)})
    assert grid is not None
    assert grid.origin[0] == pytest.approx(10.0 * occupancy.left_out)


def test_a_window_is_a_part_of_the_whole() -> None:
    anchors = {submap: at(2.0 * submap, 0.0) for submap in range(3)}
    occupancy, whole = filled(anchors)
    window = occupancy.window(anchors, np.array([4.0, 2.0]), 3.0)
    assert window is not None
    assert window.cells.shape == (30, 30)
    column, row = np.rint((window.origin - whole.origin) / CELL).astype(int)
    np.testing.assert_array_equal(window.cells, whole.cells[row : row + 30, column : column + 30])
    assert occupancy.window(anchors, np.array([500.0, 0.0]), 3.0) is None


def test_a_snapshot_brings_all_back() -> None:
    anchors = {submap: at(2.0 * submap, 0.2 * submap) for submap in range(3)}
    occupancy, whole = filled(anchors)
    again = placed_grid(occupancy.snapshot(), anchors, BUDGET)
    assert again is not None
    same(again, whole)
