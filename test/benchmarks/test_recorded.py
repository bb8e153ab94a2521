"""The table of the recorded sequences, on a made-up one under one of their names."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import cv2
import pytest

from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.simulation.simulate import SimulatedFrame


@pytest.fixture(scope="module")
def recorded() -> ModuleType:
    return importlib.import_module("recorded")


@pytest.fixture(scope="module")
def data(
    tmp_path_factory: pytest.TempPathFactory, street_frames: list[SimulatedFrame], street_camera: Intrinsics
) -> Path:
    """A folder in which only one sequence is there: 40 images of the street."""
    folder = tmp_path_factory.mktemp("data")
    images = folder / "kitti06_51" / "image_0"
    images.mkdir(parents=True)
    rows = []
    for number, frame in enumerate(street_frames[:40]):
        cv2.imwrite(str(images / f"{number:06d}.png"), frame.image)
        rows.append(" ".join(f"{value:.9g}" for value in frame.T_ref_cam[:3].ravel()))
    (folder / "kitti06_51" / "poses.txt").write_text("\n".join(rows) + "\n")
    K = "\n".join(" ".join(f"{value:.9g}" for value in row) for row in street_camera.K)
    (folder / "kitti06_51" / "calib.txt").write_text(K + "\n")
    return folder


@pytest.mark.slow
def test_what_is_there_is_measured_and_what_is_not_is_said(
    recorded: ModuleType,
    data: Path,
    tmp_path: Path,
    ship: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ship()
    monkeypatch.setattr(sys, "argv", ["recorded.py", "--data", str(data), "--out", str(tmp_path)])
    recorded.main()
    said = capsys.readouterr().out
    assert "no weights for tiny come with this package: geometric alone" in said
    assert "kitti00_160: passed over" in said
    assert "seven_scenes_1000: passed over" in said
    content = json.loads((tmp_path / "recorded.json").read_text())
    assert content["weights"] is None
    (row,) = content["rows"]
    assert (row["sequence"], row["variant"], row["frames"], row["posed"]) == ("kitti06_51", "geometric", 40, 40)
    assert row["ate_m"] < 0.5
    assert row["yaw_correlation"] > 0.5
    assert row["images_per_second"] > 0
    assert row["problem"] == ""
    assert (tmp_path / "recorded.md").read_text().count("| kitti06_51 | geometric | 40 of 40 |") == 1


def test_a_way_that_fails_is_a_row_that_says_why(recorded: ModuleType, data: Path, tmp_path: Path) -> None:
    sequence = recorded.SEQUENCES[1]
    bag = recorded.bag_of(sequence, data, tmp_path, 4)
    assert recorded.bag_of(sequence, data, tmp_path, 4) == bag
    row = recorded.measured(sequence, "geometric", bag, tmp_path / "out", ["reconstructor=magic"])
    assert "must be one of geometric, tiny, scal3r" in row.problem
    assert row.problem in recorded.table([row])


def test_the_refined_network_is_told_in_multiples_of_geometry(recorded: ModuleType) -> None:
    rows = [
        recorded.Row("a", "geometric", 9, 9, 0.5, 0.9, None, 0.2, 0.1, 4, 10.0, 500.0),
        recorded.Row("a", "tiny, refined", 9, 9, 0.25, 0.9, None, 0.1, 0.05, 4, 10.0, 500.0),
        recorded.Row("b", "geometric", problem="lost"),
        recorded.Row("b", "tiny, refined", 9, 9, 0.25, None, None, None, None, 0, 10.0, 500.0),
    ]
    assert recorded.comparison(rows) == ("- a, tiny, refined, over geometric: ATE × 0.50, drift × 0.50, seams × 0.50\n")
    assert "| a | geometric | 9 of 9 | 0.500 m | 0.900 | – | 0.200 | 0.100 (4) | 10.0 | 500 MB |" in recorded.table(
        rows
    )
