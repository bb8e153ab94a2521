"""Semi-global aggregation against the recursion written down path by path."""

from __future__ import annotations

import numpy as np
import pytest

from scal3r_ros.reconstruction.geometric.stereo.aggregation import aggregated, best_planes
from scal3r_ros.reconstruction.geometric.stereo.matching import WORST

SMALL, LARGE, EDGE = 5, 60.0, 12.0
DIRECTIONS = [(dv, du) for dv in (-1, 0, 1) for du in (-1, 0, 1) if (dv, du) != (0, 0)]


def plain_sum(cost: np.ndarray, grey: np.ndarray) -> np.ndarray:
    """Each path by itself, from the border it starts at (Hirschmüller 2008, equation 13)."""
    h, w, depths = cost.shape
    total = np.zeros(cost.shape, np.int64)
    apart = np.abs(np.subtract.outer(np.arange(depths), np.arange(depths)))
    for dv, du in DIRECTIONS:
        path = np.zeros(cost.shape, np.int64)
        rows = range(h) if dv >= 0 else range(h - 1, -1, -1)
        columns = range(w) if du >= 0 else range(w - 1, -1, -1)
        for v in rows:
            for u in columns:
                y, x = v - dv, u - du
                path[v, u] = cost[v, u]
                if 0 <= y < h and 0 <= x < w:
                    jump = int(max(SMALL, LARGE / (1 + abs(float(grey[v, u]) - float(grey[y, x])) / EDGE)))
                    price = np.where(apart == 0, 0, np.where(apart == 1, SMALL, jump))
                    path[v, u] += (path[y, x][None] + price).min(axis=1) - path[y, x].min()
        total += path
    return total


@pytest.mark.parametrize("depths", [3, 16, 37])
def test_the_sums_are_those_of_eight_paths(depths: int) -> None:
    rng = np.random.default_rng(depths)
    cost = rng.integers(0, WORST + 1, (9, 13, depths)).astype(np.uint8)
    grey = np.round(rng.uniform(0, 80, (9, 13))).astype(np.float32)
    np.testing.assert_array_equal(aggregated(cost, grey, SMALL, LARGE, EDGE), plain_sum(cost, grey))


def test_a_slanted_surface_fills_the_pixels_that_match_nowhere() -> None:
    cost = np.full((20, 30, 32), WORST, np.uint8)
    true = np.arange(30) // 2 + 5
    cost[:, np.arange(30), true] = 0
    cost[6:12, 8:20] = 90  # no texture: nothing to tell planes apart
    inverse, match = best_planes(
        cost, aggregated(cost, np.zeros((20, 30), np.float32), SMALL, LARGE, EDGE), np.arange(32, dtype=np.float32)
    )
    assert np.abs(inverse - true).max() <= 1.0
    assert np.all(match[6:12, 8:20] > 0.5)
    assert match[:6].max() == 0.0


def test_an_edge_of_the_image_lets_the_depth_jump() -> None:
    cost = np.full((20, 30, 32), 60, np.uint8)
    cost[:, 0, 4] = cost[:, 29, 25] = 0  # only the borders match
    grey = np.zeros((20, 30), np.float32)
    grey[:, 11:] = 200.0
    inverse, _ = best_planes(cost, aggregated(cost, grey, SMALL, LARGE, EDGE), np.arange(32, dtype=np.float32))
    assert np.all(inverse[:, :11] == 4)
    assert np.all(inverse[:, 11:] == 25)


def test_between_the_planes_the_smaller_neighbour_pulls_and_the_ends_are_hopeless() -> None:
    sums = np.full((1, 3, 5), 100, np.uint16)
    sums[0, 0, 1:4] = 50, 10, 30
    sums[0, 1, 0] = sums[0, 2, 4] = 0
    planes = np.array([1.0, 2.0, 3.0, 5.0, 8.0], np.float32)
    inverse, match = best_planes(np.full((1, 3, 5), 32, np.uint8), sums, planes)
    assert inverse[0, 0] == pytest.approx(3.0 + 0.5 * (40 - 20) / 40 * 2.0)
    assert inverse[0, 1:].tolist() == [1.0, 8.0]
    assert match[0].tolist() == pytest.approx([32 / WORST, 1.0, 1.0])
