"""A replay whose metres come from the height of the camera, and from the wheels in the bag."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

Scal3r = Callable[..., Any]

ONLY_UNIT = ("--set", "initial_median_depth_m=30", "--set", "loops.enabled=false")
QUICK = ("--set", "geometric.sweep.width=160", "--set", "geometric.sweep.planes=32")
HEIGHT_M = 1.65


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """50 m of a street with wheel odometry, an IMU and fixes."""
    from scal3r_ros.simulation.drives.street import street_drive
    from scal3r_ros.simulation.sensors.suite import simulate_sensors
    from scal3r_ros.simulation.simulate import pinhole, simulate

    path, drive = tmp_path_factory.mktemp("bags") / "sensors.bag", street_drive(50.0, seed=4)
    simulate(drive, path, pinhole(480, 144, 83.0), seed=4, depth_every=0, samples=simulate_sensors(drive, 4))
    return path


def metre_of(scal3r: Scal3r, result: Path, bag: Path) -> float:
    """True metres in a unit of the map."""
    done = scal3r("evaluate", result, "--truth", bag)
    assert done.code == 0, done
    metrics = json.loads((result / "report" / "metrics.json").read_text())
    return float(metrics["trajectory"]["scale"])


@pytest.mark.slow
def test_height_and_wheels_make_the_map_metric(scal3r: Scal3r, bag: Path, tmp_path: Path) -> None:
    unknown, known = tmp_path / "unknown", tmp_path / "known"
    no_wheels = ("--wheel-odometry", "/none", "--imu", "/none", "--fix", "/none")
    assert scal3r("replay", bag, "-o", unknown, *ONLY_UNIT, *QUICK, *no_wheels).code == 0
    done = scal3r(
        "replay", bag, "-o", known, *ONLY_UNIT, *QUICK, "--set", f"scale.camera_height={HEIGHT_M}",
        "--imu", "/none", "--fix", "/none",
    )  # fmt: skip
    assert done.code == 0
    assert abs(metre_of(scal3r, unknown, bag) - 1.0) > 0.2
    assert metre_of(scal3r, known, bag) == pytest.approx(1.0, abs=0.03)
    scale = yaml.safe_load((known / "run.yaml").read_text())["scale"]
    assert sorted(scale["sources"]) == ["camera_height", "wheel_odometry"]
    assert 0.001 < scale["sigma"] < 0.05
    with (known / "scale.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {"camera_height", "wheel_odometry"} <= {row["source"] for row in rows}
    assert "scale" not in yaml.safe_load((unknown / "run.yaml").read_text())
