from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scal3r_ros.errors import EvaluationError, SequenceError
from scal3r_ros.io.results.reader import read_keyframe_depth, read_result


def test_everything_a_run_writes_is_read(room: Any, result_folder: Path) -> None:
    result = read_result(result_folder)
    np.testing.assert_array_equal(result.trajectory.stamps_ns, room.trajectory.stamps_ns)
    np.testing.assert_allclose(result.trajectory.T_ref_cam, room.estimate().T_ref_cam, atol=1e-8)
    assert result.cloud is not None
    assert len(result.cloud.points) == 20 * 64 * 48
    assert result.timings is not None
    np.testing.assert_allclose(result.timings.seconds, 0.5)
    np.testing.assert_allclose(result.timings.camera_s, [0.9, 0.8, 0.8, 0.8])
    assert result.run["counts"]["frames_in"] == 42
    assert list(result.depth_files) == room.trajectory.stamps_ns[::3].tolist()
    stamp_ns, path = next(iter(result.depth_files.items()))
    keyframe = read_keyframe_depth(stamp_ns, path)
    assert keyframe.intrinsics == room.intrinsics
    np.testing.assert_allclose(keyframe.depth * room.S_world_map.scale, room.depth_m(0), rtol=1e-3)


def test_only_the_trajectory_is_needed(room: Any, result_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "trajectory.tum").write_bytes((result_folder / "trajectory.tum").read_bytes())
    result = read_result(tmp_path)
    assert result.cloud is None
    assert result.timings is None
    assert not result.run
    assert not result.depth_files


def test_a_folder_that_is_no_result_is_one_clear_error(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(EvaluationError, match=r"is no result folder: it has no trajectory\.tum"):
            read_result(path)


def test_an_empty_trajectory_file_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "trajectory.tum").write_text("")
    with pytest.raises(SequenceError, match=r"trajectory\.tum holds no numbers"):
        read_result(tmp_path)


def test_nan_in_the_trajectory_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "trajectory.tum").write_text("1.0 nan 0 0 0 0 0 1\n")
    with pytest.raises(SequenceError, match="not finite"):
        read_result(tmp_path)


@pytest.mark.parametrize(
    ("keep", "message"), [(0, "is no PLY file"), (100, "is no PLY file"), (5000, "is cut off or damaged")]
)
def test_a_cut_off_point_cloud_is_one_clear_error(room: Any, tmp_path: Path, keep: int, message: str) -> None:
    folder = room.write_result(tmp_path / "result")
    (folder / "map.ply").write_bytes((folder / "map.ply").read_bytes()[:keep])
    with pytest.raises(EvaluationError, match=message):
        read_result(folder)


@pytest.mark.parametrize("content", ["chunk,first_stamp_ns\n0,1\n", "chunk\n\0\n"])
def test_damaged_timings_are_one_clear_error(room: Any, tmp_path: Path, content: str) -> None:
    folder = room.write_result(tmp_path / "result")
    (folder / "timings.csv").write_text(content)
    with pytest.raises(EvaluationError, match=r"timings file .* cannot be read"):
        read_result(folder)


@pytest.mark.parametrize("content", ["a: [1", "- 1\n- 2\n"])
def test_a_damaged_run_file_is_one_clear_error(room: Any, tmp_path: Path, content: str) -> None:
    folder = room.write_result(tmp_path / "result")
    (folder / "run.yaml").write_text(content)
    with pytest.raises(EvaluationError, match="run file"):
        read_result(folder)
