"""Robust similarity alignment of point sets and camera poses, with the covariance of the result.

The inner step is Umeyama's closed form (1991); around it, weights are re-estimated from residuals (Huber, 1964), and
a few minimal samples drawn with a fixed seed give a start that gross outliers cannot reach.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scal3r_ros.errors import GeometryError
from scal3r_ros.geometry import se3
from scal3r_ros.geometry.sim3 import Sim3

Array = NDArray[np.float64]

_MAD_TO_SIGMA = 1.4826
_OUTLIER_SIGMAS = 3.0
"""Residuals beyond this multiple of their robust scale have no say in the fit, and do not count as inliers."""
_SAMPLES = 64
_SAMPLE_POINTS = 512
_MIN_SPREAD = 1e-6
"""Spread of points across their main line, relative to that along it, below which they are collinear."""
_CONVERGED = 1e-10
_NO_POSES = np.zeros((0, 4, 4))


@dataclass(frozen=True, eq=False)
class Sim3Fit:
    """A similarity from source to target, and how well it fits.

    Residuals are distances in the target's unit: their weighted root mean square over the inliers, and their median
    over all points. `covariance` (7, 7) is that of δ in `transform @ Sim3.from_log(δ)` (order of `Sim3.log`), for
    independent errors; its last row and column are zero where no scale was estimated. `count` is the number of points.
    """

    transform: Sim3
    residual_rms: float
    residual_median: float
    inlier_fraction: float
    covariance: Array
    count: int


@dataclass(frozen=True, eq=False)
class _Problem:
    """Points with inverse variances `w` up to a common factor; `M` (3, 3) sums weighted relative rotations.

    `rotation_weight` is the summed inverse variance (1/rad²) behind `M`; `symmetric` puts errors on both sides.
    """

    x: Array
    y: Array
    w: Array
    M: Array
    rotation_weight: float
    with_scale: bool
    symmetric: bool

    def solve(self, robust: Array, start: Sim3) -> Sim3:
        """The weighted least-squares similarity; `start` gives the scale at which rotations and points are balanced."""
        w = self.w * robust
        total = w.sum()
        x_mean, y_mean = w @ self.x / total, w @ self.y / total
        x, y = self.x - x_mean, self.y - y_mean
        C = (w[:, None] * y).T @ x
        U, _, Vt = np.linalg.svd(start.scale * C + self.M)
        R = U @ np.diag([1.0, 1.0, np.sign(np.linalg.det(U @ Vt))]) @ Vt
        scale = 1.0
        if self.with_scale:
            energy_x, energy_y = w @ np.square(x).sum(axis=1), w @ np.square(y).sum(axis=1)
            scale = np.sqrt(energy_y / energy_x) if self.symmetric else np.trace(R.T @ C) / energy_x
        if not np.isfinite(scale) or scale <= 0:
            raise GeometryError("the points to align do not agree on any positive scale; they do not correspond")
        return Sim3(float(scale), R, y_mean - scale * (R @ x_mean))

    def residuals(self, transform: Sim3) -> Array:
        """Distances (n,) in the target's unit."""
        return np.asarray(np.linalg.norm(self.y - transform.apply(self.x), axis=1))

    def covariance(self, transform: Sim3, robust: Array) -> Array:
        """Covariance (7, 7) in the tangent space at `transform`, from the spread of the weighted residuals."""
        w = self.w * robust
        total = w.sum()
        mean = w @ self.x / total
        x = self.x - mean
        J = np.zeros((len(x), 3, 7))
        J[:, :, :3] = np.eye(3)
        J[:, :, 3:6] = -se3.hat(x)
        J[:, :, 6] = x
        J *= transform.scale
        information = np.einsum("n,nij,nik->jk", w, J, J)
        information[3:6, 3:6] += self.rotation_weight * np.eye(3)
        freedom = 7 if self.with_scale else 6
        surplus = max(3.0 * robust.sum() - freedom, 1.0)
        variance = float(w @ np.square(self.residuals(transform))) / surplus
        centred = np.zeros((7, 7))
        centred[:freedom, :freedom] = variance * np.linalg.inv(information[:freedom, :freedom])
        # Moving the source's origin from the mean of the points back to zero changes only how δ moves points.
        shift = np.eye(7)
        shift[:3, 3:6] = se3.hat(mean)
        shift[:3, 6] = -mean
        return shift @ centred @ shift.T


