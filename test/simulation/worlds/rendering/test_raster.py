"""Depth of the rasteriser against geometry by hand, also of triangles that reach behind the camera."""

import math

import numpy as np
import pytest

from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.simulation.simulate import pinhole
from scal3r_ros.simulation.worlds.motion import camera_poses
from scal3r_ros.simulation.worlds.rendering.sensor import CLEAN
from scal3r_ros.simulation.worlds.rendering.view import View, Viewer
from scal3r_ros.simulation.worlds.surfaces.atlas import SIZE, build_atlas
from scal3r_ros.simulation.worlds.surfaces.mesh import MeshBuilder
from scal3r_ros.simulation.worlds.world import daylight

CAMERA = pinhole(64, 48, 90.0)
STANDING = np.zeros((0, 4, 4))


def look(mesh: MeshBuilder, pose: np.ndarray, movers: np.ndarray = STANDING, camera: Intrinsics = CAMERA) -> View:
    rng = np.random.default_rng(0)
    atlas = build_atlas([rng.random((SIZE, SIZE, 4)).astype(np.float32), np.ones((SIZE, SIZE, 4), np.float32)])
    viewer = Viewer(mesh.build(), atlas, daylight(rng, 0), camera, pose[None, :3, 3])
    return viewer.draw(pose, pose, movers, np.ones(len(movers), bool), CLEAN, 0)


def facing(yaw: float = 0.0, pitch: float = 0.0, height: float = 1.5) -> np.ndarray:
    return camera_poses(np.array([[0.0, 0.0, height]]), *(np.array([value]) for value in (yaw, pitch, 0.0)))[0]


def plane_depth(pose: np.ndarray, normal: np.ndarray, offset: float) -> np.ndarray:
    """z-depth of the plane normal · p = offset at the pixels' centres; 0 where it lies behind."""
    v, u = np.mgrid[: CAMERA.height, : CAMERA.width]
    rays = np.stack([(u - CAMERA.cx) / CAMERA.fx, (v - CAMERA.cy) / CAMERA.fy, np.ones(u.shape)], axis=-1)
    z = (offset - normal @ pose[:3, 3]) / ((rays @ pose[:3, :3].T) @ normal)
    return np.where(z > 0, z, 0.0)


@pytest.mark.parametrize(("yaw", "pitch"), [(0.0, 0.0), (0.4, -0.3), (2.0, -0.8)])
def test_ground_that_reaches_behind_the_camera_has_its_depth_in_every_pixel(yaw: float, pitch: float) -> None:
    mesh = MeshBuilder()
    far = 1e5
    mesh.quads([[-far, -far, 0], [far, -far, 0], [far, far, 0], [-far, far, 0]], 1)
    pose = facing(yaw, pitch)
    expected = plane_depth(pose, np.array([0.0, 0.0, 1.0]), 0.0)
    near = (expected > 0) & (expected < 1e4)
    view = look(mesh, pose)
    assert near.sum() > 1000
    np.testing.assert_allclose(view.depth_m[near], expected[near], rtol=1e-4)
    assert not view.depth_m[expected == 0].any()


def test_a_box_is_seen_from_outside_where_it_stands() -> None:
    mesh = MeshBuilder()
    mesh.box([5.0, 0.0, 1.5], [1.0, 1.0, 1.0], 0.0, 1)
    depth = look(mesh, facing()).depth_m
    v, u = np.nonzero(depth)
    np.testing.assert_allclose(depth[v, u], 4.0, rtol=1e-5)
    half = CAMERA.fx / 4.0
    assert (u.min(), u.max()) == (math.ceil(CAMERA.cx - half), math.floor(CAMERA.cx + half))
    assert (v.min(), v.max()) == (math.ceil(CAMERA.cy - half), math.floor(CAMERA.cy + half))


def test_walls_have_one_side_and_sheets_two() -> None:
    sheet = np.array([[3.0, 1, 0.5], [3.0, -1, 0.5], [3.0, -1, 2.5], [3.0, 1, 2.5]])
    for corners, kind, seen in ((sheet, 0, True), (sheet[::-1], 0, False), (sheet[::-1], 1, True)):
        mesh = MeshBuilder()
        mesh.quads(corners, 1, kind=kind)
        assert look(mesh, facing()).depth_m.any() == seen


def test_nothing_gapes_between_triangles_that_share_an_edge() -> None:
    mesh = MeshBuilder()
    y, z = np.meshgrid(np.linspace(-9, 9, 40), np.linspace(-7, 10, 37))
    x = 4.0 + 0.5 * np.sin(3 * y) * np.cos(2 * z)
    mesh.grid(np.stack([x, y, z], axis=-1)[:, ::-1], np.zeros((*y.shape, 2)), 1)
    assert (look(mesh, facing(0.03, 0.02)).depth_m > 0).all()


def test_what_moves_is_where_it_has_gone_and_is_marked() -> None:
    mesh = MeshBuilder()
    far = 100.0
    mesh.quads([[-far, -far, 0], [far, -far, 0], [far, far, 0], [-far, far, 0]], 1)
    mesh.mover = 0
    mesh.box([0.0, 0.0, 1.5], [0.5, 0.5, 0.5], 0.0, 1)
    for distance in (3.0, 6.0):
        pose = np.eye(4)
        pose[0, 3] = distance
        view = look(mesh, facing(), pose[None])
        assert view.moving.any()
        np.testing.assert_allclose(view.depth_m[view.moving], distance - 0.5, rtol=1e-5)
        assert not view.moving[-1].any()
