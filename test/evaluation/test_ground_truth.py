from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scal3r_ros.errors import EvaluationError, SequenceError
from scal3r_ros.evaluation.ground_truth import read_truth
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.io.bags.topics import FIRST_STAMP_NS
from scal3r_ros.io.bags.writer import BagWriter
from scal3r_ros.io.trajectories import tum_bytes


def write_kitti(path: Path, trajectory: Trajectory) -> Path:
    np.savetxt(path, trajectory.T_ref_cam[:, :3].reshape(-1, 12))
    return path


def test_a_bag_gives_poses_and_depth(room: Any, truth_bag: Path) -> None:
    truth = read_truth(truth_bag, room.estimate())
    np.testing.assert_allclose(truth.trajectory.T_ref_cam, room.trajectory.T_ref_cam, atol=1e-12)
    depths = list(truth.depths())
    assert len(depths) == truth.depth_count == 20
    assert depths[1].stamp_ns == room.trajectory.stamps_ns[2]
    assert depths[1].intrinsics == room.intrinsics
    np.testing.assert_array_equal(depths[1].depth_m, room.depth_m(2))


def test_a_tum_file_brings_its_own_stamps(room: Any, tmp_path: Path) -> None:
    (tmp_path / "truth.txt").write_bytes(tum_bytes(room.trajectory))
    truth = read_truth(tmp_path / "truth.txt", room.estimate())
    np.testing.assert_array_equal(truth.trajectory.stamps_ns, room.trajectory.stamps_ns)
    assert list(truth.depths()) == []


def test_a_kitti_file_takes_times_from_the_start_of_the_sequence(room: Any, tmp_path: Path) -> None:
    file = write_kitti(tmp_path / "poses.txt", room.trajectory)
    np.savetxt(tmp_path / "times.txt", (room.trajectory.stamps_ns - FIRST_STAMP_NS) / 1e9, fmt="%.6f")
    truth = read_truth(file, room.estimate(), tmp_path / "times.txt")
    np.testing.assert_array_equal(truth.trajectory.stamps_ns, room.trajectory.stamps_ns)


def test_a_kitti_file_without_times_goes_by_index(room: Any, tmp_path: Path) -> None:
    file = write_kitti(tmp_path / "poses.txt", room.trajectory)
    truth = read_truth(file, room.estimate())
    np.testing.assert_array_equal(truth.trajectory.stamps_ns, room.trajectory.stamps_ns)


def test_another_number_of_poses_without_times_is_one_clear_error(room: Any, tmp_path: Path) -> None:
    file = write_kitti(tmp_path / "poses.txt", room.trajectory)
    estimate = room.estimate()
    fewer = Trajectory(estimate.stamps_ns[:30], estimate.T_ref_cam[:30])
    with pytest.raises(EvaluationError, match=r"has no stamps and 40 poses for 30 estimated ones; give .* --times"):
        read_truth(file, fewer)


def test_a_missing_truth_is_one_clear_error(room: Any, tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="does not exist; give a bag or a trajectory file"):
        read_truth(tmp_path / "missing", room.estimate())


def test_a_bag_without_true_poses_is_one_clear_error(room: Any, tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as writer:
        writer.write_image(FIRST_STAMP_NS, np.zeros((4, 4), np.uint8))
    with pytest.raises(EvaluationError, match="has no true poses on /ground_truth/pose"):
        read_truth(tmp_path / "bag", room.estimate())


def test_depth_without_a_calibration_is_one_clear_error(room: Any, tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as writer:
        writer.write_image(FIRST_STAMP_NS, np.zeros((4, 4), np.uint8))
        writer.write_pose(FIRST_STAMP_NS, np.eye(4))
        writer.write_depth(FIRST_STAMP_NS, np.ones((4, 4), np.float32))
    truth = read_truth(tmp_path / "bag", room.estimate(), image_topic="/camera/image")
    with pytest.raises(EvaluationError, match="true depth but no camera_info"):
        list(truth.depths())


@pytest.mark.parametrize("content", ["", "nothing but words\n", "1 2 3\n"])
def test_a_file_of_no_known_form_is_one_clear_error(room: Any, tmp_path: Path, content: str) -> None:
    (tmp_path / "truth.txt").write_text(content)
    with pytest.raises(SequenceError):
        read_truth(tmp_path / "truth.txt", room.estimate())
