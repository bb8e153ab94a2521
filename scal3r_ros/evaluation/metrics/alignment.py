"""Brings an estimated trajectory, whose frame and unit are its own, over a true one."""

from __future__ import annotations

import numpy as np
from evo.core import geometry, sync
from evo.core.trajectory import PoseTrajectory3D
from numpy.typing import NDArray

from scal3r_ros.errors import EvaluationError
from scal3r_ros.geometry import se3
from scal3r_ros.geometry.sim3 import Sim3
from scal3r_ros.geometry.trajectory import Trajectory

Array = NDArray[np.float64]

FEWEST_POSES = 3
STRAIGHT = 1e-6
"""Second over first principal extent of a path below which its points alone leave its roll open."""


def associate(truth: Trajectory, estimate: Trajectory, max_difference_s: float) -> tuple[Trajectory, Trajectory]:
    """The poses of both that were taken at the same time, to within `max_difference_s`; both of equal length, at least
    3.

    Raises:
        EvaluationError: a trajectory is empty or not finite, they do not overlap in time, or share fewer than 3 poses.
    """
    for name, trajectory in (("true", truth), ("estimated", estimate)):
        if not len(trajectory):
            raise EvaluationError(f"the {name} trajectory is empty; there is nothing to compare")
        if not np.all(np.isfinite(trajectory.T_ref_cam)):
            raise EvaluationError(
                f"the {name} trajectory holds poses that are not finite; mend or leave out those poses"
            )
    begin, end = estimate.stamps_ns[0], estimate.stamps_ns[-1]
    reach_ns = round(max_difference_s * 1e9)
    if truth.stamps_ns[-1] < begin - reach_ns or truth.stamps_ns[0] > end + reach_ns:
        raise EvaluationError(
            f"the estimate ({_span(estimate)}) and the truth ({_span(truth)}) do not overlap in time; "
            "give the truth of this sequence, with stamps of the same clock"
        )
    try:
        paths = sync.associate_trajectories(
            _timed_path(truth, begin), _timed_path(estimate, begin), max_diff=max_difference_s
        )
    except sync.SyncException as error:
        raise EvaluationError(
            f"no estimated pose lies within {max_difference_s} s of a true one; allow a larger --max-time-difference"
        ) from error
    if paths[0].num_poses < FEWEST_POSES:
        raise EvaluationError(
            f"estimate and truth share only {paths[0].num_poses} poses, but {FEWEST_POSES} are needed to align them; "
            "give the truth of this sequence"
        )
    matched_truth, matched_estimate = (
        Trajectory(np.round(path.timestamps * 1e9).astype(np.int64) + begin, np.array(path.poses_se3)) for path in paths
    )
    if (
        np.ptp(matched_truth.T_ref_cam[:, :3, 3], axis=0).max() == 0
        or np.ptp(matched_estimate.T_ref_cam[:, :3, 3], axis=0).max() == 0
    ):
        raise EvaluationError(
            "the camera never moves in the estimate or in the truth; a scale cannot be found without motion"
        )
    return matched_truth, matched_estimate


def align_positions(truth: Trajectory, estimate: Trajectory, with_scale: bool) -> Sim3:
    """S_truth_map that brings the camera centres closest in the least-squares sense (Umeyama, 1991); scale 1 without
    scale.

    On a straight path, where that leaves the roll open, the rotation is that of `align_cameras`.
    """
    p, q = estimate.T_ref_cam[:, :3, 3], truth.T_ref_cam[:, :3, 3]
    if _is_straight(p) or _is_straight(q):
        S = align_cameras(truth, estimate)
        scale = S.scale if with_scale else 1.0
        return Sim3(scale, S.R, q.mean(axis=0) - scale * S.R @ p.mean(axis=0))
    R, t, scale = geometry.umeyama_alignment(p.T, q.T, with_scale)
    return Sim3(float(scale), R, t)


def align_cameras(truth: Trajectory, estimate: Trajectory) -> Sim3:
    """S_truth_map that brings both the camera centres and the viewing directions together, for clouds and pictures.

    Centres alone leave the roll about a straight street to noise. Here the rotation maximises the sum of the
    correlation of the centres and of that of the camera axes, each normalised; scale and translation are then least
    squares on the centres.
    """
    p, q = estimate.T_ref_cam[:, :3, 3], truth.T_ref_cam[:, :3, 3]
    p_centred, q_centred = p - p.mean(axis=0), q - q.mean(axis=0)
    centres = q_centred.T @ p_centred / (np.linalg.norm(q_centred) * np.linalg.norm(p_centred))
    axes = np.einsum("nij,nkj->ik", truth.T_ref_cam[:, :3, :3], estimate.T_ref_cam[:, :3, :3]) / len(p)
    U, _, Vt = np.linalg.svd(centres + axes)
    R = U @ np.diag([1.0, 1.0, np.linalg.det(U @ Vt)]) @ Vt
    overlap = float(np.sum(q_centred * (p_centred @ R.T)))
    if overlap <= 0:  # The estimate runs against its own viewing direction: only its extent is left to compare.
        overlap = float(np.linalg.norm(p_centred) * np.linalg.norm(q_centred))
    scale = overlap / float(np.sum(p_centred**2))
    return Sim3(scale, R, q.mean(axis=0) - scale * R @ p.mean(axis=0))


def apply(S_truth_map: Sim3, estimate: Trajectory) -> Trajectory:
    """The estimate in the truth's frame and unit."""
    return Trajectory(estimate.stamps_ns, S_truth_map.apply_pose(estimate.T_ref_cam))


def evo_path(trajectory: Trajectory) -> PoseTrajectory3D:
    """The same trajectory as evo's metrics take it; its times count from its first pose, so that doubles hold them."""
    return _timed_path(trajectory, trajectory.stamps_ns[0])


def _timed_path(trajectory: Trajectory, origin_ns: np.int64) -> PoseTrajectory3D:
    R = trajectory.T_ref_cam[:, :3, :3]
    return PoseTrajectory3D(
        positions_xyz=trajectory.T_ref_cam[:, :3, 3].copy(),
        orientations_quat_wxyz=np.roll(se3.quat_xyzw(R), 1, axis=-1),
        timestamps=(trajectory.stamps_ns - origin_ns) / 1e9,
    )


def _is_straight(points: Array) -> bool:
    extents = np.linalg.svd(points - points.mean(axis=0), compute_uv=False)
    return bool(extents[1] < STRAIGHT * extents[0])


def _span(trajectory: Trajectory) -> str:
    return f"{trajectory.stamps_ns[0] / 1e9:.3f} to {trajectory.stamps_ns[-1] / 1e9:.3f} s"
