from pathlib import Path

import numpy as np
import pytest
from evo.tools import file_interface
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from scal3r_ros.errors import SequenceError
from scal3r_ros.geometry import se3
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.io.trajectories import even_stamps, kitti_bytes, read_times, read_trajectory, times_bytes, tum_bytes

STAMPS = np.array([1_700_000_000_123_456_789, 1_700_000_000_223_456_789, 1_700_000_001_000_000_001], np.int64)


def poses(count: int) -> np.ndarray:
    rng = np.random.default_rng(3)
    T = np.tile(np.eye(4), (count, 1, 1))
    T[:, :3, :3] = Rotation.random(count, rng=rng).as_matrix()
    T[:, :3, 3] = rng.normal(size=(count, 3)) * 50
    return T


def test_tum_keeps_every_nanosecond_and_the_poses(tmp_path: Path) -> None:
    written = Trajectory(STAMPS, poses(3))
    (tmp_path / "t.tum").write_bytes(tum_bytes(written))
    read = read_trajectory(tmp_path / "t.tum")
    np.testing.assert_array_equal(read.stamps_ns, STAMPS)
    np.testing.assert_allclose(read.T_ref_cam, written.T_ref_cam, atol=2e-8)


def test_evo_reads_the_trajectory(tmp_path: Path) -> None:
    (tmp_path / "t.tum").write_bytes(tum_bytes(Trajectory(STAMPS, poses(3))))
    read = file_interface.read_tum_trajectory_file(tmp_path / "t.tum")
    np.testing.assert_allclose(read.poses_se3, poses(3), atol=2e-8)
    np.testing.assert_allclose(read.timestamps, STAMPS * 1e-9)


def test_an_empty_trajectory_is_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "t.tum").write_bytes(tum_bytes(Trajectory(np.zeros(0, np.int64), np.zeros((0, 4, 4)))))
    assert (tmp_path / "t.tum").read_text() == ""


def test_tum_lines_are_sorted_and_comments_left_out(tmp_path: Path) -> None:
    (tmp_path / "t.tum").write_text("# stamp x y z\n2.5 1 2 3 0 0 0 1\n1.5 4 5 6 0 0 0 1\n")
    read = read_trajectory(tmp_path / "t.tum")
    assert read.stamps_ns.tolist() == [1_500_000_000, 2_500_000_000]
    assert read.T_ref_cam[0, :3, 3].tolist() == [4, 5, 6]


@pytest.mark.parametrize("rows", [3, 4])
def test_kitti_and_4x4_rows_are_told_apart(tmp_path: Path, rows: int) -> None:
    T = poses(3)
    np.savetxt(tmp_path / "poses.txt", T[:, :rows].reshape(3, -1))
    read = read_trajectory(tmp_path / "poses.txt", STAMPS)
    np.testing.assert_allclose(read.T_ref_cam, T)
    np.testing.assert_array_equal(read.stamps_ns, STAMPS)
    np.testing.assert_array_equal(read_trajectory(tmp_path / "poses.txt", rate_hz=10).stamps_ns, even_stamps(3, 10))


def test_poses_without_enough_stamps_are_refused(tmp_path: Path) -> None:
    np.savetxt(tmp_path / "poses.txt", poses(3)[:, :3].reshape(3, -1))
    with pytest.raises(SequenceError, match="has no stamps"):
        read_trajectory(tmp_path / "poses.txt")
    with pytest.raises(SequenceError, match="3 poses, but only 2 stamps"):
        read_trajectory(tmp_path / "poses.txt", STAMPS[:2])


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "holds no numbers"),
        ("1 2 3\n", "3 columns"),
        (",".join(["1"] * 17) + "\n", "poses of EuRoC's body, give the folder"),
        ("1 2 3\n1 2\n", "no table"),
        ("1 2 x\n", "no table"),
        ("1 0 0 0 0 0 0 nan\n", "not finite"),
        ("1 0 0 0 0 0 0 2\n", "quaternion of length 2.000"),
        ("1 0 0 0 0 0 0 1\n1 0 0 0 0 0 0 1\n", "same stamp"),
        ("1 0 0 0 0 1 0 0 0 0 -1 0\n", "no rotation in pose 0"),
        ("1 0 0 0 0 1 0 0 0 0 1 0\n2 0 0 0 0 1 0 0 0 0 1 0\n", "no rotation in pose 1"),
    ],
)
def test_other_files_give_one_clear_sentence(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "bad.txt").write_text(text)
    with pytest.raises(SequenceError, match=complaint):
        read_trajectory(tmp_path / "bad.txt", STAMPS)


def test_files_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(SequenceError, match="cannot be read"):
        read_trajectory(tmp_path / "missing.txt")


