"""Points against depth maps: what is looked through goes, what is hidden stays, what is seen again gets better."""

from __future__ import annotations

import numpy as np
import pytest

from scal3r_ros.geometry import se3
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.geometry.projection import backproject
from scal3r_ros.geometry.sim3 import Sim3
from scal3r_ros.mapping.cloud.config import PointMapConfig
from scal3r_ros.mapping.cloud.point_map import PointMap
from scal3r_ros.mapping.cloud.visibility import DepthView, Surface

CAMERA = Intrinsics(60.0, 60.0, 31.5, 23.5, 64, 48)
RAYS = backproject(np.ones((48, 64)), CAMERA)
WALL_M = 10.0
RED, GREY = (255, 0, 0), (90, 90, 90)


class Camera:
    """Looks at a wall at z = 10, at which nothing or a red plate at `plate_m` stands; noise is a share of depth."""

    def __init__(self, seed: int = 0, noise: float = 0.0) -> None:
        self._rng, self._noise = np.random.default_rng(seed), noise

    def view(self, x: float, plate_m: float | None = None, z: float = 0.0) -> tuple[DepthView, np.ndarray]:
        """A depth map from (x, 0, z) and which of its pixels show the plate, 2 wide and high around the axis."""
        depth = np.full((48, 64), WALL_M - z)
        plate = np.zeros(depth.shape, bool)
        if plate_m is not None:
            at = RAYS * (plate_m - z) + [x, 0, 0]
            plate = (np.abs(at[..., 0]) < 1) & (np.abs(at[..., 1]) < 1)
            depth[plate] = plate_m - z
        depth *= 1 + self._noise * self._rng.normal(size=depth.shape)
        T = se3.se3(np.eye(3), [x, 0.0, z])
        weight = (1 / depth**2 * WALL_M**2).astype(np.float32)
        return DepthView(depth.astype(np.float32), weight, CAMERA, T), plate


def add(point_map: PointMap, number: int, seen: list[tuple[DepthView, np.ndarray]], S: Sim3, shared: int = 0) -> None:
    """Adds a submap at S_map_submap, whose views are given in `map`."""
    inverse = S.inverse()
    views = [
        DepthView(v.depth * np.float32(inverse.scale), v.weight, CAMERA, inverse.apply_pose(v.T_submap_cam))
        for v, _ in seen
    ]
    new = list(zip(views, (plate for _, plate in seen), strict=True))[shared:]
    points = [
        (backproject(v.depth, CAMERA).reshape(-1, 3) @ v.T_submap_cam[:3, :3].T) + v.T_submap_cam[:3, 3] for v, _ in new
    ]
    colours = np.concatenate([np.where(plate.reshape(-1, 1), RED, GREY) for _, plate in new])
    distances = np.concatenate([v.depth.ravel() for v, _ in new])
    normals = np.tile(np.float32([0, 0, -1]) @ inverse.R.T.astype(np.float32), (len(distances), 1))
    weights = np.concatenate([v.weight.ravel() for v, _ in new])
    surface = Surface(normals, distances, tuple(views), shared)
    point_map.add(number, np.concatenate(points), colours, weights, S, surface)


def red(point_map: PointMap) -> int:
    cloud = point_map.cloud()
    return int(np.count_nonzero(cloud.colours[:, 0].astype(int) - cloud.colours[:, 1] > 80))


TURNED = Sim3.from_log([0.5, -0.3, 0.2, 0.1, 0.4, -0.2, 0.3])


@pytest.mark.parametrize("S", [Sim3.identity(), TURNED])
def test_what_later_views_look_through_goes_and_what_they_see_stays(S: Sim3) -> None:
    point_map, camera = PointMap(PointMapConfig(voxel_size=0.2)), Camera()
    add(point_map, 0, [camera.view(0.0, 5.0), camera.view(0.3, 5.0)], S)
    plate, wall = red(point_map), len(point_map) - red(point_map)
    assert plate > 50
    add(point_map, 1, [camera.view(0.1 * i) for i in range(4)], S @ TURNED)
    assert red(point_map) == 0
    assert len(point_map) >= wall
    assert point_map.counters()["map_points_cleared"] >= plate


def test_what_is_hidden_stays() -> None:
    point_map, camera = PointMap(PointMapConfig(voxel_size=0.2)), Camera()
    add(point_map, 0, [camera.view(0.0), camera.view(0.3)], Sim3.identity())
    wall = len(point_map)
    add(point_map, 1, [camera.view(0.1 * i, 4.0) for i in range(6)], Sim3.identity())
    assert len(point_map) - red(point_map) >= wall
    assert red(point_map) > 50