def align_sim3(
    source_points: ArrayLike,
    target_points: ArrayLike,
    weights: ArrayLike | None = None,
    source_poses: ArrayLike = _NO_POSES,
    target_poses: ArrayLike = _NO_POSES,
    *,
    pose_weight: float = 1.0,
    rotation_weight: float = 1.0,
    with_scale: bool = True,
    symmetric: bool = False,
    huber_k: float = 1.345,
    iterations: int = 50,
) -> Sim3Fit:
    """The similarity S_target_source of corresponding points and poses, robust to a third of them being wrong.

    Points (n, 3) with inverse variances `weights` (n,) of the target, up to a common factor, equal where None; camera
    poses (m, 4, 4) that both sides know. Either may be empty. Camera centres join the points with inverse variance
    `pose_weight`; `rotation_weight` is that of one orientation about each axis (1/rad²); both share the common factor
    of `weights`. Residuals and counts are of points and centres. With `symmetric` the errors are taken to be alike on
    both sides, each in its own unit (Horn, 1987): chained alignments of noisy points would else shrink. `huber_k` is in
    robust standard deviations of the residual distance. Deterministic.

    Raises:
        GeometryError: shapes differ, a value is not finite, or the points and poses leave scale or rotation open.
    """
    source_T, target_T = np.asarray(source_poses, np.float64), np.asarray(target_poses, np.float64)
    if source_T.shape != target_T.shape or source_T.ndim != 3 or source_T.shape[1:] != (4, 4):
        raise GeometryError(f"poses to align have shapes {source_T.shape} and {target_T.shape}, not (m, 4, 4) twice")
    x, y, w = _checked(source_points, target_points, weights)
    x = np.concatenate([x, source_T[:, :3, 3]])
    y = np.concatenate([y, target_T[:, :3, 3]])
    w = np.concatenate([w, np.full(len(source_T), pose_weight)])
    x, y, w = _checked(x, y, w)
    relative = target_T[:, :3, :3] @ np.swapaxes(source_T[:, :3, :3], 1, 2)
    if not np.all(np.isfinite(relative)):
        raise GeometryError("an orientation to align is not finite")
    if not len(source_T):
        if len(x) < 3:
            raise GeometryError(f"only {len(x)} points to align; without poses a similarity takes at least 3 points")
        if _collinear(x, w) or _collinear(y, w):
            raise GeometryError("the points to align are collinear, so that the rotation about their line is unknown")
    if len(x) == 0 or (with_scale and (np.ptp(x, axis=0).max() <= 0 or np.ptp(y, axis=0).max() <= 0)):
        raise GeometryError("the poses and points to align lie at a single position, so that their scale is unknown")
    # |R_t − R R_s|² is twice the squared angle between the two, hence the half.
    M = 0.5 * rotation_weight * relative.sum(axis=0)
    problem = _Problem(x, y, w, M, rotation_weight * len(relative), with_scale, symmetric)
    return _fit(problem, huber_k, iterations)


def _fit(problem: _Problem, huber_k: float, iterations: int) -> Sim3Fit:
    transform = _robust_start(problem)
    whitening = np.sqrt(problem.w / problem.w.mean())
    floor = 1e-12 * max(float(np.abs(problem.y).max()), 1e-300)
    robust = np.ones(len(problem.x))
    whitened = whitening * problem.residuals(transform)
    scale = max(_MAD_TO_SIGMA * float(np.median(whitened)), floor)
    for _ in range(iterations):
        inlier = whitened <= _OUTLIER_SIGMAS * scale
        robust = np.minimum(1.0, huber_k * scale / np.maximum(whitened, floor)) * inlier
        updated = problem.solve(robust, transform)
        moved = np.abs((transform.inverse() @ updated).log()).max()
        transform = updated
        whitened = whitening * problem.residuals(transform)
        scale = max(_MAD_TO_SIGMA * float(np.median(whitened)), floor)
        if moved < _CONVERGED * (1.0 + np.abs(transform.t).max()):
            break
    distances = problem.residuals(transform)
    weight = problem.w * robust
    return Sim3Fit(
        transform=transform,
        residual_rms=float(np.sqrt(weight @ np.square(distances) / weight.sum())),
        residual_median=float(np.median(distances)),
        inlier_fraction=float(np.mean(whitened <= _OUTLIER_SIGMAS * scale)),
        covariance=problem.covariance(transform, robust),
        count=len(distances),
    )


