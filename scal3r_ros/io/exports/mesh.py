"""Coloured meshes as PLY, in the frame of the map, and as GLB (binary glTF), whose y is up."""

from __future__ import annotations

import io

import numpy as np
from plyfile import PlyData, PlyElement

from scal3r_ros.io.clouds.length_unit import UNKNOWN_UNIT, LengthUnit
from scal3r_ros.io.clouds.ply import AXES, COLOURS
from scal3r_ros.mapping.values import TriangleMesh


def mesh_ply_bytes(mesh: TriangleMesh, unit: LengthUnit = UNKNOWN_UNIT) -> bytes:
    """A binary little-endian PLY of vertices with colours and of faces, its `unit` in a comment."""
    columns = [*((name, "<f4") for name in AXES), *((name, "u1") for name in COLOURS)]
    vertices = np.empty(len(mesh.vertices), columns)
    for axis in range(3):
        vertices[AXES[axis]] = mesh.vertices[:, axis]
        vertices[COLOURS[axis]] = mesh.colours[:, axis]
    faces = np.empty(len(mesh.triangles), [("vertex_indices", "<i4", (3,))])
    faces["vertex_indices"] = mesh.triangles
    elements = [PlyElement.describe(vertices, "vertex"), PlyElement.describe(faces, "face")]
    buffer = io.BytesIO()
    PlyData(elements, byte_order="<", comments=[str(unit)]).write(buffer)
    return buffer.getvalue()


def mesh_glb_bytes(mesh: TriangleMesh, unit: LengthUnit = UNKNOWN_UNIT) -> bytes:
    """A binary glTF of the mesh, turned so that y is up and x stays; its `unit` is in the scene's extras."""
    import trimesh  # takes long, and only this needs it

    turned = mesh.vertices[:, [0, 2, 1]] * np.array([1.0, 1.0, -1.0], np.float32)
    surface = trimesh.Trimesh(turned, mesh.triangles, vertex_colors=mesh.colours, process=False)
    scene = trimesh.Scene(surface, metadata={"unit": str(unit)})
    return bytes(scene.export(file_type="glb"))
