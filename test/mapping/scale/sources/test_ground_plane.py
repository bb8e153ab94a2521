"""The camera's height above a made-up street with walls, cars and noise; and silence where there is no ground."""

import numpy as np
import pytest

from scal3r_ros.geometry import se3
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.mapping.scale.sources.ground_plane import ground_plane
from scal3r_ros.reconstruction.protocol import Chunk, ChunkGeometry, Frame

CAMERA = Intrinsics(160.0, 160.0, 159.5, 47.5, 320, 96)
NOTHING = np.zeros((96, 320, 3), np.uint8)


def street(height=0.8, pitch_deg=2.0, slope_deg=0.0, ground=True, kerb=0.1, noise=0.03, outliers=0.2, seed=0):
    """A chunk of 12 cameras that travel along z over y = height, kerbs to both sides and walls beyond."""
    rng = np.random.default_rng(seed)
    R = se3.rotation_exp([np.deg2rad(pitch_deg), 0, 0])  # the camera looks down or up, it travels level
    T, depths = [], []
    uv = np.stack(np.meshgrid(np.arange(320), np.arange(96)), axis=-1)
    rays = np.concatenate([CAMERA.on_unit_plane(uv), np.ones((96, 320, 1))], axis=-1) @ R.T
    slope = se3.rotation_exp([np.deg2rad(slope_deg), 0, 0])
    for k in range(12):
        T.append(se3.se3(slope @ R, slope @ [0.0, 0.0, 0.6 * height * k]))
        with np.errstate(divide="ignore"):
            of_wall = 4.0 * height / np.abs(rays[..., 0])
            of_road = np.where(rays[..., 1] > 0, height / rays[..., 1], np.inf)
            side = (1 - kerb) * height / np.where(rays[..., 1] > 0, rays[..., 1], 1e-9)
        of_ground = np.where(np.abs(of_road * rays[..., 0]) < 2.0 * height, of_road, side)
        of_ground = np.where((rays[..., 1] > 0) & ground, of_ground, np.inf)
        t = np.minimum(of_wall, of_ground)
        depth = t * (rays @ R)[..., 2]
        depth = depth * np.exp(noise * rng.normal(size=depth.shape))
        wrong = rng.random(depth.shape) < outliers
        depth = np.where(wrong, depth * np.exp(rng.uniform(-1, 1, depth.shape)), depth)
        depths.append(np.where(depth < 25 * height, depth, 0.0))
    depth_maps = np.stack(depths).astype(np.float32)
    geometry = ChunkGeometry(np.stack(T), (CAMERA,) * 12, depth_maps, (depth_maps > 0).astype(np.float32))
    return Chunk(0, tuple(Frame(k, k * 10**8, NOTHING, CAMERA) for k in range(12)), 0), geometry


@pytest.mark.parametrize("pitch_deg", [-3.0, 0.0, 6.0])
@pytest.mark.parametrize("slope_deg", [-8.0, 0.0])
@pytest.mark.parametrize("height", [0.05, 1.0, 40.0])
def test_height_is_found_at_any_unit_mount_and_slope(height, pitch_deg, slope_deg):
    chunk, geometry = street(height, pitch_deg, slope_deg)
    plane = ground_plane(chunk, geometry, 0.5)
    assert plane is not None
    assert plane.height == pytest.approx(height, rel=0.015)
    assert plane.sigma < 0.02


def test_the_road_counts_and_not_the_higher_pavement_beside_it():
    chunk, geometry = street(1.0, kerb=0.12)
    plane = ground_plane(chunk, geometry, 0.5)
    assert plane is not None
    assert plane.height == pytest.approx(1.0, rel=0.02)


def test_nothing_is_said_without_ground():
    assert ground_plane(*street(ground=False), 0.5) is None


def test_nothing_is_said_of_a_camera_that_rolls():
    chunk, geometry = street()
    for k in range(12):
        geometry.T_chunk_cam[k, :3, :3] = geometry.T_chunk_cam[k, :3, :3] @ se3.rotation_exp([0, 0, 0.5 * k])
    assert ground_plane(chunk, geometry, 0.5) is None


def test_nothing_is_said_of_noise():
    chunk, geometry = street(noise=0.6, outliers=1.0)
    assert ground_plane(chunk, geometry, 0.5) is None
