"""Bundle adjustment's inner loops, compiled: robust cost, normal equations reduced to the cameras, back-substitution.

Observations are sorted by point. A camera is (R, c): p_cam = Rᵀ (p − c); it moves by (ω, v): R exp(ω), c + v. An image
point is a (1 + k |a|²) for a = (x, y) / z, with one radial coefficient k for all cameras, and moves by `shift` for each
second that a rolling shutter takes, counted from the time that the observations were corrected by. Both are the
coefficients that all cameras share.
Source: Triggs et al. 2000, Bundle adjustment: a modern synthesis, §6.1 (Schur complement) and §4.3 (robust weights).
"""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.features.compiled import compiled

Array = NDArray[np.float64]
Whole = NDArray[np.int64]

SHARED = 2
"""Coefficients that all cameras share, in the last rows of the equations."""
_LEAST_DEPTH = 1e-9
_BEHIND = 50.0
"""Residual, in standard deviations, of a point behind the camera."""


_compiled = partial(compiled, error_model="python")  # a division by 0 is degenerate, and costs the chunk


@_compiled
def _depth(point: Array, R: Array, c: Array) -> float:
    """Depth of a point before a camera, at least a little."""
    z = R[0, 2] * (point[0] - c[0]) + R[1, 2] * (point[1] - c[1]) + R[2, 2] * (point[2] - c[2])
    return max(z, _LEAST_DEPTH)


@_compiled
def robust_cost(
    start: Whole, frame: Whole, xy: Array, expected: Array, R: Array, c: Array, points: Array, radial: float,
    sigma: Array, width: float,
) -> float:  # fmt: skip
    """Sum of Cauchy costs of `width`, in their `sigma` (m,), over all observations; point p has those in
    `start[p]:start[p + 1]`.

    `expected` (p, 2) is the inverse depth at which the first camera that sees a point should see it, and one over the
    standard deviation of that, 0 where nothing is expected.
    """
    cost = 0.0
    for p in range(len(start) - 1):
        if expected[p, 1] > 0.0:
            z = _depth(points[p], R[frame[start[p]]], c[frame[start[p]]])
            cost += 0.5 * (expected[p, 1] * (1.0 / z - expected[p, 0])) ** 2
        for o in range(start[p], start[p + 1]):
            f = frame[o]
            d0, d1, d2 = points[p, 0] - c[f, 0], points[p, 1] - c[f, 1], points[p, 2] - c[f, 2]
            z = R[f, 0, 2] * d0 + R[f, 1, 2] * d1 + R[f, 2, 2] * d2
            error = _BEHIND
            if z > _LEAST_DEPTH:
                a0 = (R[f, 0, 0] * d0 + R[f, 1, 0] * d1 + R[f, 2, 0] * d2) / z
                a1 = (R[f, 0, 1] * d0 + R[f, 1, 1] * d1 + R[f, 2, 1] * d2) / z
                D = 1.0 + radial * (a0 * a0 + a1 * a1)
                error = np.sqrt((D * a0 - xy[o, 0]) ** 2 + (D * a1 - xy[o, 1]) ** 2) / sigma[o]
            cost += 0.5 * width * width * np.log1p((error / width) ** 2)
    return cost