def _robust_start(problem: _Problem) -> Sim3:
    """Of the least-squares fit and fits to random triples, the one with the least median residual (Rousseeuw, 1984)."""
    ones = np.ones(len(problem.x))
    best = problem.solve(ones, Sim3.identity())
    best = problem.solve(ones, best)
    generator = np.random.default_rng(0)
    few = generator.permutation(len(problem.x))[:_SAMPLE_POINTS]
    if len(few) < 4:
        return best
    x, y, whitening = problem.x[few], problem.y[few], np.sqrt(problem.w[few])
    least = float(np.median(whitening * np.linalg.norm(y - best.apply(x), axis=1)))
    triples = np.stack([generator.choice(len(few), 3, replace=False) for _ in range(_SAMPLES)])
    scales, R, t, usable = fit_triples(x[triples], y[triples], problem.with_scale)
    predicted = scales[:, None, None] * (x @ np.swapaxes(R, 1, 2)) + t[:, None]
    medians = np.median(whitening * np.linalg.norm(y - predicted, axis=2), axis=1)
    medians[~usable] = np.inf
    winner = int(np.argmin(medians))
    if medians[winner] < least:
        return Sim3(float(scales[winner]), R[winner], t[winner])
    return best


def fit_triples(x: Array, y: Array, with_scale: bool = True) -> tuple[Array, Array, Array, NDArray[np.bool_]]:
    """Umeyama's fit (1991) of each of m samples of three points (m, 3, 3), target `y` from source `x`.

    Gives scales (m,), R (m, 3, 3), t (m, 3), and which (m,) are usable: of points that are not on a line, and a
    positive scale.
    """
    x_mean, y_mean = x.mean(axis=1), y.mean(axis=1)
    x, y = x - x_mean[:, None], y - y_mean[:, None]
    C = np.swapaxes(y, 1, 2) @ x
    U, D, Vt = np.linalg.svd(C)
    sign = np.ones((len(x), 3))
    sign[:, 2] = np.sign(np.linalg.det(U @ Vt))
    R = (U * sign[:, None]) @ Vt
    energy = np.square(x).sum(axis=(1, 2))
    usable = (energy > 0) & (D[:, 1] > _MIN_SPREAD**2 * D[:, 0])
    scales = np.ones(len(x))
    if with_scale:
        scales = (D * sign).sum(axis=1) / np.where(energy > 0, energy, 1.0)
        usable &= scales > 0
    return scales, R, y_mean - scales[:, None] * (R @ x_mean[..., None])[..., 0], usable


def _checked(source: ArrayLike, target: ArrayLike, weights: ArrayLike | None) -> tuple[Array, Array, Array]:
    x, y = np.asarray(source, np.float64), np.asarray(target, np.float64)
    if x.shape != y.shape or x.ndim != 2 or x.shape[1] != 3:
        raise GeometryError(f"points to align have shapes {x.shape} and {y.shape}, but both must be (n, 3)")
    w = np.ones(len(x)) if weights is None else np.asarray(weights, np.float64)
    if w.shape != (len(x),):
        raise GeometryError(f"weights of {len(x)} points to align have shape {w.shape}, but it must be ({len(x)},)")
    if not (np.all(np.isfinite(x)) and np.all(np.isfinite(y)) and np.all(np.isfinite(w))) or np.any(w < 0):
        raise GeometryError("points to align must be finite, with weights that are finite and not negative")
    used = w > 0
    return x[used], y[used], w[used]


def _collinear(points: Array, w: Array) -> bool:
    centred = (points - w @ points / w.sum()) * np.sqrt(w / w.max())[:, None]
    spread = np.linalg.svd(centred, compute_uv=False)
    return bool(spread[0] <= 0 or spread[1] <= _MIN_SPREAD * spread[0])
