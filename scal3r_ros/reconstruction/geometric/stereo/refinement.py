"""Inverse depth between the planes, compiled: least squares matching of windows that lie on the surface.

A window of the sweep is parallel to the image; one that follows the slope of the depth around it matches roads and
walls seen at a flat angle much more exactly (Gallup et al. 2007). One step of Gauss–Newton moves it along the ray of
its pixel, to where the windows of all sources that match are most alike (Gruen 1985).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.reconstruction.geometric.stereo.compiled import compiled

Floats = NDArray[np.float32]

_REACH = 2
"""Half the width of the window, of which every other pixel counts."""
_SAMPLES = 13
_SUMS = 7
_LEAST_CORRELATION = 0.3
"""A source that correlates less does not pull: the point may be hidden there."""
_STIFFNESS = 0.01
"""Squared change of the normalised grey level per pixel below which a window hardly moves: it has no texture."""
_MOST_STEP_PX = 1.0


@compiled
def refined(
    reference: Floats, sources: Floats, A: Floats, b: Floats, inverse: Floats, noise: float
) -> tuple[Floats, Floats]:
    """Inverse depth (h, w) after one step from `inverse` (h, w), and the mean correlation (h, w) of the sources there.

    The others as in `matching_cost`. Sources count by the square of how well they correlate. A border of two pixels
    stays as it is.
    """
    count, h, w = sources.shape
    found, match = inverse.copy(), np.zeros((h, w), np.float32)
    inner = w - 2 * _REACH
    slope_u, slope_v = np.empty(inner, np.float32), np.empty(inner, np.float32)
    mean, rate = np.empty(inner, np.float32), np.empty(inner, np.float32)
    sums, work, at = np.empty((_SUMS, inner), np.float32), np.empty((6, inner), np.float32), np.empty(inner, np.int32)
    pull, hold, shift = np.empty(inner, np.float32), np.empty(inner, np.float32), np.empty(inner, np.float32)
    weight, summed = np.empty(inner, np.float32), np.empty(inner, np.float32)
    for v in range(_REACH, h - _REACH):
        _slopes(inverse, v, slope_u, slope_v)
        _row_statistics(reference, v, np.float32(noise), mean, rate)
        pull[:], hold[:], shift[:] = np.float32(0.0), np.float32(0.0), np.float32(0.0)
        weight[:], summed[:] = np.float32(1e-6), np.float32(0.0)
        for s in range(count):
            _window_sums(reference, sources[s], A[s], b[s], inverse[v], v, slope_u, slope_v, sums, work, at)
            _take_in(sums, work[3], work[4], mean, rate, np.float32(noise), pull, hold, shift, weight, summed)
        for i in range(inner):
            most = np.float32(_MOST_STEP_PX) / max(shift[i], np.float32(1e-6))
            step = pull[i] / (hold[i] + np.float32(_STIFFNESS) * shift[i] * shift[i] + np.float32(1e-12))
            found[v, i + _REACH] = inverse[v, i + _REACH] + min(max(step, -most), most)
            match[v, i + _REACH] = summed[i] / weight[i]
    return found, match


@compiled
def _slopes(inverse: Floats, v: int, slope_u: Floats, slope_v: Floats) -> None:
    """Slope of the inverse depth along a row and across it: the middle of three differences, so that no edge enters."""
    half, quarter = np.float32(0.5), np.float32(0.25)
    for i in range(len(slope_u)):
        u = i + _REACH
        q = inverse[v, u]
        a, c = inverse[v, u - 2], inverse[v, u + 2]
        x, y, z = (c - a) * quarter, (q - a) * half, (c - q) * half
        slope_u[i] = max(min(x, y), min(max(x, y), z))
        a, c = inverse[v - 2, u], inverse[v + 2, u]
        x, y, z = (c - a) * quarter, (q - a) * half, (c - q) * half
        slope_v[i] = max(min(x, y), min(max(x, y), z))


@compiled
def _row_statistics(reference: Floats, v: int, noise: np.float32, mean: Floats, rate: Floats) -> None:
    """Mean of the windows of a row, and one over their deviation."""
    mean[:], rate[:] = np.float32(0.0), np.float32(0.0)
    inner = len(mean)
    for dv in range(-_REACH, _REACH + 1):
        for du in range(-_REACH + (dv & 1), _REACH + 1, 2):
            row = reference[v + dv, _REACH + du : _REACH + du + inner]
            for u in range(inner):
                mean[u] += row[u]
            for u in range(inner):
                rate[u] += row[u] * row[u]
    share = np.float32(1.0 / _SAMPLES)
    for u in range(inner):
        m = mean[u] * share
        mean[u] = m
        rate[u] = np.float32(1.0) / np.sqrt(max(rate[u] * share - m * m, np.float32(0.0)) + noise)


@compiled
def _window_sums(
    reference: Floats, source: Floats, A: Floats, b: Floats, inverse: Floats, v: int, slope_u: Floats, slope_v: Floats,
    sums: Floats, work: Floats, at: NDArray[np.int32],
) -> None:  # fmt: skip
    """Sums over the windows of a row in a source.

    Of its grey levels g, their change d with inverse depth and the reference's r, in this order: g, g², g r, d, d g,
    d r, d². `work[3]` is 1 where all of the window is seen, else 0; `work[4]` is how far the middle moves per unit of
    inverse depth.
    """
    h, w = source.shape
    flat = source.reshape(-1)
    inner = sums.shape[1]
    one, zero, least = np.float32(1.0), np.float32(0.0), np.float32(1e-6)
    right, bottom = np.float32(w - 1), np.float32(h - 1)
    x_part, y_part, seen, shift = work[0], work[1], work[3], work[4]
    along, down = work[2], work[5]
    sums[:], seen[:] = zero, one
    g_sum, gg, gr, d_sum, dg, dr = sums[0], sums[1], sums[2], sums[3], sums[4], sums[5]
    below, beside = np.uintp(w), np.uintp(1)
    middle = inverse[_REACH : _REACH + inner]
    a00, a10, a20, b0, b1, b2 = A[0, 0], A[1, 0], A[2, 0], b[0], b[1], b[2]
    for dv in range(-_REACH, _REACH + 1):
        row, off_v = np.float32(v + dv), np.float32(dv)
        x0, y0, z0 = A[0, 1] * row + A[0, 2], A[1, 1] * row + A[1, 2], A[2, 1] * row + A[2, 2]
        for du in range(-_REACH + (dv & 1), _REACH + 1, 2):
            off_u, start = np.float32(du), np.int32(_REACH + du)
            for i in range(inner):
                q = middle[i] + slope_u[i] * off_u + slope_v[i] * off_v
                column = np.float32(np.int32(i) + start)
                per_z = one / max(a20 * column + z0 + q * b2, least)
                x, y = (a00 * column + x0 + q * b0) * per_z, (a10 * column + y0 + q * b1) * per_z
                along[i], down[i] = (b0 - x * b2) * per_z, (b1 - y * b2) * per_z
                x_in, y_in = min(max(x, zero), right), min(max(y, zero), bottom)
                seen[i] = seen[i] if x_in == x and y_in == y else zero
                left, top = np.floor(min(x_in, right - one)), np.floor(min(y_in, bottom - one))
                x_part[i], y_part[i] = x_in - left, y_in - top
                at[i] = np.int32(top) * np.int32(w) + np.int32(left)
            if dv == 0 and du == 0:
                for i in range(inner):
                    shift[i] = np.sqrt(along[i] * along[i] + down[i] * down[i])
            window = reference[v + dv, _REACH + du : _REACH + du + inner]
            for i in range(inner):
                p = np.uintp(at[i])
                a, c, e, f = flat[p], flat[p + beside], flat[p + below], flat[p + below + beside]
                upper, lower = a + x_part[i] * (c - a), e + x_part[i] * (f - e)
                g = upper + y_part[i] * (lower - upper)
                across = (c - a) + y_part[i] * ((f - e) - (c - a))
                d = across * along[i] + (lower - upper) * down[i]
                r = window[i]
                g_sum[i] += g
                gg[i] += g * g
                gr[i] += g * r
                d_sum[i] += d
                dg[i] += d * g
                dr[i] += d * r
                sums[6, i] += d * d


@compiled
def _take_in(
    sums: Floats, seen: Floats, moved: Floats, mean: Floats, rate: Floats, noise: np.float32, pull: Floats,
    hold: Floats, shift: Floats, weight: Floats, summed: Floats,
) -> None:  # fmt: skip
    """Adds one source to the normal equations of a row: `hold` · step = `pull`."""
    share, zero, one = np.float32(1.0 / _SAMPLES), np.float32(0.0), np.float32(1.0)
    least = np.float32(_LEAST_CORRELATION)
    for i in range(len(mean)):
        g, d = sums[0, i] * share, sums[3, i] * share
        other = one / np.sqrt(max(sums[1, i] * share - g * g, zero) + noise)
        correlation = (sums[2, i] * share - g * mean[i]) * rate[i] * other
        trust = max(correlation - least, zero) * seen[i]
        trust *= trust
        # Of the normalised grey levels: residual (r − mean) · rate − (g − its mean) · other, and its change d · other.
        with_reference = (sums[5, i] * share - d * mean[i]) * rate[i] * other
        with_own = (sums[4, i] * share - d * g) * other * other
        # Behind a camera, sums may overflow: what has no weight must not be multiplied by it.
        pull[i] += trust * (with_reference - with_own) if trust > zero else zero
        hold[i] += trust * (sums[6, i] * share - d * d) * other * other if trust > zero else zero
        shift[i] = max(shift[i], moved[i] * (trust if trust == zero else one))
        weight[i] += trust
        summed[i] += trust * correlation