def test_times_may_be_in_scientific_notation_and_have_to_increase(tmp_path: Path) -> None:
    (tmp_path / "times.txt").write_text("0.000000e+00\n1.037359e-01\n2.5\n")
    assert read_times(tmp_path / "times.txt").tolist() == [0, 103_735_900, 2_500_000_000]
    (tmp_path / "times.txt").write_text("1.0\n1.0\n")
    with pytest.raises(SequenceError, match="does not increase"):
        read_times(tmp_path / "times.txt")


@given(st.integers(0, 4_000_000_000), st.integers(0, 999_999_999))
def test_every_stamp_survives(tmp_path_factory: pytest.TempPathFactory, seconds: int, nanoseconds: int) -> None:
    path = tmp_path_factory.getbasetemp() / "one.tum"
    stamp = np.array([seconds * 10**9 + nanoseconds], np.int64)
    path.write_bytes(tum_bytes(Trajectory(stamp, np.eye(4)[None])))
    np.testing.assert_array_equal(read_trajectory(path).stamps_ns, stamp)


def test_stamps_in_nanoseconds_are_known_by_their_size(tmp_path: Path) -> None:
    lines = [f"{stamp}.000000 1 2 3 0 0 0 1" for stamp in STAMPS]
    (tmp_path / "t.tum").write_text("\n".join(lines))
    np.testing.assert_array_equal(read_trajectory(tmp_path / "t.tum").stamps_ns, STAMPS)
    (tmp_path / "times.txt").write_text("\n".join(map(str, STAMPS)))
    np.testing.assert_array_equal(read_times(tmp_path / "times.txt"), STAMPS)


def test_kitti_rows_and_times_come_back(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    trajectory = Trajectory(1_700_000_000_123_456_789 + np.arange(6) * 33_333_333, se3.exp(rng.normal(size=(6, 6))))
    (tmp_path / "poses.txt").write_bytes(kitti_bytes(trajectory))
    (tmp_path / "times.txt").write_bytes(times_bytes(trajectory.stamps_ns))
    read = read_trajectory(tmp_path / "poses.txt", read_times(tmp_path / "times.txt"))
    np.testing.assert_array_equal(read.stamps_ns, trajectory.stamps_ns)
    np.testing.assert_allclose(read.T_ref_cam, trajectory.T_ref_cam, atol=1e-8)
    evo = file_interface.read_kitti_poses_file(tmp_path / "poses.txt")
    np.testing.assert_allclose(np.stack(evo.poses_se3), trajectory.T_ref_cam, atol=1e-8)


@pytest.mark.parametrize(
    "times",
    [
        ("1403636579.763555584", "1403636579.813555584"),
        ("1403636579763.555584", "1403636579813.555584"),
        ("1403636579763555.584", "1403636579813555.584"),
        ("1403636579763555584", "1403636579813555584"),
        ("1.403636579763555584e18", "1403636579813555584.000000"),
    ],
)
def test_times_are_in_whatever_unit_their_size_shows(tmp_path: Path, times: tuple[str, str]) -> None:
    (tmp_path / "times.txt").write_text("".join(f"{time}\n" for time in times))
    assert read_times(tmp_path / "times.txt").tolist() == [1_403_636_579_763_555_584, 1_403_636_579_813_555_584]


def test_times_may_stand_before_the_names_of_the_images(tmp_path: Path) -> None:
    lines = ["#timestamp [ns],filename", *(f"{stamp},{stamp}.png" for stamp in (1_403_636_579_763_555_584, 10**18 * 2))]
    (tmp_path / "data.csv").write_text("\n".join(lines))
    assert read_times(tmp_path / "data.csv").tolist() == [1_403_636_579_763_555_584, 10**18 * 2]


def test_tables_may_begin_with_names_and_a_byte_order_mark(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("time,x,y,z,qx,qy,qz,qw\n1.5,4,5,6,0,0,0,1\n2.5,1,2,3,0,0,0,1\n", encoding="utf-8-sig")
    assert read_times(table).tolist() == [1_500_000_000, 2_500_000_000]
    assert read_trajectory(table).T_ref_cam[:, 0, 3].tolist() == [4, 1]


def test_times_that_fit_into_no_stamp_are_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "times.txt").write_text("1e25\n2e25\n")
    with pytest.raises(SequenceError, match=r"times.txt cannot be used: the time 2E\+25 is too large"):
        read_times(tmp_path / "times.txt")


@pytest.mark.parametrize("word", ["nan", "inf", "-Infinity"])
def test_a_time_that_is_not_finite_is_one_sentence(tmp_path: Path, word: str) -> None:
    (tmp_path / "times.txt").write_text(f"1.5\n{word}\n")
    with pytest.raises(SequenceError, match=f"the time '{word}', which is no number"):
        read_times(tmp_path / "times.txt")
