"""The points that a chunk saw anew, thinned, for planners that look no farther than around the robot."""

from __future__ import annotations

import numpy as np

from scal3r_ros.geometry.sim3 import Sim3
from scal3r_ros.mapping.cloud.voxels import Samples, voxel_keys, voxel_means
from scal3r_ros.mapping.values import PointCloud


def thinned(seen: PointCloud, S_odom_submap: Sim3, voxel_size: float) -> PointCloud:
    """One point a voxel of what a submap saw, given in its own frame with normals and confidence, in `odom`."""
    keys = voxel_keys(points := S_odom_submap.apply(seen.points), voxel_size)
    inside = np.flatnonzero(keys >= 0)
    if seen.normals is None or seen.confidence is None or not len(inside):
        return PointCloud.empty()
    nowhere = np.zeros(len(keys), np.float32)  # from how far a point was seen does not matter here
    samples = Samples(points, seen.normals @ S_odom_submap.R.T, seen.colours, seen.confidence, nowhere)
    _, means = voxel_means(keys[inside], samples.take(inside))
    return PointCloud(means.points.astype(np.float32), means.colours, means.normals.astype(np.float32))
