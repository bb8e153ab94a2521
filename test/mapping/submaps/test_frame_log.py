"""Poses of frames that move with their submaps."""

from __future__ import annotations

import numpy as np

from scal3r_ros.geometry import se3
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.geometry.sim3 import Sim3
from scal3r_ros.mapping.submaps.frame_log import FrameLog


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


ANCHORS = {0: Sim3.identity(), 1: Sim3(2.0, se3.rotation_exp([0.0, 0.0, 1.0]), np.array([0.0, 0.0, 5.0]))}


def filled(frames: int, first_stamp: int = 0) -> FrameLog:
    log = FrameLog()
    for index in np.random.default_rng(0).permutation(frames).tolist():
        log.put(index, first_stamp + 100 * index, index % 2, pose(0.01 * index))
    return log


def test_frames_put_in_any_order_are_all_there_and_placed_as_one_by_one() -> None:
    log = filled(1000)
    trajectory = log.trajectory(ANCHORS)
    assert len(log) == 1000
    assert trajectory.stamps_ns.tolist() == list(range(0, 100_000, 100))
    expected = np.stack([ANCHORS[index % 2].apply_pose(pose(0.01 * index)) for index in range(1000)])
    np.testing.assert_allclose(trajectory.T_ref_cam, expected, atol=1e-12)


def test_a_restored_log_goes_on_as_the_one_that_was_saved() -> None:
    log, other = filled(300), FrameLog()
    other.restore(log.snapshot())
    for each in (log, other):
        each.put(300, 30_000, 1, pose(3.0))
        each.put(7, 700, 1, pose(9.0))
    np.testing.assert_array_equal(log.trajectory(ANCHORS).T_ref_cam, other.trajectory(ANCHORS).T_ref_cam)


def test_a_new_drive_counts_its_frames_anew_and_leaves_the_earlier_ones_alone() -> None:
    log = filled(10)
    before = log.trajectory(ANCHORS)
    log.begin_drive()
    log.begin_drive()
    assert len(log) == 0
    log.put(3, 5, 0, pose(1.0))
    assert log.trajectory(ANCHORS).stamps_ns.tolist() == [5]
    first, second = log.drives(ANCHORS)
    np.testing.assert_array_equal(first.T_ref_cam, before.T_ref_cam)
    assert second.stamps_ns.tolist() == [5]


def test_an_earlier_log_is_absorbed_as_earlier_drives() -> None:
    earlier, log = filled(10), filled(20, first_stamp=10**6)
    earlier.begin_drive()
    earlier.put(0, 77, 1, pose(2.0))
    alone = log.trajectory(ANCHORS)
    log.absorb(earlier.snapshot())
    log.put(20, 10**6 + 2000, 1, pose(1.0))
    drives = log.drives(ANCHORS)
    assert [len(drive) for drive in drives] == [10, 1, 21]
    np.testing.assert_array_equal(drives[2].T_ref_cam[:20], alone.T_ref_cam)
    np.testing.assert_array_equal(drives[0].T_ref_cam, earlier.drives(ANCHORS)[0].T_ref_cam)


def test_every_frame_knows_its_camera_also_after_another_log_was_absorbed() -> None:
    one, two = Intrinsics(100.0, 101.0, 31.5, 23.5, 64, 48), Intrinsics(90.0, 90.0, 20.0, 20.0, 40, 40)
    earlier, log = FrameLog(), FrameLog()
    for number, camera in enumerate((two, None, one)):
        earlier.put(number, number, 0, pose(0.0), camera)
    for number, camera in enumerate((one, one, None, two)):
        log.put(number, 10 - number, 0, pose(0.0), camera)
    log.absorb(earlier.snapshot())
    log.put(4, 11, 0, pose(0.0), two)
    assert log.cameras() == ((two, None, one), (two, None, one, one, two))


def test_a_frame_costs_128_bytes() -> None:
    log = filled(5000)
    assert sum(array.nbytes for array in log.snapshot().values()) / 5000 < 129
