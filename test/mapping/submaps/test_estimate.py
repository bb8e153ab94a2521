"""Where submaps and frames are: loops change the unit that `odom` takes over; what is of a cleared map is ignored."""

from __future__ import annotations

import numpy as np
import pytest

from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.geometry.sim3 import Sim3
from scal3r_ros.mapping.graph.edges import Edge, EdgeKind
from scal3r_ros.mapping.submaps.estimate import MapEstimate
from scal3r_ros.mapping.submaps.frame_log import FramePlace
from scal3r_ros.mapping.submaps.submap import Placed, PlacedSubmap
from scal3r_ros.reconstruction.protocol import Chunk, ChunkGeometry, Frame

STEP = Sim3.from_log([4.0, 0.0, 0.0, 0.0, 0.0, 0.3, 0.05])
COVARIANCE = np.diag([0.05] * 3 + [0.01] * 3 + [0.02])
CAMERA = Intrinsics(10.0, 10.0, 1.5, 0.5, 4, 2)


def placed(index: int, before: PlacedSubmap | None) -> Placed:
    """A submap of two frames, a step beyond the one before."""
    frames = tuple(Frame(2 * index + k, 2 * index + k, np.zeros((2, 4, 3), np.uint8), CAMERA) for k in (0, 1))
    T = np.tile(np.eye(4), (2, 1, 1))
    T[1, :3, 3] = [1.0, 0.2, 0.0]
    depth = np.ones((2, 2, 4), np.float32)
    S = Sim3.identity() if before is None else before.S_odom_submap @ STEP
    submap = PlacedSubmap(index, S, Chunk(index, frames, 0), ChunkGeometry(T, (CAMERA, CAMERA), depth, depth))
    return Placed(submap, None if before is None else Edge(before.index, index, STEP, COVARIANCE), "")


@pytest.fixture
def estimate() -> MapEstimate:
    """Eight submaps, with a frame of each."""
    made = MapEstimate(float("inf"))
    for index in range(8):
        new = placed(index, made.newest)
        assert made.add(new) is not None
        made.log([FramePlace(2 * index, 2 * index, index, np.eye(4))])
    return made


def close_loop(estimate: MapEstimate) -> None:
    """Submap 7 lies where submap 0 is, at three quarters of its unit."""
    S = Sim3(0.75, np.eye(3), np.array([0.5, 0.0, 0.0]))
    estimate.add_edges([Edge(0, 7, S, 1e-4 * np.eye(7), EdgeKind.LOOP)])
    optimised = estimate.optimise()
    assert optimised.moved
    assert optimised.rejected == ()


def test_a_loop_moves_frames_with_their_submaps(estimate: MapEstimate) -> None:
    before = estimate.trajectory().T_ref_cam
    close_loop(estimate)
    after, anchors = estimate.trajectory().T_ref_cam, estimate.anchors()
    np.testing.assert_allclose(after[0], before[0], atol=1e-3)
    assert np.linalg.norm(after[7, :3, 3] - before[7, :3, 3]) > 1.0
    np.testing.assert_allclose(after[7, :3, 3], anchors[7].t, atol=1e-9)
    np.testing.assert_allclose(estimate.loop_ends()[0], [anchors[0].t, anchors[7].t])
    assert estimate.counters()["loops"] == len(estimate.loops()) == 1


def test_odom_takes_over_the_unit_of_the_map_where_the_camera_is(estimate: MapEstimate) -> None:
    newest = estimate.newest
    assert newest is not None
    assert estimate.in_map_unit(newest) is newest
    close_loop(estimate)
    taken = estimate.in_map_unit(newest)
    assert taken is not None
    assert taken.S_odom_submap.scale == pytest.approx(estimate.anchors()[7].scale, rel=1e-12)
    assert taken.S_odom_submap.scale < 0.8 * newest.S_odom_submap.scale
    here = newest.S_odom_submap.apply(newest.last_centre)
    np.testing.assert_allclose(taken.S_odom_submap.apply(newest.last_centre), here, atol=1e-12)


def test_the_correction_is_right_for_the_newest_camera(estimate: MapEstimate) -> None:
    np.testing.assert_allclose(estimate.T_map_odom(), np.eye(4), atol=1e-12)
    close_loop(estimate)
    newest = estimate.newest
    assert newest is not None
    T_odom_cam = newest.S_odom_submap.apply_pose(newest.geometry.T_chunk_cam[-1])
    T_map_cam = estimate.anchors()[7].apply_pose(newest.geometry.T_chunk_cam[-1])
    np.testing.assert_allclose(estimate.T_map_odom() @ T_odom_cam, T_map_cam, atol=1e-9)


def test_whatever_is_of_a_cleared_map_is_ignored(estimate: MapEstimate) -> None:
    late, before = placed(8, estimate.newest), estimate.newest
    estimate.clear(9)
    assert not estimate.expects(8)
    assert estimate.add(late) is None
    estimate.log([FramePlace(14, 14, 7, np.eye(4))])
    assert estimate.in_map_unit(before) is None
    assert len(estimate.trajectory()) == 0
    assert not any(estimate.counters().values())
    assert estimate.add(placed(9, None)) is not None
    assert not estimate.expects(9)


def test_a_frame_keeps_the_pose_by_its_newest_submap(estimate: MapEstimate) -> None:
    moved = np.eye(4)
    moved[0, 3] = 5.0
    known = estimate.trajectory().T_ref_cam[5]
    estimate.log([FramePlace(10, 10, 4, moved)])
    np.testing.assert_array_equal(estimate.trajectory().T_ref_cam[5], known)
    estimate.log([FramePlace(10, 10, 6, moved)])
    assert not np.allclose(estimate.trajectory().T_ref_cam[5], known)
