"""A surface of triangles through fused points: screened Poisson reconstruction (Kazhdan and Hoppe 2013), by Open3D.

Large maps are cut into tiles, so that memory follows the tile and not the map.
"""

from __future__ import annotations

import numpy as np
import open3d as o3d
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from scal3r_ros.errors import MappingError
from scal3r_ros.mapping.values import PointCloud, TriangleMesh

Array = NDArray[np.float64]

TILE_CELLS, MARGIN_CELLS = 400, 12
"""Edge of a tile, and how far beyond it points shape its surface."""
REACH_CELLS = 2.0
"""Farther from any point, the surface is invented: Poisson's closes every hole."""
COLOUR_NEIGHBOURS = 4
LEAST_POINTS = 100
_SAMPLE = 5000


def surface_mesh(cloud: PointCloud, cell: float | None = None) -> TriangleMesh:
    """The surface of a cloud with normals, in its frame, with the colours of the points around each vertex.

    `cell` is the edge of the finest cells, in the cloud's unit: 1.5 times the usual distance of neighbours where it is
    None. Equal clouds give equal meshes.

    Raises:
        MappingError: the points have no normals, or there are too few of them for a surface.
    """
    if cloud.normals is None:
        raise MappingError("the points have no normals, which a mesh needs; map the recording again")
    known = np.linalg.norm(cloud.normals, axis=1) > 0.5
    if np.count_nonzero(known) < LEAST_POINTS:
        raise MappingError(f"{np.count_nonzero(known)} points with normals are too few for a mesh")
    cloud = PointCloud(cloud.points[known], cloud.colours[known], cloud.normals[known])
    points = cloud.points.astype(np.float64)
    cell = cell or 1.5 * _spacing(points)
    tile = np.floor(points / (TILE_CELLS * cell)).astype(np.int64)
    parts = [_tile_mesh(cloud, points, number, cell) for number in np.unique(tile, axis=0)]
    mesh = TriangleMesh.joined([part for part in parts if part is not None])
    if not len(mesh.triangles):
        raise MappingError("the points lie too far from each other for a mesh; give larger cells with --mesh-cell")
    return mesh


def _spacing(points: Array) -> float:
    """The median distance of points (n, 3) to their third neighbour."""
    sample = points[:: max(1, len(points) // _SAMPLE)]
    return float(np.median(cKDTree(points).query(sample, k=4)[0][:, 3]))


def _tile_mesh(cloud: PointCloud, points: Array, number: NDArray[np.int64], cell: float) -> TriangleMesh | None:
    """The triangles whose middle lies in the tile of this `number` (3,)."""
    low, high = number * TILE_CELLS * cell, (number + 1) * TILE_CELLS * cell
    margin = MARGIN_CELLS * cell
    near = np.flatnonzero(np.all((points >= low - margin) & (points < high + margin), axis=1))
    if len(near) < LEAST_POINTS or cloud.normals is None:
        return None
    around = points[near]
    oriented = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(around))
    oriented.normals = o3d.utility.Vector3dVector(cloud.normals[near].astype(np.float64))
    with o3d.utility.VerbosityContextManager(o3d.utility.VerbosityLevel.Error):
        # One thread: others would sum in another order each time.
        closed, _ = o3d.geometry.TriangleMesh.create_from_point_cloud_poisson(oriented, width=cell, n_threads=1)
    vertices, triangles = np.asarray(closed.vertices), np.asarray(closed.triangles, np.int64)
    if not len(triangles):
        return None
    away, nearest = cKDTree(around).query(vertices, k=COLOUR_NEIGHBOURS)
    middle = vertices[triangles].mean(axis=1)
    kept = np.all((middle >= low) & (middle < high), axis=1)
    kept &= np.all(away[triangles, 0] < REACH_CELLS * cell, axis=1)
    used, triangles = np.unique(triangles[kept], return_inverse=True)
    share = 1.0 / np.maximum(away[used], 0.1 * cell)
    share /= share.sum(axis=1, keepdims=True)
    colours = np.einsum("nk,nkc->nc", share, cloud.colours[near][nearest[used]].astype(np.float64))
    return TriangleMesh(
        vertices[used].astype(np.float32), np.rint(colours).astype(np.uint8), triangles.reshape(-1, 3).astype(np.int32)
    )
