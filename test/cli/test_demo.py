"""`scal3r demo`: which drives it makes, and what it says of them; the drives themselves are made up here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from scal3r_ros.cli import demo as command
from scal3r_ros.io.bags.reader import BagReader
from scal3r_ros.io.trajectories import tum_bytes

ROOT = Path(__file__).resolve().parents[2]


class Drives:
    """Stands for the two processes over DDS: writes a perfect result, with a memory where the reconstructor has one."""

    def __init__(self, bag: Path) -> None:
        self.bag = bag
        self.made: dict[str, str] = {}
        self.logs: list[str] = []
        self.heights: list[str | None] = []

    def __call__(
        self, logs: Mapping[str, Path], mapping: list[str], playing: list[str], timeout_s: float, speed: float
    ) -> None:
        told = dict(word.split(":=", 1) for word in mapping if ":=" in word)
        result = Path(told["result_directory"])
        self.made[result.name] = told["reconstructor"]
        self.heights.append(told.get("scale.camera_height"))
        self.logs += [path.name for path in logs.values()]
        result.mkdir(parents=True, exist_ok=True)
        with BagReader(self.bag) as reader:
            truth = reader.ground_truth()
        assert truth is not None
        (result / "trajectory.tum").write_bytes(tum_bytes(truth))
        counts = {"frames_in": len(truth), "frames_posed": len(truth), "frames_dropped": {}}
        (result / "run.yaml").write_text(yaml.safe_dump({"counts": counts, "real_time_factor": 1.0}))
        if told["reconstructor"] == "tiny":
            (result / "memory.csv").write_text("chunk,memory_chunks,memory_norm_3,memory_change_3\n0,1,0.5,0.25\n")


@pytest.fixture
def drives(monkeypatch: pytest.MonkeyPatch, street_bag: Path) -> Drives:
    made = Drives(street_bag)
    monkeypatch.setattr(command, "_drive", made)
    monkeypatch.setattr(command, "simulate", lambda bag, **_: bag.symlink_to(street_bag))
    return made


def demo(scal3r: Callable[..., Any], folder: Path, *arguments: object) -> Any:
    return scal3r("demo", *arguments, "--out", folder, "--config", ROOT / "config" / "driving.yaml")


def test_the_street_is_mapped_by_a_live_memory_too_where_weights_ship(
    scal3r: Callable[..., Any], drives: Drives, tmp_path: Path, ship: Callable[..., Path]
) -> None:
    ship("tiny")
    done = demo(scal3r, tmp_path)
    assert done.code == 0, done.err
    assert drives.made == {"result": "geometric", "result_tiny": "tiny"}
    assert drives.logs == ["mapper.log", "player.log", "mapper_tiny.log", "player_tiny.log"]
    assert done.out.count("scal3r demo, ") == 2
    assert "learnt live from 1 chunks; the last one changed it by 25.0 % in layer 3" in done.out
    assert "chunk by chunk" in (tmp_path / "result_tiny" / "report" / "report.html").read_text(encoding="utf-8")


def test_without_weights_there_is_one_drive_and_no_word_of_a_memory(
    scal3r: Callable[..., Any], drives: Drives, tmp_path: Path, ship: Callable[..., Path]
) -> None:
    ship()
    done = demo(scal3r, tmp_path)
    assert done.code == 0, done.err
    assert drives.made == {"result": "geometric"}
    assert "learnt live" not in done.out


def test_own_data_and_a_reconstructor_asked_for_are_one_drive(
    scal3r: Callable[..., Any], drives: Drives, street_bag: Path, tmp_path: Path, ship: Callable[..., Path]
) -> None:
    ship("tiny")
    assert demo(scal3r, tmp_path / "own", street_bag).code == 0
    assert drives.made == {"result": "geometric"}
    assert demo(scal3r, tmp_path / "asked", "--reconstructor", "tiny").code == 0
    assert drives.made == {"result": "tiny"}


def test_a_mistyped_reconstructor_is_told_before_anything_is_made(
    scal3r: Callable[..., Any], drives: Drives, tmp_path: Path
) -> None:
    done = demo(scal3r, tmp_path / "out", "--reconstructor", "magic")
    assert done.code == 1
    assert "must be one of geometric, tiny, scal3r" in done.err
    assert not drives.made
    assert not (tmp_path / "out").exists()


def test_metres_give_the_mapper_the_height_of_the_simulated_camera(
    scal3r: Callable[..., Any], drives: Drives, tmp_path: Path
) -> None:
    assert demo(scal3r, tmp_path / "a", "--reconstructor", "geometric").code == 0
    assert demo(scal3r, tmp_path / "b", "--reconstructor", "geometric", "--metres").code == 0
    assert drives.heights == [None, "1.65"]
    refused = demo(scal3r, tmp_path / "c", drives.bag, "--metres")
    assert refused.code == 1
    assert "scale.camera_height" in refused.err
