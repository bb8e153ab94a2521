"""The points that a chunk saw anew, thinned, for planners that look no farther than around the robot."""

from __future__ import annotations

import numpy as np

from scal3r_ros.geometry.sim3 import Sim3
from scal3r_ros.mapping.cloud.voxels import voxel_keys, voxel_means
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
        return PointCloud(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint8))
    voxels, means = voxel_means(keys[inside], points[inside], seen.colours[inside], seen.weights[inside])
    return PointCloud(means.astype(np.float32), voxels.colour)
