"""How well the map's points cover the true surfaces, and how far they lie from them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import open3d as o3d
from numpy.typing import NDArray

from scal3r_ros.evaluation.ground_truth import TrueDepth, Truth
from scal3r_ros.evaluation.metrics.depths import pose_at
from scal3r_ros.geometry import se3
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.geometry.projection import backproject, project
from scal3r_ros.geometry.sim3 import Sim3
from scal3r_ros.io.clouds.ply import Cloud

Points = NDArray[np.float64]

MOST_VIEWS = 300
MOST_PIXELS_PER_VIEW = 20_000
MOST_POINTS = 200_000
THRESHOLD_OF_MEDIAN_DEPTH = 0.02
RANGE_IN_MEDIAN_DEPTHS = 3.0
SEED = 0


@dataclass(frozen=True)
class CloudMetrics:
    """Distances in metres between the map and the true surfaces, both thinned to one point per voxel of half the
    threshold.

    `accuracy_*`: from the map's points to the truth; `completeness_*`: from the truth to the map. `precision` and
    `recall` are the fractions of them below `threshold_m`, `f1` their harmonic mean, `chamfer_m` the mean of the two
    mean distances. Only what lies within `range_m` of a true camera counts, and of the map only what a true depth image
    looks at.
    """

    threshold_m: float
    range_m: float
    true_points: int
    map_points: int
    accuracy_mean_m: float
    accuracy_median_m: float
    completeness_mean_m: float
    completeness_median_m: float
    precision: float
    recall: float
    f1: float
    chamfer_m: float


@dataclass(frozen=True)
class _View:
    """A true depth image thinned to at most `MOST_PIXELS_PER_VIEW`, with its camera and true pose."""

    depth_m: NDArray[np.float32]
    intrinsics: Intrinsics
    T_world_cam: NDArray[np.float64]


def compare_clouds(
    truth: Truth, cloud: Cloud | None, S_truth_map: Sim3, threshold_m: float | None = None, range_m: float | None = None
) -> CloudMetrics | None:
    """Compares the map with the true depth images, put where the camera truly was; None where one of them has no
    points.

    `threshold_m` is 2 % of the median true depth where it is not given, rounded to one digit (0.2 m in a street, 0.03 m
    at a desk); `range_m` three times that median: farther surfaces are few pixels that no camera measures well.

    Raises:
        EvaluationError: the truth has depth but no calibration.
        SequenceError: a true depth image is damaged.
    """
    if cloud is None:
        return None
    views = _views(truth)
    depths = np.concatenate([view.depth_m[view.depth_m > 0] for view in views] or [np.zeros(0, np.float32)])
    if not len(depths):
        return None
    median_m = float(np.median(depths))
    threshold_m = threshold_m or float(f"{THRESHOLD_OF_MEDIAN_DEPTH * median_m:.1g}")
    range_m = range_m or RANGE_IN_MEDIAN_DEPTHS * median_m
    true = thin(np.concatenate([_surface(view, range_m) for view in views]), threshold_m / 2)
    estimated = thin(S_truth_map.apply(cloud.points), threshold_m / 2)
    estimated = estimated[_looked_at(estimated, views, range_m)]
    if not len(estimated) or not len(true):
        return None
    return measure(true, estimated, threshold_m, range_m)


def measure(true: Points, estimated: Points, threshold_m: float, range_m: float = math.inf) -> CloudMetrics:
    """The metrics of two clouds (n, 3) and (m, 3) in the same frame, neither of them empty."""
    accuracy = distances(estimated, true)
    completeness = distances(true, estimated)
    precision, recall = float(np.mean(accuracy < threshold_m)), float(np.mean(completeness < threshold_m))
    return CloudMetrics(
        threshold_m=threshold_m,
        range_m=range_m,
        true_points=len(true),
        map_points=len(estimated),
        accuracy_mean_m=float(accuracy.mean()),
        accuracy_median_m=float(np.median(accuracy)),
        completeness_mean_m=float(completeness.mean()),
        completeness_median_m=float(np.median(completeness)),
        precision=precision,
        recall=recall,
        f1=2 * precision * recall / (precision + recall) if precision + recall else 0.0,
        chamfer_m=float(accuracy.mean() + completeness.mean()) / 2,
    )


def thin(points: Points, voxel_m: float) -> Points:
    """One point per voxel: the mean of those in it. Above `MOST_POINTS`, a drawing of them with a fixed seed."""
    thinned = np.asarray(_cloud(points).voxel_down_sample(voxel_m).points)
    # Open3D's voxels come in the order of a hash table, which no version promises.
    thinned = thinned[np.lexsort(thinned.T)]
    if len(thinned) > MOST_POINTS:
        chosen = np.random.default_rng(SEED).choice(len(thinned), MOST_POINTS, replace=False)
        thinned = thinned[np.sort(chosen)]
    return thinned


def distances(points: Points, others: Points) -> NDArray[np.float64]:
    """Distance (n,) of each of (n, 3) points to the nearest of `others` (m, 3)."""
    return np.asarray(_cloud(points).compute_point_cloud_distance(_cloud(others)))


def _cloud(points: Points) -> o3d.geometry.PointCloud:
    return o3d.geometry.PointCloud(o3d.utility.Vector3dVector(points))


def _views(truth: Truth) -> list[_View]:
    step = max(1, -(-truth.depth_count // MOST_VIEWS))
    views = []
    for index, true in enumerate(truth.depths()):
        pose = pose_at(truth.trajectory, true.stamp_ns, 0)
        if index % step == 0 and pose is not None:
            views.append(_thinned_view(true, pose))
    return views


def _thinned_view(true: TrueDepth, T_world_cam: NDArray[np.float64]) -> _View:
    step = max(1, math.ceil(math.sqrt(true.depth_m.size / MOST_PIXELS_PER_VIEW)))
    first = step // 2
    depth_m = true.depth_m[first::step, first::step].copy()
    camera, (height, width) = true.intrinsics, depth_m.shape
    thinned = Intrinsics(
        camera.fx / step, camera.fy / step, (camera.cx - first) / step, (camera.cy - first) / step, width, height
    )
    return _View(depth_m, thinned, T_world_cam)


def _surface(view: _View, range_m: float) -> Points:
    near = (view.depth_m > 0) & (view.depth_m <= range_m)
    points = backproject(view.depth_m, view.intrinsics)[near].astype(np.float64)
    return points @ view.T_world_cam[:3, :3].T + view.T_world_cam[:3, 3]


def _looked_at(points: Points, views: list[_View], range_m: float) -> NDArray[np.bool_]:
    """Which points (n, 3) lie within range on a pixel with true depth of some view: the others no truth can judge."""
    seen = np.zeros(len(points), np.bool_)
    for view in views:
        open_ = np.flatnonzero(~seen)
        T_cam_world = se3.invert(view.T_world_cam)
        uv, z = project(points[open_] @ T_cam_world[:3, :3].T + T_cam_world[:3, 3], view.intrinsics)
        ahead = (z > 0) & (z <= range_m)
        pixel = np.round(np.where(ahead[:, None], uv, -1.0)).astype(np.int64)
        inside = np.all((pixel >= 0) & (pixel < (view.intrinsics.width, view.intrinsics.height)), axis=1)
        hit = np.flatnonzero(inside)
        hit = hit[view.depth_m[pixel[hit, 1], pixel[hit, 0]] > 0]
        seen[open_[hit]] = True
    return seen
