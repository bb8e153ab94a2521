"""How far an estimated trajectory is from the true one: absolute and relative errors (evo), scale drift, coverage."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from evo.core import filters, metrics
from evo.core.trajectory import PosePath3D
from evo.core.units import Unit
from numpy.typing import NDArray

from scal3r_ros.evaluation.metrics.alignment import align_cameras, align_positions, apply, associate, evo_path
from scal3r_ros.geometry import se3
from scal3r_ros.geometry.sim3 import Sim3
from scal3r_ros.geometry.trajectory import Trajectory

Array = NDArray[np.float64]

RPE_ANGLE_DEG = 10.0
MOST_SCALE_WINDOWS = 20
FEWEST_WINDOW_POSES = 5


@dataclass(frozen=True)
class TrajectoryMetrics:
    """Errors of a trajectory, in metres of the truth; None where the path is too short to tell.

    `poses` of the estimate have a true counterpart, of `true_poses`: `coverage` is their ratio. `scale` is metres per
    map unit. `ate_sim3_*` are the distances after alignment with scale (what monocular mapping can be asked for),
    `ate_se3_*` without. The relative errors are means over all pairs of poses `rpe_distance_m` apart along the path:
    `rpe_translation_percent` of that distance and `rpe_rotation_deg_per_m`; `rpe_rotation_percent` is over pairs
    between which the camera turned by 10°, of that angle. `scale_drift` is the local scale at the end over that at the
    start, `scale_spread` the standard deviation of its logarithm.
    """

    poses: int
    true_poses: int
    coverage: float
    path_length_m: float
    scale: float
    ate_sim3_rmse_m: float
    ate_sim3_median_m: float
    ate_sim3_max_m: float
    ate_se3_rmse_m: float
    rpe_distance_m: float | None
    rpe_translation_percent: float | None
    rpe_rotation_deg_per_m: float | None
    rpe_rotation_percent: float | None
    scale_drift: float | None
    scale_spread: float | None


@dataclass(frozen=True)
class RelativeErrors:
    """Errors over pairs of poses `distance_m` apart: `at_m` (n,) where on the path each pair starts, and its errors
    (n,).
    """

    distance_m: float
    at_m: Array
    translation_percent: Array
    rotation_deg_per_m: Array


@dataclass(frozen=True)
class LocalScales:
    """`at_m` (n,) middle of each window along the true path; `ratio` (n,) of the window's scale to that of the whole
    path.
    """

    at_m: Array
    ratio: Array


@dataclass(frozen=True)
class TrajectoryComparison:
    """An estimate beside the truth, pose by pose, and what follows from it.

    `truth` and `aligned` are the common poses in the truth's frame and unit; `errors_m` (n,) their distances; `at_m`
    (n,) how far the camera had truly gone. `S_truth_map` is the alignment for clouds and pictures, by centres and
    viewing directions.
    """

    metrics: TrajectoryMetrics
    truth: Trajectory
    aligned: Trajectory
    S_truth_map: Sim3
    at_m: Array
    errors_m: Array
    relative: RelativeErrors | None
    local_scales: LocalScales


def compare_trajectories(
    truth: Trajectory, estimate: Trajectory, max_difference_s: float = 0.02
) -> TrajectoryComparison:
    """Compares the poses of both that were taken within `max_difference_s` of each other.

    Raises:
        EvaluationError: they do not overlap in time, share fewer than 3 poses, do not move, or are not finite.
    """
    true, estimated = associate(truth, estimate, max_difference_s)
    S_truth_map = align_positions(true, estimated, with_scale=True)
    aligned = apply(S_truth_map, estimated)
    ape = _absolute_error(true, aligned)
    ape_se3 = _absolute_error(true, apply(align_positions(true, estimated, with_scale=False), estimated))
    at_m = _travelled(true)
    relative = _relative_errors(true, aligned, at_m)
    scales = _local_scales(true, aligned, at_m)
    return TrajectoryComparison(
        metrics=TrajectoryMetrics(
            poses=len(true),
            true_poses=len(truth),
            coverage=len(true) / len(truth),
            path_length_m=float(at_m[-1]),
            scale=S_truth_map.scale,
            ate_sim3_rmse_m=float(ape.get_statistic(metrics.StatisticsType.rmse)),
            ate_sim3_median_m=float(ape.get_statistic(metrics.StatisticsType.median)),
            ate_sim3_max_m=float(ape.get_statistic(metrics.StatisticsType.max)),
            ate_se3_rmse_m=float(ape_se3.get_statistic(metrics.StatisticsType.rmse)),
            rpe_distance_m=None if relative is None else relative.distance_m,
            rpe_translation_percent=None if relative is None else float(relative.translation_percent.mean()),
            rpe_rotation_deg_per_m=None if relative is None else float(relative.rotation_deg_per_m.mean()),
            rpe_rotation_percent=_error_per_turn(true, aligned),
            scale_drift=float(scales.ratio[-1] / scales.ratio[0]) if len(scales.ratio) > 1 else None,
            scale_spread=float(np.std(np.log(scales.ratio))) if len(scales.ratio) > 1 else None,
        ),
        truth=true,
        aligned=aligned,
        S_truth_map=align_cameras(true, estimated),
        at_m=at_m,
        errors_m=np.asarray(ape.error, np.float64),
        relative=relative,
        local_scales=scales,
    )


def round_length(length: float) -> float:
    """The largest of …, 0.1, 0.2, 0.5, 1, 2, 5, 10, … that is not longer than `length` > 0."""
    power = 10.0 ** np.floor(np.log10(length) + 1e-9)
    return float(max(step for step in (1.0, 2.0, 5.0) if step * power <= length * (1 + 1e-9)) * power)


def _absolute_error(true: Trajectory, aligned: Trajectory) -> metrics.APE:
    ape = metrics.APE(metrics.PoseRelation.translation_part)
    ape.process_data((evo_path(true), evo_path(aligned)))
    return ape


def _relative_errors(true: Trajectory, aligned: Trajectory, at_m: Array) -> RelativeErrors | None:
    """Over a tenth of the path, rounded, but no less than five steps between poses, so that pairs of that length
    exist.
    """
    distance_m = round_length(max(at_m[-1] / 10, 5 * float(np.median(np.diff(at_m)))))
    paths = evo_path(true), evo_path(aligned)
    pairs = _pairs(paths[0], distance_m, Unit.meters, all_pairs=True)
    if not len(pairs):
        return None
    apart_m = at_m[pairs[:, 1]] - at_m[pairs[:, 0]]
    errors = {}
    for relation in (metrics.PoseRelation.translation_part, metrics.PoseRelation.rotation_angle_deg):
        rpe = metrics.RPE(relation, distance_m, Unit.meters, all_pairs=True, pairs_from_reference=True)
        rpe.process_data(paths)
        errors[relation] = np.asarray(rpe.error, np.float64) / apart_m
    return RelativeErrors(
        distance_m=distance_m,
        at_m=at_m[pairs[:, 0]],
        translation_percent=100 * errors[metrics.PoseRelation.translation_part],
        rotation_deg_per_m=errors[metrics.PoseRelation.rotation_angle_deg],
    )


def _error_per_turn(true: Trajectory, aligned: Trajectory) -> float | None:
    """Mean rotation error in percent of the angle turned, None where the camera hardly turns."""
    paths = evo_path(true), evo_path(aligned)
    pairs = _pairs(paths[0], RPE_ANGLE_DEG, Unit.degrees, all_pairs=False)
    if not len(pairs):
        return None
    R = true.T_ref_cam[:, :3, :3]
    steps_deg = np.degrees(se3.rotation_angle(np.swapaxes(R[:-1], 1, 2) @ R[1:]))
    turned_deg = np.concatenate([[0.0], np.cumsum(steps_deg)])
    rpe = metrics.RPE(
        metrics.PoseRelation.rotation_angle_deg, RPE_ANGLE_DEG, Unit.degrees, all_pairs=False, pairs_from_reference=True
    )
    rpe.process_data(paths)
    return float(np.mean(100 * np.asarray(rpe.error) / (turned_deg[pairs[:, 1]] - turned_deg[pairs[:, 0]])))


def _pairs(path: PosePath3D, delta: float, unit: Unit, all_pairs: bool) -> NDArray[np.int64]:
    """The index pairs (n, 2) that evo's RPE takes for the same arguments."""
    try:
        return np.array(metrics.id_pairs_from_delta(path.poses_se3, delta, unit, 0.1, all_pairs), np.int64)
    except filters.FilterException:  # evo's way of saying that there is no such pair
        return np.zeros((0, 2), np.int64)


