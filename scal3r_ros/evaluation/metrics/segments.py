"""Relative errors over segments of 100 to 800 m, as KITTI's odometry benchmark defines them.

Source: Geiger, Lenz, Urtasun, Are we ready for autonomous driving?, CVPR 2012, and the development kit of the odometry
benchmark (https://www.cvlibs.net/datasets/kitti/eval_odometry.php), whose lengths and steps stand here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.errors import EvaluationError
from scal3r_ros.geometry import se3

LENGTHS_M = (100.0, 200.0, 300.0, 400.0, 500.0, 600.0, 700.0, 800.0)
EVERY = 10
"""A segment of each length begins at every so many poses."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class SegmentErrors:
    """Means over `segments` of all lengths: `translation_percent` of the length, and `rotation_deg_per_100_m`."""

    segments: int
    translation_percent: float
    rotation_deg_per_100_m: float


def segment_errors(T_world_true: Array, T_world_estimated: Array) -> SegmentErrors | None:
    """The errors of estimated poses (n, 4, 4) beside the true ones (n, 4, 4), both in metres.

    A segment ends at the first pose whose way from its beginning is longer than its length; both errors are divided by
    the length. None where the way is too short for any.

    Raises:
        EvaluationError: there are not as many estimated poses as true ones.
    """
    if len(T_world_true) != len(T_world_estimated):
        raise EvaluationError(f"{len(T_world_estimated)} poses cannot be compared with {len(T_world_true)} true ones")
    steps = np.linalg.norm(np.diff(T_world_true[:, :3, 3], axis=0), axis=1)
    way = np.concatenate([[0.0], np.cumsum(steps)])
    starts, ends, lengths = [], [], []
    for start in range(0, len(way), EVERY):
        for length in LENGTHS_M:
            end = int(np.searchsorted(way, way[start] + length, side="right"))
            if end < len(way):
                starts.append(start)
                ends.append(end)
                lengths.append(length)
    if not starts:
        return None
    true, estimated = (se3.invert(T[starts]) @ T[ends] for T in (T_world_true, T_world_estimated))
    difference = se3.invert(estimated) @ true
    along = np.array(lengths)
    translation = np.linalg.norm(difference[:, :3, 3], axis=1) / along
    rotation = se3.rotation_angle(difference[:, :3, :3]) / along
    return SegmentErrors(len(along), float(100 * translation.mean()), float(100 * np.degrees(rotation).mean()))
