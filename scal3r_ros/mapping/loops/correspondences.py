"""The similarity between two submaps from matched image points, each with its depth in its own submap.

Minimal samples of three points (Umeyama, 1991) with a fixed seed give a start that wrong matches do not move; then
Gauss–Newton on what both sides' cameras see of each other's points, and on the ratio of depths.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.geometry import se3
from scal3r_ros.geometry.alignment import fit_triples
from scal3r_ros.geometry.sim3 import Sim3

Array = NDArray[np.float64]

SAMPLES = 300
MIN_SCALE = 1e-3
"""Scale of a sample below which its points do not correspond."""
INLIER_SIGMAS = 4.0
COVARIANCE_INFLATION = 4.0
"""Points that share one independent error."""
_MOST_POINTS = 500
_ROUNDS = 4
_STEPS = 6
_STEP = 1e-6


@dataclass(frozen=True, eq=False)
class Correspondences:
    """Scene points seen from two submaps, n of them; each side in its own frame and unit.

    `points` (n, 3) are the points, `A` (n, 3, 3) and `b` (n, 3) turn them into camera coordinates A p + b of the camera
    that saw each, `rays` (n, 2) where it saw them on the z = 1 plane, with standard deviation `sigma` (n,) there;
    `depth_sigma` is one standard deviation of their depths, relative to them.
    """

    points: Array
    A: Array
    b: Array
    rays: Array
    sigma: Array
    depth_sigma: float = 0.05

    def centres(self) -> Array:
        """Camera centres (n, 3)."""
        squared_scale = np.square(self.A).sum(axis=(1, 2)) / 3.0
        return np.asarray(-np.einsum("nji,nj->ni", self.A, self.b) / squared_scale[:, None])

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> Correspondences:
        """Some of them."""
        return Correspondences(
            self.points[rows], self.A[rows], self.b[rows], self.rays[rows], self.sigma[rows], self.depth_sigma
        )


@dataclass(frozen=True, eq=False)
class LoopPose:
    """`S_old_new` and `covariance` (7, 7) of δ in `S_old_new @ Sim3.from_log(δ)`; which of the points agree.

    `inliers` (n,) bool; `residual` is the root mean square of their distances in the images, in standard deviations.
    """

    S_old_new: Sim3
    covariance: Array
    inliers: NDArray[np.bool_]
    residual: float


def fit_loop(old: Correspondences, new: Correspondences) -> LoopPose | None:
    """The similarity with the most inliers; None where there are fewer than six. Deterministic."""
    count = len(old.points)
    if count < 6:
        return None
    if count > _MOST_POINTS:
        some = np.linspace(0, count - 1, _MOST_POINTS).astype(np.intp)
        found = fit_loop(old.take(some), new.take(some))
        if found is None:
            return None
        errors = _image_errors(found.S_old_new, *_with_depth_errors(found.S_old_new, old, new))
        inliers = errors < INLIER_SIGMAS
        return LoopPose(found.S_old_new, found.covariance, inliers, found.residual)
    unit = float(np.median(np.linalg.norm(new.points - np.median(new.points, axis=0), axis=1))) or 1.0
    S = _best_sample(old, new)
    if S is None:
        return None
    sides = _with_depth_errors(S, old, new)
    inliers = _image_errors(S, *sides) < 2.0 * INLIER_SIGMAS
    for _ in range(_ROUNDS):
        if np.count_nonzero(inliers) < 6:
            return None
        S = _refined(S, sides[0].take(inliers), sides[1].take(inliers), unit)
        sides = _with_depth_errors(S, old, new)
        inliers = _image_errors(S, *sides) < INLIER_SIGMAS
    if np.count_nonzero(inliers) < 6:
        return None
    errors = _image_errors(S, *sides)[inliers]
    covariance = _covariance(S, sides[0].take(inliers), sides[1].take(inliers), unit)
    return LoopPose(S, covariance, inliers, float(np.sqrt(np.mean(np.square(errors)))))


def _with_depth_errors(S: Sim3, old: Correspondences, new: Correspondences) -> tuple[Correspondences, Correspondences]:
    """Both sides, `sigma` widened by how far the depth error of the other side moves each point."""
    return (
        replace(old, sigma=_widened(old, S.apply(new.points), S.apply(new.centres()))),
        replace(new, sigma=_widened(new, S.inverse().apply(old.points), S.inverse().apply(old.centres()))),
    )


def _widened(by: Correspondences, points: Array, centres: Array) -> Array:
    local = np.einsum("nij,nj->ni", by.A, points) + by.b
    along = np.einsum("nij,nj->ni", by.A, points - centres)
    z = np.maximum(local[:, 2], 1e-9)[:, None]
    moved = (along[:, :2] - local[:, :2] / z * along[:, 2:]) / z
    return np.asarray(np.hypot(by.sigma, by.depth_sigma * np.linalg.norm(moved, axis=1)))


def _image_errors(S: Sim3, old: Correspondences, new: Correspondences) -> Array:
    """The larger of both distances (n,) in the images, in standard deviations; infinite behind a camera."""
    return np.maximum(_seen_errors(S.apply(new.points), old), _seen_errors(S.inverse().apply(old.points), new))


def _seen_errors(points: Array, by: Correspondences) -> Array:
    """How far points (…, n, 3), in the frame of `by`, are from where its cameras saw them (…, n)."""
    local = np.einsum("nij,...nj->...ni", by.A, points) + by.b
    z = local[..., 2]
    offset = local[..., :2] / np.where(z > 1e-9, z, 1.0)[..., None] - by.rays
    return np.where(z > 1e-9, np.linalg.norm(offset, axis=-1) / by.sigma, np.inf)


def _best_sample(old: Correspondences, new: Correspondences) -> Sim3 | None:
    """Of similarities through three points each, the one with which most agree, by a bounded loss."""
    rng = np.random.default_rng(0)
    triples = np.stack([rng.choice(len(old.points), 3, replace=False) for _ in range(SAMPLES)])
    scales, R, t, usable = fit_triples(new.points[triples], old.points[triples])
    usable &= scales > MIN_SCALE
    if not usable.any():
        return None
    scales, R, t = scales[usable], R[usable], t[usable]
    there = scales[:, None, None] * np.einsum("hij,nj->hni", R, new.points) + t[:, None]
    back = np.einsum("hji,hnj->hni", R, old.points[None] - t[:, None]) / scales[:, None, None]
    errors = np.maximum(_seen_errors(there, old), _seen_errors(back, new))
    cost = np.minimum(np.square(errors / (2.0 * INLIER_SIGMAS)), 1.0).sum(axis=1)
    best = int(np.argmin(cost))
    return Sim3(float(scales[best]), R[best], t[best])


def _residuals(S: Sim3, old: Correspondences, new: Correspondences) -> Array:
    """Whitened residuals (n, 5): both image errors and the log ratio of depths."""
    parts = []
    for points, own, by in ((S.apply(new.points), old.points, old), (S.inverse().apply(old.points), new.points, new)):
        local = np.einsum("nij,nj->ni", by.A, points) + by.b
        z = np.maximum(local[:, 2], 1e-9)
        parts.append((local[:, :2] / z[:, None] - by.rays) / by.sigma[:, None])
        if by is old:
            measured = np.einsum("nj,nj->n", by.A[:, 2], own) + by.b[:, 2]
            ratio = np.log(z / np.maximum(measured, 1e-9)) / np.hypot(old.depth_sigma, new.depth_sigma)
    return np.concatenate([*parts, ratio[:, None]], axis=1)


def _jacobian(S: Sim3, old: Correspondences, new: Correspondences, scaling: Array) -> Array:
    """Derivatives (n, 5, 7) with respect to δ / `scaling` in S @ Sim3.from_log(δ)."""
    columns = []
    for k in range(7):
        delta = np.zeros(7)
        delta[k] = _STEP * scaling[k]
        ahead = _residuals(S @ Sim3.from_log(delta), old, new)
        behind = _residuals(S @ Sim3.from_log(-delta), old, new)
        columns.append((ahead - behind) / (2.0 * _STEP))
    return np.stack(columns, axis=-1)


def _weights(residuals: Array) -> Array:
    """Huber's weights (n, 3) of the image errors on both sides and the depth."""
    sizes = np.stack(
        [np.linalg.norm(residuals[:, :2], axis=1), np.linalg.norm(residuals[:, 2:4], axis=1), np.abs(residuals[:, 4])],
        axis=1,
    )
    return np.minimum(1.0, 1.5 / np.maximum(sizes, 1e-9))


