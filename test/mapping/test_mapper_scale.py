"""Metres in the mapper: the unit of the map, its trajectory and what is reported, by a perfect reconstructor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.mapping import MapperConfig, MapUpdate, OnlineMapper
from scal3r_ros.mapping.graph.observations import Source, UpObservation
from scal3r_ros.mapping.scale.config import ScaleConfig
from scal3r_ros.mapping.scale.start import start_of, upright
from scal3r_ros.mapping.values import WheelOdometry
from scal3r_ros.reconstruction.protocol import Frame
from scal3r_ros.simulation.sensors.motion import SmoothMotion
from scal3r_ros.simulation.sensors.wheels import WheelModel, simulate_wheels
from scal3r_ros.simulation.simulate import SimulatedFrame

Drain = Callable[[OnlineMapper, Sequence[Frame]], list[MapUpdate]]


@pytest.fixture
def truth(street_frames: list[SimulatedFrame]) -> Trajectory:
    stamps = np.array([frame.stamp_ns for frame in street_frames], np.int64)
    return Trajectory(stamps, np.stack([frame.T_ref_cam for frame in street_frames]))


def metre(mapper: OnlineMapper, truth: Trajectory) -> float:
    """Length of the mapped way over that of the true one."""
    mapped = mapper.trajectory()
    rows = np.searchsorted(truth.stamps_ns, mapped.stamps_ns)
    ways = [
        np.linalg.norm(np.diff(T[:, :3, 3], axis=0), axis=1).sum() for T in (mapped.T_ref_cam, truth.T_ref_cam[rows])
    ]
    return float(ways[0] / ways[1])


def test_without_a_source_the_unit_is_the_parameters_and_nothing_is_known(oracle, street, truth, drain: Drain) -> None:
    mapper = OnlineMapper(replace(MapperConfig(), initial_median_depth_m=40.0), oracle)
    drain(mapper, street)
    assert abs(metre(mapper, truth) - 1.0) > 0.3
    assert mapper.scale.estimate() is None
    assert mapper.scale.history().observations == ()
    assert not any(name.startswith("scale_") for name in mapper.counters())


def test_camera_height_makes_the_first_submap_metric(oracle, street, truth, drain: Drain) -> None:
    config = replace(MapperConfig(), initial_median_depth_m=40.0, scale=ScaleConfig(camera_height=1.65))
    mapper = OnlineMapper(config, oracle)
    updates = drain(mapper, street)
    assert metre(mapper, truth) == pytest.approx(1.0, abs=0.03)
    first = next(update.submap for update in updates if update.submap is not None)
    assert first.S_map_submap.scale == pytest.approx(1.0, abs=0.05)  # the oracle's unit is the metre
    scale = mapper.scale.estimate()
    assert scale is not None
    assert scale.sources == (Source.CAMERA_HEIGHT,)
    assert abs(np.log(metre(mapper, truth))) < 3 * scale.sigma
    history = mapper.scale.history()
    assert history.metric
    assert len(history.observations) >= 2
    np.testing.assert_allclose(history.log_map, 0.0, atol=0.05)


def test_wheels_turn_a_map_into_metres_once_and_odom_follows(oracle, street, truth, drain: Drain) -> None:
    mapper = OnlineMapper(replace(MapperConfig(), initial_median_depth_m=40.0), oracle)
    samples = simulate_wheels(SmoothMotion(truth), 1, WheelModel(circumference=0.0, slip_most=0.0))
    late = samples[len(samples) // 3 :]  # the first submap is in the unit of the parameter
    for sample in late:
        mapper.add_sensor(sample)
    corrected = [update for update in drain(mapper, street) if update.corrected]
    assert corrected
    assert metre(mapper, truth) == pytest.approx(1.0, abs=0.015)
    scale = mapper.scale.estimate()
    assert scale is not None
    assert scale.metres_per_unit == pytest.approx(1.0, abs=0.02)  # odom has taken over the metre
    assert mapper.counters()["scale_wheel_odometry"] >= 1


def test_a_reset_forgets_samples_and_metres(oracle, street, truth, drain: Drain) -> None:
    mapper = OnlineMapper(MapperConfig(), oracle)
    for sample in simulate_wheels(SmoothMotion(truth), 1):
        mapper.add_sensor(sample)
    drain(mapper, street)
    assert mapper.scale.estimate() is not None
    mapper.reset()
    drain(mapper, street)
    assert mapper.scale.estimate() is None
    assert mapper.scale.history().observations == ()


def test_samples_that_make_no_sense_end_nothing(oracle, street, drain: Drain) -> None:
    mapper = OnlineMapper(MapperConfig(), oracle)
    for frame in street[::2]:
        mapper.add_sensor(WheelOdometry(frame.stamp_ns, np.full((4, 4), np.nan)))
        mapper.add_sensor(WheelOdometry(frame.stamp_ns - 10**15, np.eye(4)))
    drain(mapper, street)
    assert len(mapper.trajectory()) == len(street)
    assert mapper.scale.estimate() is None


@given(st.lists(st.floats(-1, 1), min_size=3, max_size=3), st.floats(-np.pi, np.pi))
def test_upright_takes_up_to_z_by_the_least_turn(direction: list[float], yaw: float) -> None:
    up = np.array([*direction[:2], direction[2] + 1.5])
    up /= np.linalg.norm(up)
    R = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1.0]])
    turned = upright(R, up)
    np.testing.assert_allclose(turned @ up, [0, 0, 1], atol=1e-9)
    np.testing.assert_allclose(turned @ turned.T, np.eye(3), atol=1e-9)
    angle = np.arccos(np.clip((np.trace(turned @ R.T) - 1) / 2, -1, 1))
    assert angle == pytest.approx(np.arccos(np.clip((R @ up)[2], -1, 1)), abs=1e-6)


def test_a_start_takes_what_it_is_told() -> None:
    up = UpObservation(0, np.array([0.0, -1.0, 0.0]), 0.01, Source.IMU)
    start = start_of([up])
    assert start.up_submap is up.up_submap
    assert start.metres_per_unit is None
    assert not start_of([]).known
