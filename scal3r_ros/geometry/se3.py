"""Rigid motions as 4×4 float64 matrices `T_a_b` (p_a = T_a_b p_b); every function takes batches (..., 4, 4).

Twists are (..., 6), translation first, then rotation (rad). `exp` and `log` are those of the group, so that
`T @ exp(xi)` perturbs T in its own (right) frame.
"""

from __future__ import annotations

import inspect

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

Array = NDArray[np.float64]

_UNCHECKED: dict[str, bool] = (
    {"assume_valid": True} if "assume_valid" in inspect.signature(Rotation.from_matrix).parameters else {}
)
"""SciPy from 1.17 on checks matrices for 0.3 ms, more than all the rest of a pose takes; before, it is fast."""

_SMALL_ANGLE = 1e-4
"""Below it (rad) the closed forms lose digits to cancellation, and two terms of their series are exact to rounding."""


def se3(R: ArrayLike, t: ArrayLike) -> Array:
    """Poses (..., 4, 4) of rotations (..., 3, 3) and translations (..., 3), which broadcast."""
    R_, t_ = np.asarray(R, np.float64), np.asarray(t, np.float64)
    T = np.zeros((*np.broadcast_shapes(R_.shape[:-2], t_.shape[:-1]), 4, 4))
    T[..., :3, :3] = R_
    T[..., :3, 3] = t_
    T[..., 3, 3] = 1.0
    return T


def invert(T: ArrayLike) -> Array:
    """Inverse of rigid poses (..., 4, 4)."""
    T_ = np.asarray(T, np.float64)
    R_inverse = np.swapaxes(T_[..., :3, :3], -1, -2)
    return se3(R_inverse, -(R_inverse @ T_[..., :3, 3:])[..., 0])


def hat(v: ArrayLike) -> Array:
    """Matrices (..., 3, 3) of the cross product with v (..., 3)."""
    v_ = np.asarray(v, np.float64)
    matrix = np.zeros((*v_.shape[:-1], 3, 3))
    matrix[..., 0, 1], matrix[..., 0, 2] = -v_[..., 2], v_[..., 1]
    matrix[..., 1, 0], matrix[..., 1, 2] = v_[..., 2], -v_[..., 0]
    matrix[..., 2, 0], matrix[..., 2, 1] = -v_[..., 1], v_[..., 0]
    return matrix


def rotation_exp(rotvec: ArrayLike) -> Array:
    """Rotations (..., 3, 3) of rotation vectors (..., 3) in rad."""
    v = np.asarray(rotvec, np.float64)
    return Rotation.from_rotvec(v.reshape(-1, 3)).as_matrix().reshape(*v.shape[:-1], 3, 3)


def rotation_log(R: ArrayLike) -> Array:
    """Rotation vectors (..., 3) in rad, of length at most π, of rotations (..., 3, 3)."""
    R_ = np.asarray(R, np.float64)
    return _rotation(R_).as_rotvec().reshape(*R_.shape[:-2], 3)


def exp(xi: ArrayLike) -> Array:
    """Poses (..., 4, 4) of twists (..., 6): translation, rotation."""
    xi_ = np.asarray(xi, np.float64)
    rotvec = xi_[..., 3:]
    V = _left_jacobian(rotvec)
    return se3(rotation_exp(rotvec), (V @ xi_[..., :3, None])[..., 0])


def log(T: ArrayLike) -> Array:
    """Twists (..., 6), translation then rotation, of poses (..., 4, 4); the rotation's length is at most π."""
    T_ = np.asarray(T, np.float64)
    rotvec = rotation_log(T_[..., :3, :3])
    rho = np.linalg.solve(_left_jacobian(rotvec), T_[..., :3, 3:])[..., 0]
    return np.concatenate([rho, rotvec], axis=-1)


def interpolate(T_0: ArrayLike, T_1: ArrayLike, alpha: ArrayLike) -> Array:
    """Poses (..., 4, 4) on the screw motion from T_0 (alpha 0) to T_1 (alpha 1); alpha outside 0..1 extrapolates.

    `alpha` (...) broadcasts against the poses' batch dimensions.
    """
    T_0_, T_1_ = np.asarray(T_0, np.float64), np.asarray(T_1, np.float64)
    return T_0_ @ exp(np.asarray(alpha, np.float64)[..., None] * log(invert(T_0_) @ T_1_))


def quat_xyzw(R: ArrayLike) -> Array:
    """Unit quaternions (..., 4) in the order x y z w, with w ≥ 0, of rotations (..., 3, 3)."""
    R_ = np.asarray(R, np.float64)
    return _rotation(R_).as_quat(canonical=True).reshape(*R_.shape[:-2], 4)


def rotation_from_quat_xyzw(q: ArrayLike) -> Array:
    """Rotations (..., 3, 3) of quaternions (..., 4) in the order x y z w, which need not be of unit length."""
    q_ = np.asarray(q, np.float64)
    return Rotation.from_quat(q_.reshape(-1, 4)).as_matrix().reshape(*q_.shape[:-1], 3, 3)


def renormalised(T: ArrayLike) -> Array:
    """Poses (..., 4, 4) with exact rotations again: rounding doubles with every product of a pose and an inverse."""
    fresh = np.array(T, np.float64)
    fresh[..., :3, :3] = rotation_from_quat_xyzw(quat_xyzw(fresh[..., :3, :3]))
    return fresh


def rotation_angle(R: ArrayLike) -> Array:
    """Angles (...) in rad, 0..π, of rotations (..., 3, 3)."""
    return np.asarray(np.linalg.norm(rotation_log(R), axis=-1))


def is_rotation(R: ArrayLike, tolerance: float = 1e-6) -> bool:
    """Whether all of (..., 3, 3) are finite, orthonormal to within `tolerance` and right-handed."""
    R_ = np.asarray(R, np.float64)
    if R_.shape[-2:] != (3, 3) or not np.all(np.isfinite(R_)):
        return False
    orthonormal = np.abs(R_ @ np.swapaxes(R_, -1, -2) - np.eye(3)).max(initial=0.0) <= tolerance
    return bool(orthonormal and np.all(np.linalg.det(R_) > 0))


def _rotation(R: Array) -> Rotation:
    """Of matrices (..., 3, 3), in one dimension."""
    return Rotation.from_matrix(R.reshape(-1, 3, 3), **_UNCHECKED)


def _left_jacobian(rotvec: Array) -> Array:
    """V (..., 3, 3) of the exponential map: translation = V rho."""
    angle = np.linalg.norm(rotvec, axis=-1)[..., None, None]
    small = angle < _SMALL_ANGLE
    safe = np.where(small, 1.0, angle)
    a = np.where(small, 0.5 - angle**2 / 24, (1 - np.cos(safe)) / safe**2)
    b = np.where(small, 1 / 6 - angle**2 / 120, (safe - np.sin(safe)) / safe**3)
    W = hat(rotvec)
    return np.eye(3) + a * W + b * (W @ W)