@_compiled
def reduced_equations(
    start: Whole, frame: Whole, slot: Whole, free: int, xy: Array, expected: Array, R: Array, c: Array, points: Array,
    radial: float, shift: Array, sigma: Array, width: float, damping: float, inverse: Array, gradient: Array,
    mixed: Array, mixed_shared: Array,
) -> tuple[Array, Array]:  # fmt: skip
    """Normal equations (n, n), (n,) of the `free` cameras' motions and the shared coefficients, points eliminated.

    n is 6 · free + 2, the last rows are radial and readout; `slot` (s,) numbers the free cameras and is −1 for fixed
    ones. What is `expected` moves points, and cameras only through them. What `point_steps` needs is left in `inverse`
    (p, 3, 3), `gradient` (p, 3), `mixed` (m, 6, 3) and `mixed_shared` (p, 2, 3).
    """
    last = 6 * free
    S, g = np.zeros((last + SHARED, last + SHARED)), np.zeros(last + SHARED)
    A, J, js = np.empty((2, 3)), np.empty((2, 6)), np.empty((SHARED, 2))
    H, h, W = np.empty((3, 3)), np.empty(3), np.empty((6, 3))
    for p in range(len(start) - 1):
        H[:] = 0.0
        gradient[p] = 0.0
        mixed_shared[p] = 0.0
        for o in range(start[p], start[p + 1]):
            f = frame[o]
            mixed[o] = 0.0
            d0, d1, d2 = points[p, 0] - c[f, 0], points[p, 1] - c[f, 1], points[p, 2] - c[f, 2]
            q0 = R[f, 0, 0] * d0 + R[f, 1, 0] * d1 + R[f, 2, 0] * d2
            q1 = R[f, 0, 1] * d0 + R[f, 1, 1] * d1 + R[f, 2, 1] * d2
            q2 = R[f, 0, 2] * d0 + R[f, 1, 2] * d1 + R[f, 2, 2] * d2
            if q2 <= _LEAST_DEPTH:
                continue
            a0, a1 = q0 / q2, q1 / q2
            r2 = a0 * a0 + a1 * a1
            D = 1.0 + radial * r2
            e0, e1 = (D * a0 - xy[o, 0]) / sigma[o], (D * a1 - xy[o, 1]) / sigma[o]
            root = np.sqrt(1.0 / (1.0 + (e0 * e0 + e1 * e1) / (width * width)))
            e0, e1, s = e0 * root, e1 * root, root / sigma[o]
            m00, m01, m11 = D + 2 * radial * a0 * a0, 2 * radial * a0 * a1, D + 2 * radial * a1 * a1
            x00, x01, x02 = m00 * s / q2, m01 * s / q2, -(m00 * a0 + m01 * a1) * s / q2
            x10, x11, x12 = m01 * s / q2, m11 * s / q2, -(m01 * a0 + m11 * a1) * s / q2
            for j in range(3):
                A[0, j] = x00 * R[f, j, 0] + x01 * R[f, j, 1] + x02 * R[f, j, 2]
                A[1, j] = x10 * R[f, j, 0] + x11 * R[f, j, 1] + x12 * R[f, j, 2]
                J[0, 3 + j], J[1, 3 + j] = -A[0, j], -A[1, j]
            J[0, 0], J[0, 1], J[0, 2] = x01 * q2 - x02 * q1, x02 * q0 - x00 * q2, x00 * q1 - x01 * q0
            J[1, 0], J[1, 1], J[1, 2] = x11 * q2 - x12 * q1, x12 * q0 - x10 * q2, x10 * q1 - x11 * q0
            js[0, 0], js[0, 1] = a0 * r2 * s, a1 * r2 * s
            js[1, 0], js[1, 1] = shift[o, 0] * s, shift[o, 1] * s
            for i in range(3):
                gradient[p, i] += A[0, i] * e0 + A[1, i] * e1
                for j in range(3):
                    H[i, j] += A[0, i] * A[0, j] + A[1, i] * A[1, j]
            for q in range(SHARED):
                for i in range(3):
                    mixed_shared[p, q, i] += js[q, 0] * A[0, i] + js[q, 1] * A[1, i]
                g[last + q] += js[q, 0] * e0 + js[q, 1] * e1
                for r in range(SHARED):
                    S[last + q, last + r] += js[q, 0] * js[r, 0] + js[q, 1] * js[r, 1]
            if slot[f] < 0:
                continue
            k = 6 * slot[f]
            for i in range(6):
                g[k + i] += J[0, i] * e0 + J[1, i] * e1
                for q in range(SHARED):
                    S[k + i, last + q] += J[0, i] * js[q, 0] + J[1, i] * js[q, 1]
                for j in range(6):
                    S[k + i, k + j] += J[0, i] * J[0, j] + J[1, i] * J[1, j]
                for j in range(3):
                    mixed[o, i, j] = J[0, i] * A[0, j] + J[1, i] * A[1, j]
        if expected[p, 1] > 0.0:
            f = frame[start[p]]
            z = _depth(points[p], R[f], c[f])
            e0, s = expected[p, 1] * (1.0 / z - expected[p, 0]), -expected[p, 1] / (z * z)
            for i in range(3):
                gradient[p, i] += s * R[f, i, 2] * e0
                for j in range(3):
                    H[i, j] += s * s * R[f, i, 2] * R[f, j, 2]
        trace = H[0, 0] + H[1, 1] + H[2, 2]
        for i in range(3):
            H[i, i] += damping * H[i, i] + 1e-9 * trace + 1e-12
        _invert(H, inverse[p])
        V = inverse[p]
        for i in range(3):
            h[i] = V[i, 0] * gradient[p, 0] + V[i, 1] * gradient[p, 1] + V[i, 2] * gradient[p, 2]
        for q in range(SHARED):
            g[last + q] -= mixed_shared[p, q, 0] * h[0] + mixed_shared[p, q, 1] * h[1] + mixed_shared[p, q, 2] * h[2]
            for r in range(SHARED):
                for i in range(3):
                    for j in range(3):
                        S[last + q, last + r] -= mixed_shared[p, q, i] * V[i, j] * mixed_shared[p, r, j]
        for o in range(start[p], start[p + 1]):
            here = slot[frame[o]]
            if here < 0:
                continue
            k = 6 * here
            for i in range(6):
                g[k + i] -= mixed[o, i, 0] * h[0] + mixed[o, i, 1] * h[1] + mixed[o, i, 2] * h[2]
                for j in range(3):
                    W[i, j] = mixed[o, i, 0] * V[0, j] + mixed[o, i, 1] * V[1, j] + mixed[o, i, 2] * V[2, j]
                for q in range(SHARED):
                    for j in range(3):
                        S[k + i, last + q] -= W[i, j] * mixed_shared[p, q, j]
            for other in range(start[p], start[p + 1]):
                there = slot[frame[other]]
                if there < here:
                    continue
                n = 6 * there
                for i in range(6):
                    for j in range(6):
                        S[k + i, n + j] -= (
                            W[i, 0] * mixed[other, j, 0] + W[i, 1] * mixed[other, j, 1] + W[i, 2] * mixed[other, j, 2]
                        )
    for i in range(last + SHARED):
        for j in range(min(i, last)):
            if j // 6 < i // 6:
                S[i, j] = S[j, i]
    return S, g


