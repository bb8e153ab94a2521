"""A short simulated drive: what odometry claims of its errors is what they are."""

from __future__ import annotations

import importlib
from types import ModuleType

import pytest

from scal3r_ros.simulation.drives.street import street_drive

SEED, LENGTH_M = 12, 120.0


@pytest.fixture(scope="module")
def consistency() -> ModuleType:
    return importlib.import_module("consistency")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_errors_over_ten_metres_lie_within_what_is_claimed(consistency: ModuleType) -> None:
    drive = street_drive(LENGTH_M, seed=SEED)
    recordings = consistency.record(drive, SEED, ["none", "camera_height"], 480, 240)
    for way, recording in recordings.items():
        errors = consistency.squared_errors(recording, drive, metric=way != "none")
        rows = {row.quantity: row for row in consistency.rows_of(way, [errors])}
        for quantity in (consistency.POSITION, consistency.ROTATION):
            row = rows[quantity]
            assert row.independent >= 7
            assert row.low < row.nees < row.high, row
        if way != "none":
            assert rows[consistency.SCALE].nees < rows[consistency.SCALE].high
