"""Accuracy, completeness and F1 of a cloud against laser scans, as ETH3D's multi-view evaluation defines them.

Source: Schöps et al., A Multi-View Stereo Benchmark with High-Resolution Images and Multi-Camera Videos, CVPR 2017, and
its evaluation program (https://github.com/ETH3D/multi-view-evaluation), whose default values stand here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from scal3r_ros.errors import EvaluationError
from scal3r_ros.geometry import se3

Array = NDArray[np.float64]

TOLERANCES_M = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
"""Tolerances of ETH3D; its tables rank by 0.02."""
VOXEL_M = 0.01
"""Scores are means over voxels, so that dense parts count no more than sparse ones."""
GRID_SHIFTS = (0.0, 0.5)
BEAM_START_M = 0.5 * 0.00225
BEAM_HALF_ANGLE_DEG = 0.011
BATCH = 50_000


@dataclass(frozen=True, eq=False)
class LaserScan:
    """`points` (n, 3) in the scanner's own frame, its origin where the beams start, and `T_world_scan` (4, 4).

    Where no one knows from where a cloud was scanned, `T_world_scan` is None, and its points are in the world.
    """

    points: Array
    T_world_scan: Array | None

    @property
    def points_world(self) -> Array:
        """The points (n, 3) in the world."""
        if self.T_world_scan is None:
            return self.points
        moved: Array = self.points @ self.T_world_scan[:3, :3].T + self.T_world_scan[:3, 3]
        return moved


@dataclass(frozen=True)
class MultiViewScore:
    """At `tolerance_m`: the shares `accuracy` and `completeness` within it, and `f1`, their harmonic mean."""

    tolerance_m: float
    accuracy: float
    completeness: float
    f1: float


def score(
    scans: Sequence[LaserScan], points: Array, tolerances_m: Sequence[float] = TOLERANCES_M
) -> tuple[MultiViewScore, ...]:
    """The scores of reconstructed `points` (n, 3) in the world and metres, one a tolerance, smallest first.

    Completeness: the share of scan points with a reconstructed point within the tolerance. Accuracy: of the
    reconstructed points within a beam of a scanner, accurate are those within the tolerance of the point that the beam
    hit, inaccurate those in front of it otherwise; behind it and beside all beams nothing was observed, and the point
    does not count. A point is accurate if any scan says so, else inaccurate if any does. Without a known scanner a
    point within the bounding box of the cloud is accurate or inaccurate by its distance to it. Both are means over
    the voxels of two grids, one of them shifted by half a voxel.

    Raises:
        EvaluationError: no scan has points, or a tolerance is not positive.
    """
    limits = np.array(sorted(tolerances_m))
    truth = np.concatenate([np.zeros((0, 3)), *(scan.points_world for scan in scans)])
    if not len(truth) or not len(limits) or limits[0] <= 0:
        raise EvaluationError("clouds can only be compared with scans that have points, at tolerances above 0")
    if not len(points):
        return tuple(MultiViewScore(float(limit), 0.0, 0.0, 0.0) for limit in limits)
    away = cKDTree(points).query(truth, distance_upper_bound=float(limits[-1]) * (1 + 1e-12))[0]
    completeness = _voxel_mean(truth, away[:, None] <= limits, np.ones((len(truth), len(limits)), np.bool_))
    accurate, inaccurate = _classify(scans, points, limits)
    accuracy = _voxel_mean(points, accurate, accurate | inaccurate)
    return tuple(
        MultiViewScore(float(limit), float(a), float(c), float(2 * a * c / (a + c)) if a + c else 0.0)
        for limit, a, c in zip(limits, accuracy, completeness, strict=True)
    )


def chamfer_m(scans: Sequence[LaserScan], points: Array) -> float:
    """Mean of the two mean distances between the scans' points and the reconstructed `points` (n, 3), in metres."""
    truth = np.concatenate([scan.points_world for scan in scans])
    there, back = cKDTree(points).query(truth)[0], cKDTree(truth).query(points)[0]
    return float(there.mean() + back.mean()) / 2


