"""What moves leaves next to nothing in the map, although each of its views shows it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from oracle import Oracle

from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.mapping import MapperConfig, OnlineMapper, PointCloud
from scal3r_ros.mapping.cloud.config import PointMapConfig
from scal3r_ros.reconstruction.protocol import Frame
from scal3r_ros.simulation.simulate import SimulatedFrame
from scal3r_ros.simulation.town.traffic import BODY_RGB, car_along, with_traffic

CAMERA_HEIGHT_M = 1.65
METRES = MapperConfig(map=PointMapConfig(voxel_size=0.2))


def traffic(frames: list[SimulatedFrame], camera: Intrinsics) -> list[tuple[SimulatedFrame, np.ndarray]]:
    """A car that drives before the camera and pulls away, and one that comes towards it beside it."""
    T = np.stack([frame.T_ref_cam for frame in frames])
    centres, ahead, right = T[:, :3, 3], T[:, :3, 2], T[:, :3, 0]
    ground = centres - [0.0, 0.0, CAMERA_HEIGHT_M]
    number = np.arange(len(T))[:, None]
    leading = ground + ahead * (9.0 + 0.35 * number)
    oncoming = ground - 3.2 * right + ahead * (45.0 - 1.4 * number)
    return list(with_traffic(frames, camera, [car_along(leading, ahead), car_along(oncoming, -ahead)]))


def mapped(frames: list[SimulatedFrame], camera: Intrinsics, config: MapperConfig) -> PointCloud:
    mapper = OnlineMapper(config, Oracle({frame.stamp_ns: frame for frame in frames}))
    for number, frame in enumerate(frames):
        mapper.push(Frame(number, frame.stamp_ns, frame.image, camera))
    mapper.flush()
    return mapper.cloud()


def share_of_cars(cloud: PointCloud) -> float:
    """The share of points with more of the cars' paint than of anything else: no other thing is of such a colour."""
    green = cloud.colours[:, 1].astype(float)
    paint = np.minimum(cloud.colours[:, 0], cloud.colours[:, 2]) - green
    return float(np.mean(paint > 0.25 * (min(BODY_RGB[0], BODY_RGB[2]) - BODY_RGB[1])))


def test_moving_cars_leave_less_than_one_percent_of_the_points(
    street_frames: list[SimulatedFrame], street_camera: Intrinsics
) -> None:
    seen = traffic(street_frames, street_camera)
    frames = [frame for frame, _ in seen]
    assert np.mean([moving.mean() for _, moving in seen]) > 0.01
    assert share_of_cars(mapped(street_frames, street_camera, METRES)) < 0.001
    assert share_of_cars(mapped(frames, street_camera, METRES)) < 0.01
    pile = replace(METRES, map=replace(METRES.map, checked_submaps=0))
    assert share_of_cars(mapped(frames, street_camera, pile)) > 0.03


def test_what_stands_stays(street_frames: list[SimulatedFrame], street_camera: Intrinsics) -> None:
    pile = replace(METRES, map=replace(METRES.map, checked_submaps=0))
    fused, piled = (mapped(street_frames, street_camera, config).points for config in (METRES, pile))
    occupied = {tuple(voxel) for voxel in np.floor(fused / 0.6).astype(int)}
    before = {tuple(voxel) for voxel in np.floor(piled / 0.6).astype(int)}
    assert len(before & occupied) > 0.9 * len(before)
