"""Bundle adjustment of a chunk in GTSAM: known intrinsics, robust, with frames fixed where the chunk before has placed
them.
"""

from __future__ import annotations

from dataclasses import dataclass

import gtsam
import numpy as np
from gtsam.symbol_shorthand import L, X
from numpy.typing import NDArray

from scal3r_ros.reconstruction.geometric.triangulation import TrackTable


@dataclass(frozen=True)
class PosePrior:
    """What is known of a frame before the adjustment: its pose, and standard deviations of rotation (rad) and
    centre.
    """

    frame: int
    T_ref_cam: NDArray[np.float64]
    sigma_rotation: float
    sigma_centre: float


@dataclass(frozen=True)
class DistancePriors:
    """Distances of points from cameras as somebody else has measured them: `track`, `frame` and `distance` (k,) each.

    `sigma` is one standard deviation as a share of the distance; what is farther off than that counts less and less
    (Cauchy), so that wrong ones do no harm.
    """

    track: NDArray[np.int64]
    frame: NDArray[np.int64]
    distance: NDArray[np.float64]
    sigma: float


@dataclass(frozen=True)
class Adjusted:
    """`T_ref_cam` (s, 4, 4) and `points` (n, 3), n as in the table, after `iterations` steps; `error` is GTSAM's
    final cost.
    """

    T_ref_cam: NDArray[np.float64]
    points: NDArray[np.float64]
    iterations: int
    error: float


def adjust(
    table: TrackTable,
    T_ref_cam: NDArray[np.float64],
    points: NDArray[np.float64],
    priors: list[PosePrior],
    *,
    sigma: float,
    max_iterations: int,
    baseline: tuple[int, int, float] | None = None,
    distances: DistancePriors | None = None,
) -> Adjusted:
    """Levenberg–Marquardt over all poses and points seen in `table`.

    `sigma` is one standard deviation of an image point on the z = 1 plane; residuals beyond 1.345 of it count
    linearly (Huber).
    `baseline` (i, j, length) holds the distance of two cameras where no prior fixes the scale; `distances` of tracks
    that `table` holds fix it too. Steps are taken one by one, so that other threads of the process run in between.
    """
    graph, values = gtsam.NonlinearFactorGraph(), gtsam.Values()
    camera = gtsam.Cal3_S2(1.0, 1.0, 0.0, 0.0, 0.0)
    noise = gtsam.noiseModel.Robust.Create(
        gtsam.noiseModel.mEstimator.Huber.Create(1.345), gtsam.noiseModel.Isotropic.Sigma(2, sigma)
    )
    for track, frame, xy in zip(table.track.tolist(), table.frame.tolist(), table.xy, strict=True):
        graph.add(gtsam.GenericProjectionFactorCal3_S2(xy, noise, X(frame), L(track), camera))
    frames = np.unique(np.concatenate([table.frame, [prior.frame for prior in priors]]).astype(int))
    for frame in frames.tolist():
        values.insert(X(frame), gtsam.Pose3(T_ref_cam[frame]))
    used = np.unique(table.track)
    for track in used.tolist():
        values.insert(L(track), points[track])
    for prior in priors:
        sigmas = np.repeat([prior.sigma_rotation, prior.sigma_centre], 3)
        graph.add(
            gtsam.PriorFactorPose3(
                X(prior.frame), gtsam.Pose3(prior.T_ref_cam), gtsam.noiseModel.Diagonal.Sigmas(sigmas)
            )
        )
    if baseline is not None:
        i, j, length = baseline
        graph.add(gtsam.RangeFactorPose3(X(i), X(j), length, gtsam.noiseModel.Isotropic.Sigma(1, 1e-4 * length)))
    if distances is not None:
        for track, frame, distance in zip(
            distances.track.tolist(), distances.frame.tolist(), distances.distance, strict=True
        ):
            graph.add(gtsam.RangeFactor3D(X(frame), L(track), distance, _share_of(distance, distances.sigma)))
    parameters = gtsam.LevenbergMarquardtParams()
    parameters.setMaxIterations(max_iterations)
    parameters.setlambdaInitial(1e-4)
    optimizer = gtsam.LevenbergMarquardtOptimizer(graph, values, parameters)
    before, iterations = optimizer.error(), 0
    while iterations < max_iterations:
        optimizer.iterate()
        iterations += 1
        after = optimizer.error()
        if before - after < 1e-4 * max(before, 1e-12):
            break
        before = after
    result = optimizer.values()
    adjusted_T, adjusted_points = T_ref_cam.copy(), points.copy()
    for frame in frames.tolist():
        adjusted_T[frame] = result.atPose3(X(frame)).matrix()
    for track in used.tolist():
        adjusted_points[track] = result.atPoint3(L(track))
    return Adjusted(adjusted_T, adjusted_points, iterations, optimizer.error())


def _share_of(distance: float, sigma: float) -> gtsam.noiseModel.Base:
    return gtsam.noiseModel.Robust.Create(
        gtsam.noiseModel.mEstimator.Cauchy.Create(1.0), gtsam.noiseModel.Isotropic.Sigma(1, sigma * distance)
    )
