"""How well a window knows where one chunk of its keyframes lies against another: place, rotation and scale.

Both chunks are functionals of the same cameras: a chunk's place is the mean of its centres, its rotation the mean of
theirs, its scale the spread of its centres. So what frames have in common drops out, and so does the gauge.
Source: Schmidt's consider covariance for what is not estimated with the cameras: radial coefficient and readout.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from scal3r_ros.geometry import se3
from scal3r_ros.reconstruction.geometric.window.kernels import SHARED

Array = NDArray[np.float64]

_LEAST_INFORMATION = 1e-12
"""Smallest eigenvalue of the equations, as a share of the largest, whose direction is not the gauge's."""


def step_covariance(
    equations: Array, free: NDArray[np.bool_], T_ref_cam: Array, before: slice, now: slice, radial_sigma: float,
    late_sigma: float = 0.0,
) -> Array:  # fmt: skip
    """Covariance (7, 7) of δ in `S_before_now @ Sim3.from_log(δ)`, in the order of `Sim3.log`.

    `equations` (n, n) are those of `kernels.reduced_equations` at the solution `T_ref_cam` (s, 4, 4) of the `free` (s,)
    cameras; `before` and `now` are the keyframes of both chunks, each in the frame of its first camera;
    `radial_sigma` and `late_sigma`, in s, are standard deviations of the radial coefficient and of the readout.
    """
    information, by_shared = equations[:-SHARED, :-SHARED], equations[:-SHARED, -SHARED:]
    scale = 1.0 / np.sqrt(np.maximum(np.diag(information), 1e-300))
    values, vectors = eigh(information * np.outer(scale, scale))
    known = values > _LEAST_INFORMATION * values[-1]
    root = scale[:, None] * vectors[:, known] / np.sqrt(values[known])
    drawn = root @ (root.T @ by_shared) * [radial_sigma, late_sigma]  # by one standard deviation of each coefficient
    J = np.zeros((7, 6 * len(T_ref_cam)))
    _add_chunk(J, T_ref_cam, now, T_ref_cam[now], 1.0)
    _add_chunk(J, T_ref_cam, before, T_ref_cam[now], -1.0)
    J = J.reshape(7, len(T_ref_cam), 6)[:, free].reshape(7, -1)
    half = np.concatenate([J @ root, J @ drawn], axis=1)
    T_now = T_ref_cam[now][0]
    axes = np.eye(7)
    axes[:3, :3] = axes[3:6, 3:6] = T_now[:3, :3].T
    half = axes @ half
    return np.asarray(half @ half.T)


def _add_chunk(J: Array, T: Array, chunk: slice, T_at: Array, sign: float) -> None:
    """Adds to J (7, 6 s) what motions of a chunk's cameras do to the origin, axes and unit that it gives `T_at`.

    In the axes of the window: displacement of the first camera of `T_at`, rotation, log of the scale.
    """
    centres, R = T[chunk, :3, 3], T[chunk, :3, :3]
    count, first = len(centres), range(len(T))[chunk][0]
    place, turn = np.tile(np.eye(3) / count, (count, 1, 1)), R / count  # by the motions of each camera
    around = centres - centres.mean(axis=0)
    stretch = around / max(float(np.square(around).sum()), 1e-24)
    lever = T_at[0, :3, 3] - centres.mean(axis=0)
    zero = np.zeros((count, 3, 3))
    moved = np.concatenate([-se3.hat(lever) @ turn, place + lever[:, None] * stretch[:, None, :]], axis=2)
    turned = np.concatenate([turn, zero], axis=2)
    stretched = np.concatenate([np.zeros((count, 3)), stretch], axis=1)
    columns = slice(6 * first, 6 * (first + count))
    J[:3, columns] += sign * moved.transpose(1, 0, 2).reshape(3, -1)
    J[3:6, columns] += sign * turned.transpose(1, 0, 2).reshape(3, -1)
    J[6, columns] += sign * stretched.reshape(-1)
