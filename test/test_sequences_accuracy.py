"""Recorded sequences from images to numbers, by the commands a user types: what the defaults have to reach."""

from __future__ import annotations

from pathlib import Path

import pytest

from scal3r_ros.cli.bag import bag
from scal3r_ros.cli.replay import replay
from scal3r_ros.evaluation.evaluator import Evaluation, evaluate_result

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"

pytestmark = [pytest.mark.slow, pytest.mark.data, pytest.mark.timeout(600)]


def mapped(
    name: str, images: str, poses: str, rate: float, config: str, out: Path, frames: int | None = None
) -> Evaluation:
    """Writes the sequence as a bag, replays it with a configuration of the package and evaluates the result."""
    sequence = DATA / name
    if not sequence.is_dir():
        pytest.skip(f"needs the recorded sequence {name}")
    depth = sequence / "depth"
    bag(
        sequence / images,
        sequence / "calib.txt",
        out / "sequence.bag",
        rate=rate,
        truth=sequence / poses,
        depth=depth if depth.is_dir() else None,
        max_frames=frames,
    )
    replay(out / "sequence.bag", out / "result", ROOT / "config" / config, save_depth=depth.is_dir())
    return evaluate_result(out / "result", out / "sequence.bag")


def test_a_city_drive_with_a_turn_is_within_80_cm(tmp_path: Path) -> None:
    found = mapped("kitti00_160", "image_0", "poses_first160.txt", 10.0, "driving.yaml", tmp_path).trajectory
    assert found is not None
    assert (found.metrics.poses, found.metrics.coverage) == (160, 1.0)
    assert found.metrics.ate_sim3_rmse_m <= 0.8


def test_a_straight_drive_is_within_30_cm(tmp_path: Path) -> None:
    found = mapped("kitti06_51", "image_0", "poses.txt", 10.0, "driving.yaml", tmp_path).trajectory
    assert found is not None
    assert (found.metrics.poses, found.metrics.coverage) == (51, 1.0)
    assert found.metrics.ate_sim3_rmse_m <= 0.3


def test_a_handheld_walk_is_within_10_cm_and_its_depth_within_8_percent(tmp_path: Path) -> None:
    found = mapped("seven_scenes_1000", "color", "poses.txt", 30.0, "handheld.yaml", tmp_path, frames=300)
    assert found.trajectory is not None
    assert found.trajectory.metrics.coverage == 1.0
    assert found.trajectory.metrics.ate_sim3_rmse_m <= 0.1
    assert found.depth is not None
    assert found.depth.metrics.frames == 15
    assert found.depth.metrics.confident_fraction >= 0.3
    assert found.depth.metrics.median_relative_error is not None
    assert found.depth.metrics.median_relative_error <= 0.08
