"""Semi-global aggregation of matching costs, compiled (Hirschmüller 2008): eight paths, one pass down and one up.

A step of one plane from pixel to pixel costs `small`, so that slanted surfaces stay whole; any farther jump costs
`large`, less across an edge of the image, where surfaces end.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.reconstruction.geometric.stereo.compiled import compiled
from scal3r_ros.reconstruction.geometric.stereo.matching import WORST

Costs = NDArray[np.uint8]
Sums = NDArray[np.uint16]

_NEVER = 20_000
"""More than any path costs: what lies beyond the first and the last plane."""


@compiled
def aggregated(cost: Costs, grey: NDArray[np.float32], small: int, large: float, edge: float) -> Sums:
    """Sum (h, w, D) uint16 over eight paths of `cost` (h, w, D) uint8, for the image `grey` (h, w).

    `large` is halved where neighbours differ by `edge` grey levels.
    """
    h, w, depths = cost.shape
    total = np.zeros((h, w, depths), np.uint16)
    never, nothing = np.uint16(_NEVER), np.uint16(0)
    # Of the row before and of this one: what three paths cost at each pixel, and the least of it.
    before, now = np.full((3, w, depths + 2), never, np.uint16), np.full((3, w, depths + 2), never, np.uint16)
    least_before, least_now = np.zeros((3, w), np.uint16), np.zeros((3, w), np.uint16)
    along = np.full((2, depths + 2), never, np.uint16)
    start = np.full(depths + 2, never, np.uint16)
    start[1 : depths + 1] = nothing
    step = np.uint16(small)
    for back in range(2):
        for j in range(h):
            v = h - 1 - j if back else j
            row_before = v + 1 if back else v - 1
            least = nothing
            for i in range(w):
                u = w - 1 - i if back else i
                u_before = u + 1 if back else u - 1
                if i == 0:
                    least = _step(cost[v, u], start, nothing, step, step, along[0], total[v, u])
                else:
                    jump = _jump(grey[v, u], grey[v, u_before], small, large, edge)
                    least = _step(cost[v, u], along[1 - i % 2], least, step, jump, along[i % 2], total[v, u])
                for k in range(3):
                    x = u + k - 1
                    if j == 0 or x < 0 or x >= w:
                        least_now[k, u] = _step(cost[v, u], start, nothing, step, step, now[k, u], total[v, u])
                    else:
                        jump = _jump(grey[v, u], grey[row_before, x], small, large, edge)
                        least_now[k, u] = _step(
                            cost[v, u], before[k, x], least_before[k, x], step, jump, now[k, u], total[v, u]
                        )
            before, now = now, before
            least_before, least_now = least_now, least_before
    return total


@compiled
def _jump(grey: np.float32, other: np.float32, small: int, large: float, edge: float) -> np.uint16:
    """The price of a jump in depth between two neighbours."""
    difference = np.float32(abs(grey - other))
    return np.uint16(max(np.float32(small), np.float32(large) / (np.float32(1.0) + difference / np.float32(edge))))


@compiled
def _step(
    cost: Costs, before: Sums, least: np.uint16, small: np.uint16, large: np.uint16, now: Sums, total: Sums
) -> np.uint16:
    """One pixel farther along a path; gives the least of what it costs now."""
    depths = len(cost)
    jump = np.uint16(least + large)
    lowest = np.uint16(_NEVER)
    for d in range(depths):
        beside = np.uint16(min(before[d], before[d + 2]) + small)
        best = min(min(before[d + 1], beside), jump)
        value = np.uint16(np.uint16(cost[d]) + np.uint16(best - least))
        now[d + 1] = value
        total[d] += value
        lowest = min(lowest, value)
    return lowest


@compiled
def best_planes(
    cost: Costs, total: Sums, planes: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Inverse depth (h, w) between the planes where the sum is least, and the cost (h, w) there in 0..1.

    At the first and the last plane the cost is 1: nothing says how far beyond them the depth lies.
    """
    h, w, depths = cost.shape
    inverse, match = np.empty((h, w), np.float32), np.empty((h, w), np.float32)
    for v in range(h):
        for u in range(w):
            sums = total[v, u]
            least = np.uint16(65535)
            for d in range(depths):
                least = min(least, sums[d])
            d = 0
            while sums[d] != least:
                d += 1
            if d == 0 or d == depths - 1:
                inverse[v, u], match[v, u] = planes[d], np.float32(1.0)
                continue
            match[v, u] = np.float32(cost[v, u, d]) / np.float32(WORST)
            low, high = np.float32(sums[d - 1]) - np.float32(least), np.float32(sums[d + 1]) - np.float32(least)
            larger = max(low, high)
            # Sums rise linearly from their minimum: straight lines on both sides, not a parabola.
            part = np.float32(0.5) * (low - high) / larger if larger > 0 else np.float32(0.0)
            span = planes[d + 1] - planes[d] if part > 0 else planes[d] - planes[d - 1]
            inverse[v, u] = planes[d] + part * span
    return inverse, match
