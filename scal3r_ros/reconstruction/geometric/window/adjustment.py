"""Bundle adjustment of a window, and what it says of its camera: radial coefficient, time of a rolling shutter."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.spatial.transform import Rotation

from scal3r_ros.reconstruction.geometric.triangulation import TrackTable
from scal3r_ros.reconstruction.geometric.window.kernels import SHARED, point_steps, reduced_equations, robust_cost

Array = NDArray[np.float64]

CAUCHY_WIDTH = 2.0
"""Residual, in standard deviations, at which an observation counts half."""
_TRIES = 6


@dataclass(frozen=True)
class AdjustedWindow:
    """`T_ref_cam` (s, 4, 4) and `points` (n, 3) as in the table.

    `radial` is the coefficient that the window's tracks would agree with best were it free, everything else following
    it, with one over its variance in `radial_information`. `late_s` is how much longer
    the camera takes to read out an image than `table` was corrected for, likewise. `equations`
    (6 f + 2, 6 f + 2) are the normal equations of the f free cameras' motions and those two, points eliminated.
    """

    T_ref_cam: Array
    points: Array
    radial: float
    radial_information: float
    late_s: float
    late_information: float
    equations: Array


def adjust_window(
    table: TrackTable, T_ref_cam: Array, points: Array, free: NDArray[np.bool_], radial: float, *, sigma: float,
    max_iterations: int, expected: Array | None = None, blur: Array | None = None,
) -> AdjustedWindow:  # fmt: skip
    """Levenberg–Marquardt with Cauchy weights over the `free` (s,) cameras and all points seen in `table`.

    `table.xy` is as the camera has it: with its distortion by the coefficient `radial`. `sigma` is one standard
    deviation of an image point on the z = 1 plane. Where fewer than two cameras are fixed the scale is free: it stays
    near where it was. `expected` (n, 2), as in the table, is the inverse depth at which the first camera that sees a
    point should see it, and one over the standard deviation of that, 0 where nothing is expected. `blur` (m,) is the
    factor by which each observation is less precise than `sigma`, 1 where it is not given.
    """
    sigmas = np.full(len(table.track), sigma) * (1.0 if blur is None else blur)
    used, point = np.unique(table.track, return_inverse=True)
    start = np.searchsorted(point, np.arange(len(used) + 1)).astype(np.int64)
    frame, xy = np.ascontiguousarray(table.frame, np.int64), np.ascontiguousarray(table.xy, np.float64)
    slot = np.full(len(T_ref_cam), -1, np.int64)
    slot[free] = np.arange(free.sum())
    count = int(free.sum())
    R, c = np.ascontiguousarray(T_ref_cam[:, :3, :3]), np.ascontiguousarray(T_ref_cam[:, :3, 3])
    depths = np.zeros((len(used), 2)) if expected is None else np.ascontiguousarray(expected[used], np.float64)
    P, damping = np.ascontiguousarray(points[used]), 1e-4
    inverse, gradient = np.empty((len(used), 3, 3)), np.empty((len(used), 3))
    mixed, mixed_shared = np.empty((len(frame), 6, 3)), np.empty((len(used), SHARED, 3))
    shift = np.zeros((len(frame), 2)) if table.shift is None else np.ascontiguousarray(table.shift, np.float64)

    def equations(damping: float) -> tuple[Array, Array]:
        return reduced_equations(
            start, frame, slot, count, xy, depths, R, c, P, radial, shift, sigmas, CAUCHY_WIDTH, damping,
            inverse, gradient, mixed, mixed_shared,
        )  # fmt: skip

    def cost_of(R: Array, c: Array, P: Array) -> float:
        return robust_cost(start, frame, xy, depths, R, c, P, radial, sigmas, CAUCHY_WIDTH)

    cost = cost_of(R, c, P)
    for _ in range(max_iterations if count else 0):
        converged = True
        for _ in range(_TRIES):
            S, g = equations(damping)
            S, g = S[:-SHARED, :-SHARED], g[:-SHARED]
            S[np.diag_indices_from(S)] *= 1.0 + damping
            S[np.diag_indices_from(S)] += 1e-9
            try:
                step = np.append(-cho_solve(cho_factor(S), g), np.zeros(SHARED))
            except LinAlgError:
                damping *= 10.0
                continue
            moved_P = P + point_steps(start, frame, slot, inverse, gradient, mixed, mixed_shared, step)
            moved_R, moved_c = R.copy(), c.copy()
            motion = step[:-SHARED].reshape(-1, 6)
            moved_R[free] = R[free] @ Rotation.from_rotvec(motion[:, :3]).as_matrix()
            moved_c[free] += motion[:, 3:]
            moved = cost_of(moved_R, moved_c, moved_P)
            if moved < cost:
                converged = cost - moved < 1e-4 * cost
                R, c, P, cost = moved_R, moved_c, moved_P, moved
                damping = max(damping / 5.0, 1e-9)
                break
            damping *= 5.0
        if converged:
            break
    T, all_points = T_ref_cam.copy(), points.copy()
    T[:, :3, :3], T[:, :3, 3], all_points[used] = R, c, P
    S, g = equations(0.0)
    return AdjustedWindow(T, all_points, *_shared(radial, S, g, -2), *_shared(0.0, S, g, -1), S)


def prepare() -> None:
    """Compiles what `adjust_window` needs, or reads it from numba's cache, so that the first chunk need not wait."""
    track, frame = np.repeat(np.arange(4), 2), np.tile(np.arange(2), 4)
    points = np.array([[-1.0, -1.0, 3.0], [1.0, -1.0, 4.0], [-1.0, 1.0, 5.0], [1.0, 1.0, 4.0]])
    T_ref_cam = np.stack([np.eye(4)] * 2)
    T_ref_cam[1, 0, 3] = 0.5
    seen = points[track] - T_ref_cam[frame, :3, 3]
    xy = seen[:, :2] / seen[:, 2:] + 0.01 * np.sin(np.arange(16.0)).reshape(8, 2)
    table = TrackTable(np.arange(4), track, frame, xy)
    adjust_window(table, T_ref_cam, points, np.array([False, True]), 0.0, sigma=0.01, max_iterations=1)


def _shared(used: float, S: Array, g: Array, row: int) -> tuple[float, float]:
    """The best value of the coefficient in a `row` of the equations, and its information.

    By one Newton step from the value `used`; the cameras follow, the other coefficient stays.
    """
    cameras, by_coefficient = S[:-SHARED, :-SHARED], S[:-SHARED, row]
    others = cameras + 1e-6 * np.diag(np.maximum(np.diag(cameras), 1.0))
    both = np.linalg.solve(others, np.stack([by_coefficient, g[:-SHARED]], axis=1))
    information = float(S[row, row] - by_coefficient @ both[:, 0])
    if not information > 0:
        return used, 0.0
    return used - float(g[row] - by_coefficient @ both[:, 1]) / information, information
