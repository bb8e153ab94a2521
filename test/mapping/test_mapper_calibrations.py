"""Calibrations that are no camera's: an image each, counted with what is wrong; never the map or an exception."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from scal3r_ros.mapping import MapperConfig, MapUpdate, OnlineMapper
from scal3r_ros.reconstruction.protocol import Frame

Drain = Callable[[OnlineMapper, list[Frame]], list[MapUpdate]]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"fx": 0.0, "fy": 0.0}, "focal lengths are 0 and 0"),
        ({"fy": -80.0}, "focal lengths are"),
        ({"cx": float("nan")}, "finite"),
        ({"radial": float("inf")}, "finite"),
        ({"width": 31}, "it is for 31 x"),
    ],
)
def test_an_unusable_calibration_costs_its_image_and_nothing_else(
    oracle_mapper: OnlineMapper, oracle: Any, street: list[Frame], drain: Drain, changes: Any, reason: str
) -> None:
    at = 30
    camera = street[at].intrinsics
    assert camera is not None
    bad = replace(street[at], intrinsics=replace(camera, **changes))
    without = OnlineMapper(MapperConfig(), oracle)
    drain(without, street[:at] + street[at + 1 :])
    drain(oracle_mapper, street[:at])
    dropped = oracle_mapper.observe(bad).dropped
    assert dropped is not None
    assert dropped.reason == "calibration unusable"
    assert reason in dropped.message
    drain(oracle_mapper, street[at + 1 :])
    counters = oracle_mapper.counters()
    assert counters["frames_dropped_calibration_unusable"] == 1
    assert counters["frames_posed"] == len(street) - 1
    assert len(oracle_mapper.trajectory()) == len(without.trajectory())
    assert np.isfinite(oracle_mapper.trajectory().T_ref_cam).all()
