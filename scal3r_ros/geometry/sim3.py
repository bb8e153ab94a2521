"""Similarity transforms: rotation, translation and one scale."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scal3r_ros.geometry import se3

Array = NDArray[np.float64]

_SMALL = 1e-8
"""Below it two terms of a series are exact to rounding, and a quotient is of numbers that may have no digits left."""


@dataclass(frozen=True, eq=False)
class Sim3:
    """`S_a_b` maps p_b to p_a = scale · R p_b + t: `scale` > 0, `R` (3, 3), `t` (3,), all float64."""

    scale: float
    R: Array
    t: Array

    @classmethod
    def identity(cls) -> Sim3:
        """The transform that changes nothing."""
        return cls(1.0, np.eye(3), np.zeros(3))

    @classmethod
    def from_rigid(cls, T: ArrayLike, scale: float = 1.0) -> Sim3:
        """The similarity with rotation and translation of T (4, 4), and `scale`."""
        T_ = np.asarray(T, np.float64)
        return cls(scale, T_[:3, :3].copy(), T_[:3, 3].copy())

    @classmethod
    def from_log(cls, xi: ArrayLike) -> Sim3:
        """Exponential of the tangent vector (7,): translation, rotation (rad), log of the scale.

        GTSAM's `Similarity3` has the same tangent space with rotation first: (rotation, translation, log scale).
        """
        xi_ = np.asarray(xi, np.float64)
        rotvec, log_scale = xi_[3:6], float(xi_[6])
        return cls(math.exp(log_scale), se3.rotation_exp(rotvec), _translation_jacobian(rotvec, log_scale) @ xi_[:3])

    def log(self) -> Array:
        """Tangent vector (7,): translation, rotation (rad), log of the scale; the inverse of `from_log`."""
        rotvec, log_scale = se3.rotation_log(self.R), math.log(self.scale)
        rho = np.linalg.solve(_translation_jacobian(rotvec, log_scale), self.t)
        return np.concatenate([rho, rotvec, [log_scale]])

    @property
    def matrix(self) -> Array:
        """Homogeneous matrix (4, 4): [scale · R, t; 0, 1]."""
        return se3.se3(self.scale * self.R, self.t)

    def inverse(self) -> Sim3:
        """`S_b_a` of `S_a_b`."""
        R_inverse = self.R.T
        return Sim3(1.0 / self.scale, R_inverse, -(R_inverse @ self.t) / self.scale)

    def adjoint(self) -> Array:
        """Ad (7, 7): `S @ Sim3.from_log(δ) @ S.inverse()` is `Sim3.from_log(S.adjoint() @ δ)`."""
        matrix = np.eye(7)
        matrix[:3, :3] = self.scale * self.R
        matrix[:3, 3:6] = se3.hat(self.t) @ self.R
        matrix[:3, 6] = -self.t
        matrix[3:6, 3:6] = self.R
        return matrix

    def __matmul__(self, other: Sim3) -> Sim3:
        return Sim3(self.scale * other.scale, self.R @ other.R, self.scale * (self.R @ other.t) + self.t)

    def apply(self, points: ArrayLike) -> Array:
        """Points (..., 3) in frame b as (..., 3) float64 in frame a."""
        return np.asarray(points, np.float64) @ (self.scale * self.R.T) + self.t

    def apply_pose(self, T: ArrayLike) -> Array:
        """Rigid poses T_b_c (..., 4, 4) as T_a_c: the scale goes into the translation, c keeps frame a's unit."""
        T_ = np.asarray(T, np.float64)
        return se3.se3(self.R @ T_[..., :3, :3], self.apply(T_[..., :3, 3]))


def _translation_jacobian(rotvec: Array, log_scale: float) -> Array:
    """V (3, 3) = ∫₀¹ exp(τ (λ I + [ω]×)) dτ.

    The matrix is normal, so that V follows from its eigenvalues: λ along the axis, λ ± i |ω| across it.
    """
    angle = float(np.linalg.norm(rotvec))
    axis = rotvec / angle if angle > 0.0 else np.zeros(3)
    along, across = _mean_exponential(complex(log_scale)), _mean_exponential(complex(log_scale, angle))
    on_axis = np.outer(axis, axis)
    return along.real * on_axis + across.real * (np.eye(3) - on_axis) + across.imag * se3.hat(axis)


def _mean_exponential(z: complex) -> complex:
    """∫₀¹ exp(τ z) dτ."""
    return complex(np.expm1(z) / z) if abs(z) > _SMALL else 1.0 + z / 2.0


def rows_of(transforms: Iterable[Sim3]) -> Array:
    """Similarities as rows (n, 13) of plain numbers: scale, R row by row, t."""
    return np.array([[S.scale, *S.R.ravel(), *S.t] for S in transforms], np.float64).reshape(-1, 13)


def similarity_of(row: Array) -> Sim3:
    """The similarity of one row (13,) of `rows_of`."""
    return Sim3(float(row[0]), row[1:10].reshape(3, 3).copy(), row[10:].copy())


def largest_change(before: Mapping[int, Sim3], after: Mapping[int, Sim3]) -> float:
    """The largest difference in any rotation entry, scale ratio or translation (in map units)."""
    old, new = rows_of(before.values()), rows_of(after.values())
    return float(np.abs(np.concatenate([(new[:, :1] / old[:, :1] - 1), new[:, 1:] - old[:, 1:]], axis=1)).max())
