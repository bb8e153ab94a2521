"""Meshes as other libraries read them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import open3d as o3d
import pytest
import trimesh

from scal3r_ros.io.clouds.length_unit import LengthUnit
from scal3r_ros.io.exports.mesh import mesh_glb_bytes, mesh_ply_bytes
from scal3r_ros.mapping.values import TriangleMesh


@pytest.fixture
def mesh() -> TriangleMesh:
    """A square of 2 × 1 on the ground and one triangle that stands on it."""
    vertices = np.float32([[0, 0, 0], [2, 0, 0], [2, 1, 0], [0, 1, 0], [0, 0, 3]])
    colours = np.uint8([[250, 0, 0], [0, 250, 0], [0, 0, 250], [9, 8, 7], [200, 100, 50]])
    return TriangleMesh(vertices, colours, np.int32([[0, 1, 2], [0, 2, 3], [0, 1, 4]]))


def test_a_ply_is_read_by_open3d_and_trimesh(mesh: TriangleMesh, tmp_path: Path) -> None:
    (tmp_path / "a.ply").write_bytes(mesh_ply_bytes(mesh, LengthUnit.metre(["wheel_odometry"])))
    read = o3d.io.read_triangle_mesh(str(tmp_path / "a.ply"))
    np.testing.assert_array_equal(np.asarray(read.vertices), mesh.vertices)
    np.testing.assert_array_equal(np.asarray(read.triangles), mesh.triangles)
    np.testing.assert_allclose(np.asarray(read.vertex_colors) * 255, mesh.colours, atol=0.5)
    other = trimesh.load(tmp_path / "a.ply", process=False)
    np.testing.assert_array_equal(other.visual.vertex_colors[:, :3], mesh.colours)
    assert other.area == pytest.approx(2.0 + 3.0)
    assert b"metre" in (tmp_path / "a.ply").read_bytes()[:400]


def test_a_glb_is_read_by_trimesh_and_open3d_with_y_up(mesh: TriangleMesh, tmp_path: Path) -> None:
    (tmp_path / "a.glb").write_bytes(mesh_glb_bytes(mesh))
    read = trimesh.load(tmp_path / "a.glb", force="mesh", process=False)
    np.testing.assert_allclose(read.bounds, [[0, 0, -1], [2, 3, 0]])
    np.testing.assert_array_equal(read.visual.vertex_colors[:, :3], mesh.colours)
    other = o3d.io.read_triangle_mesh(str(tmp_path / "a.glb"))
    assert len(other.triangles) == len(mesh.triangles)
    assert other.get_surface_area() == pytest.approx(2.0 + 3.0)
    assert mesh_glb_bytes(mesh) == mesh_glb_bytes(mesh)