def test_one_look_through_a_point_is_not_enough() -> None:
    point_map, camera = PointMap(PointMapConfig(voxel_size=0.2)), Camera()
    add(point_map, 0, [camera.view(0.0, 5.0), camera.view(0.3, 5.0)], Sim3.identity())
    plate = red(point_map)
    add(point_map, 1, [camera.view(0.1)], Sim3.identity())
    assert red(point_map) == plate


def test_frames_of_the_submap_before_look_through_new_points() -> None:
    camera = Camera()
    views = [*(camera.view(0.1 * i) for i in range(4)), camera.view(0.5, 5.0)]
    left = []
    for shared in (0, 4):
        point_map = PointMap(PointMapConfig(voxel_size=0.2, min_observations=1))
        add(point_map, 0, views[:4], Sim3.identity())
        add(point_map, 1, views, Sim3.identity(), shared)
        left.append(red(point_map))
    assert left == [0, 0]


def test_nothing_is_compared_where_no_submap_is_to_be() -> None:
    point_map, camera = PointMap(PointMapConfig(voxel_size=0.2, checked_submaps=0)), Camera()
    add(point_map, 0, [camera.view(0.0, 5.0), camera.view(0.3, 5.0)], Sim3.identity())
    plate = red(point_map)
    add(point_map, 1, [camera.view(0.1 * i) for i in range(4)], Sim3.identity())
    assert red(point_map) == plate


def test_submaps_older_than_the_newest_are_left_alone() -> None:
    point_map, camera = PointMap(PointMapConfig(voxel_size=0.2, checked_submaps=1)), Camera()
    add(point_map, 0, [camera.view(0.0, 5.0), camera.view(0.3, 5.0)], Sim3.identity())
    plate = red(point_map)
    away = Sim3(1.0, np.eye(3), np.array([500.0, 0.0, 0.0]))
    point_map.add(1, np.zeros((2, 3)), np.zeros((2, 3)), np.ones(2), away)
    add(point_map, 2, [camera.view(0.1 * i) for i in range(4)], Sim3.identity())
    assert red(point_map) == plate


def test_a_wall_seen_again_and_again_lies_nearer_to_where_it_is() -> None:
    errors = []
    for submaps in (1, 8):
        point_map, camera = PointMap(PointMapConfig(voxel_size=0.2)), Camera(seed=submaps, noise=0.02)
        for number in range(submaps):
            add(point_map, number, [camera.view(0.1 * number + 0.03 * i) for i in range(3)], Sim3.identity())
        errors.append(float(np.sqrt(np.mean((point_map.cloud().points[:, 2] - WALL_M) ** 2))))
    assert errors[1] < 0.6 * errors[0]


def test_a_view_from_much_nearer_takes_the_place_of_one_from_afar() -> None:
    point_map, far, near = PointMap(PointMapConfig(voxel_size=0.2)), Camera(noise=0.03), Camera(noise=0.005)
    add(point_map, 0, [far.view(0.0, z=-10.0), far.view(0.3, z=-10.0)], Sim3.identity())
    before = np.abs(point_map.cloud().points[:, 2] - WALL_M)
    add(point_map, 1, [near.view(0.1 * i, z=5.0) for i in range(3)], Sim3.identity())
    cloud = point_map.cloud().points
    inside = np.all(np.abs(cloud[:, :2]) < [2.3, 1.7], axis=1)
    assert before.mean() > 0.3
    assert np.abs(cloud[inside, 2] - WALL_M).mean() < 0.1


def test_normals_turn_with_their_submap() -> None:
    point_map, camera = PointMap(PointMapConfig(voxel_size=0.2)), Camera()
    add(point_map, 0, [camera.view(0.0), camera.view(0.3)], TURNED)
    normals = point_map.cloud().normals
    assert normals is not None
    np.testing.assert_allclose(normals, np.broadcast_to([0, 0, -1], normals.shape), atol=0.02)
    turn = Sim3.from_log([0, 0, 0, 0.3, 0, 0, 0])
    point_map.reanchor({0: turn @ TURNED})
    normals = point_map.cloud().normals
    assert normals is not None
    np.testing.assert_allclose(normals, np.broadcast_to(turn.R @ [0, 0, -1], normals.shape), atol=0.02)
