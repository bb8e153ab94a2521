"""Matching cost of every pixel at every plane, compiled: normalised cross-correlation with several other views.

A pixel (u, v) at inverse depth q lies in source s in the direction of `A[s] (u, v, 1) + q b[s]`, with A = K R K⁻¹ and
b = K t of the motion from the reference to it. The correlation of small windows does not mind another exposure; a
share of noise in its denominator makes windows without texture match everything equally badly. Of several sources the
better half counts, since the point may be hidden in the others (Kang et al. 2001).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.reconstruction.geometric.stereo.compiled import compiled

Floats = NDArray[np.float32]

WORST = 127
"""Cost of windows that do not correlate, or of a point that no source sees."""
_BLOCK = 8
"""Planes at a time: as many bytes as are written together."""


@compiled
def matching_cost(
    reference: Floats, sources: Floats, A: Floats, b: Floats, planes: Floats, radius: int, noise: float, kept: int
) -> NDArray[np.uint8]:
    """Cost (h, w, D) uint8 in 0..`WORST` of `reference` (h, w) at D inverse depths `planes` in `sources` (n, h, w).

    `radius` of the window in pixels, `noise` variance of the grey levels, `kept`: how many of the sources count.
    """
    count, h, w = sources.shape
    depths = len(planes)
    across = _reciprocal_counts(w, radius)
    mean, rate = np.empty((h, w), np.float32), np.empty((h, w), np.float32)
    _statistics(reference, radius, np.float32(noise), across, mean, rate)
    warped, seen = np.empty((h, w), np.float32), np.empty((h, w), np.float32)
    best = np.empty((kept, h, w), np.float32)
    block = np.empty((_BLOCK, h, w), np.uint8)
    cost = np.empty((h, w, depths), np.uint8)
    for d in range(depths):
        best[:] = np.float32(1.0)
        for s in range(count):
            _warp(sources[s], A[s], b[s], planes[d], warped, seen)
            _keep_best(warped, seen, reference, mean, rate, across, radius, np.float32(noise), best)
        _mean_of_best(best, block[d % _BLOCK])
        if d % _BLOCK == _BLOCK - 1:
            _put_eight(block, cost, d - _BLOCK + 1)
    for d in range(depths - depths % _BLOCK, depths):
        cost[:, :, d] = block[d % _BLOCK]
    return cost


@compiled
def _reciprocal_counts(width: int, radius: int) -> Floats:
    """One over how many columns of a window around each column lie inside."""
    counts = np.empty(width, np.float32)
    for u in range(width):
        counts[u] = np.float32(1.0) / np.float32(min(width - 1, u + radius) - max(0, u - radius) + 1)
    return counts


@compiled
def _statistics(image: Floats, radius: int, noise: np.float32, across: Floats, mean: Floats, rate: Floats) -> None:
    """Mean (h, w) of the windows of an image, and one over their deviation."""
    h, w = image.shape
    first, second = np.empty(w + 2 * radius, np.float32), np.empty(w + 2 * radius, np.float32)
    a, b = np.empty(w, np.float32), np.empty(w, np.float32)
    for v in range(h):
        low, high = max(0, v - radius), min(h - 1, v + radius)
        first[:], second[:] = np.float32(0.0), np.float32(0.0)
        for y in range(low, high + 1):
            _add(first[radius : radius + w], image[y])
            _add_product(second[radius : radius + w], image[y], image[y])
        _across(first, radius, a)
        _across(second, radius, b)
        for u in range(w):
            share = across[u] / np.float32(high - low + 1)
            m = a[u] * share
            mean[v, u] = m
            rate[v, u] = np.float32(1.0) / np.sqrt(max(b[u] * share - m * m, np.float32(0.0)) + noise)


@compiled
def _warp(source: Floats, A: Floats, b: Floats, plane: np.float32, warped: Floats, seen: Floats) -> None:
    """The source as the reference would see it on a plane, bilinear; `seen` is 1 inside its image, else 0."""
    h, w = source.shape
    flat = source.reshape(-1)
    one, zero, tiny = np.float32(1.0), np.float32(0.0), np.float32(1e-6)
    right, bottom = np.float32(w - 1), np.float32(h - 1)
    x_part, y_part, at = np.empty(w, np.float32), np.empty(w, np.float32), np.empty(w, np.int32)
    step_x, step_y, step_z = A[0, 0], A[1, 0], A[2, 0]
    below, beside = np.uintp(w), np.uintp(1)
    for v in range(h):
        row = np.float32(v)
        x0 = A[0, 1] * row + A[0, 2] + plane * b[0]
        y0 = A[1, 1] * row + A[1, 2] + plane * b[1]
        z0 = A[2, 1] * row + A[2, 2] + plane * b[2]
        out, inside = warped[v], seen[v]
        for u in range(w):
            column = np.float32(np.int32(u))
            per_z = one / max(z0 + step_z * column, tiny)
            x, y = (x0 + step_x * column) * per_z, (y0 + step_y * column) * per_z
            x_in, y_in = min(max(x, zero), right), min(max(y, zero), bottom)
            inside[u] = one if x_in == x and y_in == y else zero
            left, top = np.floor(min(x_in, right - one)), np.floor(min(y_in, bottom - one))
            x_part[u], y_part[u] = x_in - left, y_in - top
            at[u] = np.int32(top) * np.int32(w) + np.int32(left)
        for u in range(w):
            i = np.uintp(at[u])
            upper = flat[i] + x_part[u] * (flat[i + beside] - flat[i])
            lower = flat[i + below] + x_part[u] * (flat[i + below + beside] - flat[i + below])
            out[u] = upper + y_part[u] * (lower - upper)


@compiled
def _keep_best(
    warped: Floats, seen: Floats, reference: Floats, mean: Floats, rate: Floats, across: Floats, radius: int,
    noise: np.float32, best: Floats,
) -> None:  # fmt: skip
    """Sorts the cost of one warped source into the lowest ones so far, `best` (k, h, w)."""
    h, w = warped.shape
    sums = np.zeros((3, w + 2 * radius), np.float32)
    one, two, mixed = sums[0, radius : radius + w], sums[1, radius : radius + w], sums[2, radius : radius + w]
    a, b, c = np.empty(w, np.float32), np.empty(w, np.float32), np.empty(w, np.float32)
    for y in range(min(radius, h)):
        _take_in(one, two, mixed, warped[y], reference[y])
    for v in range(h):
        if v + radius < h:
            _take_in(one, two, mixed, warped[v + radius], reference[v + radius])
        if v > radius:
            _take_out(one, two, mixed, warped[v - radius - 1], reference[v - radius - 1])
        rows = np.float32(1.0) / np.float32(min(h - 1, v + radius) - max(0, v - radius) + 1)
        _across(sums[0], radius, a)
        _across(sums[1], radius, b)
        _across(sums[2], radius, c)
        _correlate(a, b, c, across, rows, mean[v], rate[v], seen[v], noise)
        for k in range(len(best)):
            _insert(best[k, v], c)


@compiled
def _take_in(one: Floats, two: Floats, mixed: Floats, warped: Floats, reference: Floats) -> None:
    _add(one, warped)
    _add_product(two, warped, warped)
    _add_product(mixed, warped, reference)


@compiled
def _take_out(one: Floats, two: Floats, mixed: Floats, warped: Floats, reference: Floats) -> None:
    for i in range(len(one)):
        one[i] -= warped[i]
    for i in range(len(two)):
        two[i] -= warped[i] * warped[i]
    for i in range(len(mixed)):
        mixed[i] -= warped[i] * reference[i]


@compiled
def _add(total: Floats, row: Floats) -> None:
    for i in range(len(row)):
        total[i] += row[i]


@compiled
def _add_product(total: Floats, row: Floats, other: Floats) -> None:
    for i in range(len(row)):
        total[i] += row[i] * other[i]


@compiled
def _across(sums: Floats, radius: int, total: Floats) -> None:
    """Sums of 2·radius + 1 neighbours of a row that has `radius` zeros at both ends."""
    w = len(total)
    if radius == 2:
        for i in range(w):
            total[i] = sums[i] + sums[i + 1] + sums[i + 2] + sums[i + 3] + sums[i + 4]
        return
    total[:] = sums[:w]
    for k in range(1, 2 * radius + 1):
        _add(total, sums[k : k + w])


@compiled
def _correlate(
    first: Floats, second: Floats, mixed: Floats, across: Floats, rows: np.float32, mean: Floats, rate: Floats,
    seen: Floats, noise: np.float32,
) -> None:  # fmt: skip
    """One less the correlation, at most 1, in place of `mixed`."""
    one, zero = np.float32(1.0), np.float32(0.0)
    for u in range(len(mixed)):
        share = across[u] * rows
        m = first[u] * share
        deviation = np.sqrt(max(second[u] * share - m * m, zero) + noise)
        correlation = (mixed[u] * share - m * mean[u]) * rate[u] * seen[u] / deviation
        mixed[u] = min(one - correlation, one)


@compiled
def _insert(best: Floats, cost: Floats) -> None:
    """The lower of both stays in `best`, the higher goes on in `cost`."""
    for u in range(len(cost)):
        old, new = best[u], cost[u]
        best[u], cost[u] = min(old, new), max(old, new)


@compiled
def _mean_of_best(best: Floats, out: NDArray[np.uint8]) -> None:
    kept, h, w = best.shape
    factor = np.float32(WORST) / np.float32(kept)
    total = np.empty(w, np.float32)
    for v in range(h):
        total[:] = np.float32(0.0)
        for k in range(kept):
            _add(total, best[k, v])
        for u in range(w):
            out[v, u] = np.uint8(np.int32(max(total[u], np.float32(0.0)) * factor + np.float32(0.5)))


@compiled
def _put_eight(block: NDArray[np.uint8], cost: NDArray[np.uint8], first: int) -> None:
    _, h, w = block.shape
    for v in range(h):
        row = cost[v]
        for u in range(w):
            for k in range(_BLOCK):
                row[u, first + k] = block[k, v, u]
