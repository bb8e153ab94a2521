"""Depth against that of other frames, compiled: who confirms a pixel, who looks through it, and the mean of all."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.reconstruction.geometric.stereo.compiled import compiled

Floats = NDArray[np.float32]
Counts = NDArray[np.uint8]


@compiled
def cross_checked(
    depth: Floats, others: Floats, K: Floats, R: Floats, t: Floats, tolerance: float, pixels: float
) -> tuple[Floats, Counts, Counts]:
    """Depth (h, w) averaged with that of n `others` (n, h, w), and how many of them confirm and contradict each pixel.

    `R` (n, 3, 3) and `t` (n, 3) take points of this camera to the others'. Another frame confirms a pixel where its
    own point there is as far away to a share of `tolerance` and is seen here within `pixels` of it; it contradicts the
    pixel where it sees a surface farther away, through it. What it sees nearer hides the point. The mean is one of
    inverse depths, each weighed by the square of how near its camera is. Unknown depth is 0.
    """
    count, h, w = others.shape
    weight, total = np.ones((h, w), np.float32), np.zeros((h, w), np.float32)
    confirmed, contradicted = np.zeros((h, w), np.uint8), np.zeros((h, w), np.uint8)
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    one, half, least = np.float32(1.0), np.float32(0.5), np.float32(1e-12)
    per_fx, per_fy = one / fx, one / fy
    highest, lowest, near = one + np.float32(tolerance), one - np.float32(tolerance), np.float32(pixels * pixels)
    wide, high = np.float32(w), np.float32(h)
    for n in range(count):
        M, m0, m1, m2 = R[n], t[n, 0], t[n, 1], t[n, 2]
        found_in = others[n]
        for v in range(h):
            y_ray = (np.float32(v) - cy) * per_fy
            x0, y0, z0 = M[0, 1] * y_ray + M[0, 2], M[1, 1] * y_ray + M[1, 2], M[2, 1] * y_ray + M[2, 2]
            for u in range(w):
                z = depth[v, u]
                x_ray = (np.float32(u) - cx) * per_fx
                far = (z0 + M[2, 0] * x_ray) * z + m2
                if z <= least or far <= least:
                    continue
                per_far = one / far
                column = fx * ((x0 + M[0, 0] * x_ray) * z + m0) * per_far + cx + half
                row = fy * ((y0 + M[1, 0] * x_ray) * z + m1) * per_far + cy + half
                if not (column >= 0 and row >= 0 and column < wide and row < high):
                    continue
                i, j = np.int64(row), np.int64(column)
                found = found_in[i, j]
                ratio = found * per_far
                if ratio > highest:
                    contradicted[v, u] += 1
                if ratio > highest or ratio < lowest:
                    continue
                # The other frame's point, as it is seen from here.
                x = (np.float32(j) - cx) * per_fx * found - m0
                y = (np.float32(i) - cy) * per_fy * found - m1
                away = found - m2
                z_back = M[0, 2] * x + M[1, 2] * y + M[2, 2] * away
                if z_back <= least:
                    continue
                nearer = one / z_back
                off_u = fx * (M[0, 0] * x + M[1, 0] * y + M[2, 0] * away) * nearer + cx - np.float32(u)
                off_v = fy * (M[0, 1] * x + M[1, 1] * y + M[2, 1] * away) * nearer + cy - np.float32(v)
                if off_u * off_u + off_v * off_v > near:
                    continue
                confirmed[v, u] += 1
                share = z * z / (found * found)
                weight[v, u] += share
                total[v, u] += share * nearer
    mean = depth.copy()
    for v in range(h):
        for u in range(w):
            z = depth[v, u]
            if confirmed[v, u] > 0:
                mean[v, u] = weight[v, u] / (total[v, u] + one / z)
    return mean, confirmed, contradicted
