"""How steadily an estimate turns and keeps its scale along the path, independent of its overall shape."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.geometry import se3
from scal3r_ros.geometry.trajectory import Trajectory

Array = NDArray[np.float64]

FEWEST_POSES = 3
STANDING = 0.1
"""Share of the median chunk's extent below which the camera is taken to have stood still in a chunk."""
STAMP_REACH_NS = 1000
"""What matching by time may have changed in a stamp."""


def yaw_correlation(truth: Trajectory, estimate: Trajectory) -> float | None:
    """Correlation of the rates at which the camera turns about its own vertical axis, from one pose to the next.

    Both are the common poses, as a `TrajectoryComparison` has them; a constant factor or offset is not seen. None where
    one of the two never turns, or there are fewer than 3 steps.
    """
    rates = [_yaw_rates(trajectory) for trajectory in (truth, estimate)]
    if len(rates[0]) < FEWEST_POSES or min(float(np.std(rate)) for rate in rates) < 1e-9:
        return None
    return float(np.corrcoef(rates[0], rates[1])[0, 1])


def seam_scales(truth: Trajectory, estimate: Trajectory, spans_ns: NDArray[np.int64]) -> Array:
    """Logarithm (m,) of the estimate's scale in each chunk over that in the chunk before; m < n.

    Both are the common poses, as a `TrajectoryComparison` has them; `spans_ns` (n, 2) are the first and last stamp of
    each chunk. A chunk's scale is the ratio of the spreads of its camera centres about their mean. Chunks with fewer
    than 3 poses, or in which the camera stood still, are passed over.
    """
    spreads = np.zeros((len(spans_ns), 2))
    for number, (first, last) in enumerate(spans_ns):
        inside = (estimate.stamps_ns >= first - STAMP_REACH_NS) & (estimate.stamps_ns <= last + STAMP_REACH_NS)
        if np.count_nonzero(inside) >= FEWEST_POSES:
            spreads[number] = [_spread(path.T_ref_cam[inside, :3, 3]) for path in (truth, estimate)]
    known = np.all(spreads > 0, axis=1)
    if known.any():
        known &= spreads[:, 0] > STANDING * np.median(spreads[known, 0])
    return np.diff(np.log(spreads[known, 1] / spreads[known, 0]))


def _yaw_rates(trajectory: Trajectory) -> Array:
    """Turn (n − 1,) about the camera's y axis in radians a second."""
    R = trajectory.T_ref_cam[:, :3, :3]
    turns = se3.rotation_log(np.swapaxes(R[:-1], 1, 2) @ R[1:])
    return turns[:, 1] / (np.diff(trajectory.stamps_ns) * 1e-9)


def _spread(centres: Array) -> float:
    return float(np.linalg.norm(centres - centres.mean(axis=0)))
