"""The surface through fused points, against the sphere that they lie on."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import cKDTree

from scal3r_ros.errors import MappingError
from scal3r_ros.mapping.cloud import meshing
from scal3r_ros.mapping.cloud.meshing import surface_mesh
from scal3r_ros.mapping.values import PointCloud

RADIUS = 2.0
CELL = 0.1


def bowl(noise: float = 0.0) -> PointCloud:
    """The lower half of a sphere seen from its middle, red where x < 0 and blue elsewhere."""
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(40_000, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    directions = directions[directions[:, 2] < 0]
    points = directions * (RADIUS + noise * rng.normal(size=(len(directions), 1)))
    colours = np.where(directions[:, :1] < 0, [[220, 10, 10]], [[10, 10, 220]]).astype(np.uint8)
    return PointCloud(points.astype(np.float32), colours, -directions.astype(np.float32))


@pytest.mark.parametrize("tile", [meshing.TILE_CELLS, 16])
def test_it_lies_on_the_surface_and_is_open_where_no_points_are(tile: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meshing, "TILE_CELLS", tile)
    mesh = surface_mesh(bowl(0.02), CELL)
    off = np.abs(np.linalg.norm(mesh.vertices, axis=1) - RADIUS)
    assert np.median(off) < 0.01
    assert np.percentile(off, 99) < 0.06
    assert mesh.vertices[:, 2].max() < 3 * CELL
    assert np.percentile(cKDTree(mesh.vertices).query(bowl().points)[0], 99) < 1.5 * CELL


def test_triangles_face_where_the_surface_was_seen_from() -> None:
    mesh = surface_mesh(bowl(), CELL)
    a, b, c = mesh.vertices[mesh.triangles].transpose(1, 0, 2)
    outward = np.einsum("ni,ni->n", np.cross(b - a, c - a), a)
    assert np.mean(outward < 0) > 0.999


def test_vertices_have_the_colours_of_the_points_around_them() -> None:
    mesh = surface_mesh(bowl(), CELL)
    left = mesh.vertices[:, 0] < -CELL
    right = mesh.vertices[:, 0] > CELL
    assert (mesh.colours[left] == [220, 10, 10]).all()
    assert (mesh.colours[right] == [10, 10, 220]).all()


def test_equal_clouds_give_equal_meshes_at_the_spacing_of_their_points() -> None:
    first, second = surface_mesh(bowl()), surface_mesh(bowl())
    np.testing.assert_array_equal(first.vertices, second.vertices)
    np.testing.assert_array_equal(first.triangles, second.triangles)
    assert len(first.vertices) > len(surface_mesh(bowl(), 0.3).vertices)


def test_points_without_normals_are_refused() -> None:
    cloud = bowl()
    with pytest.raises(MappingError, match="no normals"):
        surface_mesh(PointCloud(cloud.points, cloud.colours))
    with pytest.raises(MappingError, match="too few"):
        surface_mesh(PointCloud(cloud.points, cloud.colours, np.zeros_like(cloud.points)))