def _local_scales(true: Trajectory, aligned: Trajectory, at_m: Array) -> LocalScales:
    """Scale of the estimate in windows of equal true length: the ratio of the spreads of its camera centres about their
    mean.
    """
    count = int(np.clip(len(true) // FEWEST_WINDOW_POSES, 1, MOST_SCALE_WINDOWS))
    edges = np.linspace(0.0, at_m[-1], count + 1)
    window = np.clip(np.searchsorted(edges, at_m, side="right") - 1, 0, count - 1)
    middles, ratios = [], []
    for index in range(count):
        inside = window == index
        if np.count_nonzero(inside) < FEWEST_WINDOW_POSES:
            continue
        spreads = [
            np.linalg.norm(T[inside, :3, 3] - T[inside, :3, 3].mean(axis=0))
            for T in (aligned.T_ref_cam, true.T_ref_cam)
        ]
        if min(spreads) > 0:
            middles.append((edges[index] + edges[index + 1]) / 2)
            ratios.append(spreads[0] / spreads[1])
    return LocalScales(np.array(middles), np.array(ratios))


def _travelled(trajectory: Trajectory) -> Array:
    steps = np.linalg.norm(np.diff(trajectory.T_ref_cam[:, :3, 3], axis=0), axis=1)
    return np.concatenate([[0.0], np.cumsum(steps)])
