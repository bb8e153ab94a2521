from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scal3r_ros.errors import EvaluationError
from scal3r_ros.evaluation.ground_truth import TrueDepth, read_truth
from scal3r_ros.evaluation.metrics.depths import compare_depths, sample_nearest, warp
from scal3r_ros.geometry import se3
from scal3r_ros.io.results.reader import read_result


def compare(room: Any, result: Path, bag: Path, **options: float) -> Any:
    return compare_depths(read_truth(bag, room.estimate()), read_result(result), **options)


def test_perfect_depth_has_no_error_in_any_scale(room: Any, result_folder: Path, truth_bag: Path) -> None:
    comparison = compare(room, result_folder, truth_bag)
    metrics = comparison.metrics
    assert metrics.frames == 20
    assert metrics.median_relative_error < 0.002  # half precision, and carried pixels fall between others
    assert metrics.median_relative_error_one_scale < 0.002
    assert metrics.delta > 0.995
    assert metrics.confident_fraction > 0.8
    assert comparison.frames[0].scale == pytest.approx(room.S_world_map.scale, rel=1e-3)
    assert comparison.example is not None


def test_one_error_of_scale_is_forgiven_and_a_drifting_one_only_per_frame(
    room: Any, truth_bag: Path, tmp_path: Path
) -> None:
    result = room.write_result(tmp_path / "result", keyframe_step=1, depth_factor=1.7)
    assert compare(room, result, truth_bag).metrics.median_relative_error_one_scale < 1e-3
    for number, file in enumerate(sorted((result / "depth").iterdir())):
        arrays = dict(np.load(file))
        arrays["depth"] = arrays["depth"] * np.float16(1.2 if number % 4 < 2 else 1.0)
        np.savez(file, **arrays)
    metrics = compare(room, result, truth_bag).metrics
    assert metrics.median_relative_error < 1e-3
    # Half the frames are off by 20 % from the other half, whichever of them the one scale fits.
    assert 0.05 < metrics.median_relative_error_one_scale < 0.21


def test_a_known_error_is_found_and_only_confident_pixels_count(room: Any, truth_bag: Path, tmp_path: Path) -> None:
    result = room.write_result(tmp_path / "result", keyframe_step=1)
    for file in (result / "depth").iterdir():
        arrays = dict(np.load(file))
        # Rows in turn 10 % too far and too near, the right half wrong but not trusted.
        arrays["depth"][::2] *= np.float16(1.1)
        arrays["depth"][1::2] *= np.float16(0.9)
        arrays["depth"][:, 32:] *= np.float16(3.0)
        arrays["confidence"][:, 32:] = 0.4
        np.savez(file, **arrays)
    metrics = compare(room, result, truth_bag).metrics
    assert metrics.confident_fraction == pytest.approx(0.5)
    assert metrics.median_relative_error == pytest.approx(0.1, abs=0.02)
    assert compare(room, result, truth_bag, min_confidence=0.3).metrics.confident_fraction == pytest.approx(1.0)


def test_frames_without_a_pose_count_as_not_estimated(room: Any, truth_bag: Path, tmp_path: Path) -> None:
    result = room.write_result(tmp_path / "result", keyframe_step=40)
    lines = (result / "trajectory.tum").read_text().splitlines(keepends=True)
    (result / "trajectory.tum").write_text("".join(lines[:1]))
    metrics = compare(room, result, truth_bag).metrics
    assert metrics.confident_fraction == pytest.approx(1 / 20)


def test_carried_depth_is_what_the_other_camera_sees(room: Any) -> None:
    T = room.trajectory.T_ref_cam
    carried = warp(room.depth_m(4), room.intrinsics, se3.invert(T[5]) @ T[4])
    there = carried > 0
    assert there.mean() > 0.8
    assert np.median(np.abs(carried[there] / room.depth_m(5)[there] - 1)) < 0.01


def test_the_nearer_surface_hides_the_farther_when_depth_is_carried(room: Any) -> None:
    depth = np.full((48, 64), 4.0, np.float32)
    depth[:, 20:30] = 1.0
    right = np.eye(4)
    right[0, 3] = -0.25  # The near bar moves 10 pixels to the left, the wall behind it 2.5.
    carried = warp(depth, room.intrinsics, right)
    assert np.all(carried[:, 10:20] == 1.0)
    assert np.all(carried[:, 20:27] == 0.0)  # what the bar had hidden


def test_magnified_depth_has_no_holes(room: Any) -> None:
    closer = np.eye(4)
    closer[2, 3] = -1.0
    carried = warp(np.full((48, 64), 2.5, np.float32), room.intrinsics, closer)
    np.testing.assert_allclose(carried, 1.5)


def test_true_depth_is_sampled_through_both_cameras(room: Any) -> None:
    truth = TrueDepth(0, room.depth_m(3), room.intrinsics)
    half = room.intrinsics.scaled(32, 24)
    sampled = sample_nearest(truth, half)
    assert sampled.shape == (24, 32)
    assert np.all(np.isin(sampled, truth.depth_m))
    np.testing.assert_array_equal(sample_nearest(truth, room.intrinsics), truth.depth_m)


def test_a_damaged_depth_map_is_one_clear_error(room: Any, truth_bag: Path, tmp_path: Path) -> None:
    result = room.write_result(tmp_path / "result")
    file = next((result / "depth").iterdir())
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(EvaluationError, match=r"depth map .* cannot be read"):
        compare(room, result, truth_bag)


def test_a_result_without_depth_has_no_depth_metrics(room: Any, truth_bag: Path, tmp_path: Path) -> None:
    result = room.write_result(tmp_path / "result")
    for file in (result / "depth").iterdir():
        file.unlink()
    assert compare(room, result, truth_bag) is None