def _classify(scans: Sequence[LaserScan], points: Array, limits: Array) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which points are accurate and which inaccurate (n, tolerances); the others were not observed."""
    nearest, in_front = np.full(len(points), np.inf), np.zeros(len(points), np.bool_)
    for scan in scans:
        if scan.T_world_scan is None:
            distance = cKDTree(scan.points).query(points)[0]
            low, high = scan.points.min(axis=0) - limits[-1], scan.points.max(axis=0) + limits[-1]
            in_front |= np.all((points >= low) & (points <= high), axis=1)
            nearest = np.minimum(nearest, distance)
            continue
        T_scan_world = se3.invert(scan.T_world_scan)
        local = points @ T_scan_world[:3, :3].T + T_scan_world[:3, 3]
        for start in range(0, len(points), BATCH):
            part = slice(start, start + BATCH)
            distance, before = _along_beams(scan.points, local[part])
            nearest[part] = np.minimum(nearest[part], distance)
            in_front[part] |= before
    accurate = nearest[:, None] <= limits
    return accurate, ~accurate & in_front[:, None]


def _along_beams(scan: Array, points: Array) -> tuple[Array, NDArray[np.bool_]]:
    """For points (n, 3) in the scanner's frame: the distance to the nearest scan point whose beam holds the point,
    infinite without one, and whether the point lies in front of any of them.
    """
    ranges = np.linalg.norm(scan, axis=1)
    hit = ranges > 0
    scan, ranges = scan[hit], ranges[hit]
    directions = scan / ranges[:, None]
    away = np.linalg.norm(points, axis=1)
    beam = BEAM_START_M + away * math.tan(math.radians(BEAM_HALF_ANGLE_DEG))
    # A ray passes within `beam` of a point where the sine of the angle between them is below beam / away.
    angle = np.where(away > beam, np.arcsin(np.minimum(1.0, beam / np.maximum(away, 1e-12))), math.pi / 2)
    towards = points / np.maximum(away, 1e-12)[:, None]
    found = cKDTree(directions).query_ball_point(towards, 2 * np.sin(angle / 2) * (1 + 1e-9) + 1e-12)
    counts = np.array([len(each) for each in found])
    point, ray = np.repeat(np.arange(len(points)), counts), np.concatenate([np.zeros(0, np.int64), *found]).astype(int)
    along = np.einsum("ij,ij->i", directions[ray], points[point])
    beside = np.linalg.norm(points[point] - along[:, None] * directions[ray], axis=1)
    inside = (along >= 0) & (beside <= beam[point])
    point, ray, along = point[inside], ray[inside], along[inside]
    nearest, in_front = np.full(len(points), np.inf), np.zeros(len(points), np.bool_)
    np.minimum.at(nearest, point, np.linalg.norm(scan[ray] - points[point], axis=1))
    in_front[point[along < ranges[ray]]] = True
    return nearest, in_front


def _voxel_mean(points: Array, good: NDArray[np.bool_], counted: NDArray[np.bool_]) -> Array:
    """Mean (tolerances,) over the voxels of both grids of the share of `counted` points (n, tolerances) that are
    `good`; voxels without a counted point do not count.
    """
    shares, voxels = np.zeros(good.shape[1]), np.zeros(good.shape[1])
    for shift in GRID_SHIFTS:
        cells = np.floor(points / VOXEL_M + shift).astype(np.int64)
        cells -= cells.min(axis=0)
        size = cells.max(axis=0) + 1
        _, voxel = np.unique((cells[:, 0] * size[1] + cells[:, 1]) * size[2] + cells[:, 2], return_inverse=True)
        for column in range(good.shape[1]):
            number = np.bincount(voxel, counted[:, column])
            of_them = np.bincount(voxel, good[:, column])
            shares[column] += (of_them[number > 0] / number[number > 0]).sum()
            voxels[column] += np.count_nonzero(number)
    return shares / np.maximum(voxels, 1)