@_compiled
def point_steps(
    start: Whole, frame: Whole, slot: Whole, inverse: Array, gradient: Array, mixed: Array, mixed_shared: Array,
    step: Array,
) -> Array:  # fmt: skip
    """The points' steps (p, 3) that belong to the `step` (n,) of the cameras and the shared coefficients."""
    steps = np.empty((len(start) - 1, 3))
    v = np.empty(3)
    for p in range(len(start) - 1):
        for i in range(3):
            v[i] = gradient[p, i] + mixed_shared[p, 0, i] * step[-2] + mixed_shared[p, 1, i] * step[-1]
        for o in range(start[p], start[p + 1]):
            k = 6 * slot[frame[o]]
            if k < 0:
                continue
            for i in range(6):
                for j in range(3):
                    v[j] += mixed[o, i, j] * step[k + i]
        for i in range(3):
            steps[p, i] = -(inverse[p, i, 0] * v[0] + inverse[p, i, 1] * v[1] + inverse[p, i, 2] * v[2])
    return steps


@_compiled
def _invert(H: Array, out: Array) -> None:
    """The inverse of a symmetric positive definite (3, 3) matrix."""
    a, b, c, d, e, f = H[0, 0], H[0, 1], H[0, 2], H[1, 1], H[1, 2], H[2, 2]
    c00, c01, c02 = d * f - e * e, c * e - b * f, b * e - c * d
    scale = 1.0 / (a * c00 + b * c01 + c * c02)
    out[0, 0], out[1, 1], out[2, 2] = c00 * scale, (a * f - c * c) * scale, (a * d - b * b) * scale
    out[0, 1] = out[1, 0] = c01 * scale
    out[0, 2] = out[2, 0] = c02 * scale
    out[1, 2] = out[2, 1] = (b * c - a * e) * scale
