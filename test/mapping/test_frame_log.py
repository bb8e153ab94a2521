"""Poses of frames that move with their submaps."""

from __future__ import annotations

import numpy as np

from scal3r_ros.geometry import se3
from scal3r_ros.geometry.sim3 import Sim3
from scal3r_ros.mapping.frame_log import FrameLog


def pose(x: float) -> np.ndarray:
    return se3.se3(se3.rotation_exp([0.0, 0.1 * x, 0.0]), [x, 0.0, 0.0])


def test_frames_come_by_stamp_placed_by_their_submaps() -> None:
    log = FrameLog()
    log.put(1, 200, 1, pose(1.0))
    log.put(0, 100, 0, pose(0.5))
    log.put(2, 300, 1, pose(2.0))
    anchors = {0: Sim3.identity(), 1: Sim3(2.0, se3.rotation_exp([0.0, 0.0, 1.0]), np.array([0.0, 0.0, 5.0]))}
    trajectory = log.trajectory(anchors)
    assert trajectory.stamps_ns.tolist() == [100, 200, 300]
    np.testing.assert_allclose(trajectory.T_ref_cam[0], pose(0.5))
    for row, x in ((1, 1.0), (2, 2.0)):
        np.testing.assert_allclose(trajectory.T_ref_cam[row], anchors[1].apply_pose(pose(x)))
        assert se3.is_rotation(trajectory.T_ref_cam[row, :3, :3])


def test_a_frame_put_again_is_replaced() -> None:
    log = FrameLog()
    log.put(0, 100, 0, pose(0.5))
    log.put(0, 100, 1, pose(0.7))
    trajectory = log.trajectory({1: Sim3.identity()})
    assert len(log) == len(trajectory) == 1
    np.testing.assert_allclose(trajectory.T_ref_cam[0], pose(0.7))


def test_nothing_gives_an_empty_trajectory() -> None:
    log = FrameLog()
    log.put(0, 1, 0, pose(0.0))
    log.clear()
    trajectory = log.trajectory({})
    assert trajectory.stamps_ns.shape == (0,)
    assert trajectory.stamps_ns.dtype == np.int64
    assert trajectory.T_ref_cam.shape == (0, 4, 4)
