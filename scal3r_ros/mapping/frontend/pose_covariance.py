"""The covariance of a pose at camera rate."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.geometry import se3
from scal3r_ros.mapping.frontend.tracker import Tracked
from scal3r_ros.mapping.submaps.submap import PlacedSubmap
from scal3r_ros.mapping.submaps.uncertainty import camera_covariance
from scal3r_ros.mapping.values import PoseSource

Array = NDArray[np.float64]


def pose_covariance(submap: PlacedSubmap, tracked: Tracked, offset: Array) -> tuple[Array, float]:
    """Covariance (6, 6) of a pose in `odom` as `FramePose` has it, and the standard deviation of its log scale.

    The submap's own, with what the way beyond its last camera adds; that of the pose against the submap's points; and
    `offset` (4, 4), by which the pose given out is not the corrected one yet.
    """
    beyond = np.zeros(3)
    if tracked.source is not PoseSource.CHUNK:
        beyond = submap.S_odom_submap.inverse().apply(tracked.T_ref_cam[:3, 3]) - submap.last_centre
    of_submap = submap.covariance + submap.growth * float(np.linalg.norm(beyond))
    missing = np.concatenate(
        [tracked.T_ref_cam[:3, :3] @ offset[:3, 3], tracked.T_ref_cam[:3, :3] @ se3.rotation_log(offset[:3, :3])]
    )
    covariance = camera_covariance(of_submap, submap.S_odom_submap, tracked.T_ref_cam)
    return covariance + tracked.covariance + np.outer(missing, missing), float(np.sqrt(of_submap[6, 6]))