def _normal(S: Sim3, old: Correspondences, new: Correspondences, scaling: Array) -> tuple[Array, Array, Array, Array]:
    residuals, J = _residuals(S, old, new), _jacobian(S, old, new, scaling)
    w = np.repeat(_weights(residuals), [2, 2, 1], axis=1)
    H = np.einsum("nk,nki,nkj->ij", w, J, J)
    return H, np.einsum("nk,nki,nk->i", w, J, residuals), residuals, w


def _scaling(unit: float) -> Array:
    return np.array([unit] * 3 + [1.0] * 4)


def _refined(S: Sim3, old: Correspondences, new: Correspondences, unit: float) -> Sim3:
    scaling = _scaling(unit)
    for _ in range(_STEPS):
        H, g, _, _ = _normal(S, old, new, scaling)
        step = -np.linalg.solve(H + 1e-6 * np.trace(H) * np.eye(7), g)
        step *= min(1.0, 0.3 / max(float(np.abs(step).max()), 1e-12))
        S = S @ Sim3.from_log(step * scaling)
        if np.abs(step).max() < 1e-7:
            break
    return Sim3(S.scale, se3.rotation_exp(se3.rotation_log(S.R)), S.t)


def _covariance(S: Sim3, old: Correspondences, new: Correspondences, unit: float) -> Array:
    scaling = _scaling(unit)
    H, _, residuals, w = _normal(S, old, new, scaling)
    surplus = max(residuals.size - 7, 1)
    variance = max(1.0, float((w * np.square(residuals)).sum()) / surplus)
    inverse = np.linalg.inv(H + 1e-9 * np.trace(H) * np.eye(7))
    return np.asarray(COVARIANCE_INFLATION * variance * scaling[:, None] * inverse * scaling)
