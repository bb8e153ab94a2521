"""The points that a chunk saw anew, thinned, for planners that look no farther than around the robot."""

from __future__ import annotations

import numpy as np

from scal3r_ros.geometry.sim3 import Sim3
from scal3r_ros.mapping.cloud.voxels import Samples, voxel_keys, voxel_means
from scal3r_ros.mapping.submaps.points import coloured_points
from scal3r_ros.mapping.values import PointCloud
from scal3r_ros.reconstruction.protocol import Chunk, ChunkGeometry


def thinned_points(
    chunk: Chunk, geometry: ChunkGeometry, S_odom_submap: Sim3, voxel_size: float, min_confidence: float
) -> PointCloud:
    """One point a voxel of the confident points of the frames that the chunk does not share, in `odom`."""
    seen = coloured_points(chunk, geometry, min_confidence)
    points = S_odom_submap.apply(seen.points)
    keys = voxel_keys(points, voxel_size)
    inside = keys >= 0
    if not inside.any():
        return PointCloud.empty()
    rows = np.flatnonzero(inside)
    normals = seen.surface.normals @ S_odom_submap.R.T
    samples = Samples(points, normals, seen.colours, seen.weights, seen.surface.distances)
    _, means = voxel_means(keys[rows], samples.take(rows))
    return PointCloud(means.points.astype(np.float32), means.colours, means.normals.astype(np.float32))
