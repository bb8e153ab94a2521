"""Reads and writes point clouds as PLY."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from plyfile import PlyData, PlyElement, PlyElementParseError, PlyParseError

from scal3r_ros.errors import EvaluationError
from scal3r_ros.io.clouds.length_unit import UNKNOWN_UNIT, LengthUnit
from scal3r_ros.mapping.values import PointCloud

GREY = 150
AXES = ("x", "y", "z")
COLOURS = ("red", "green", "blue")
NORMALS = ("nx", "ny", "nz")


@dataclass(frozen=True)
class Cloud:
    """`points` (n, 3) float64 in the frame of the file; `colours` (n, 3) uint8 RGB.

    `normals` (n, 3) float32, zero where unknown; None where the file has none.
    """

    points: NDArray[np.float64]
    colours: NDArray[np.uint8]
    normals: NDArray[np.float32] | None = None


def ply_bytes(cloud: PointCloud, unit: LengthUnit = UNKNOWN_UNIT) -> bytes:
    """A binary little-endian PLY of position (float), normals where known (float) and colour (uchar).

    Its `unit` is in a comment.
    """
    arrays = [(AXES, cloud.points, "<f4"), (NORMALS, cloud.normals, "<f4"), (COLOURS, cloud.colours, "u1")]
    known = [(names, array, kind) for names, array, kind in arrays if array is not None]
    vertices = np.empty(len(cloud.points), [(name, kind) for names, _, kind in known for name in names])
    for names, array, _ in known:
        for axis in range(3):
            vertices[names[axis]] = array[:, axis]
    buffer = io.BytesIO()
    PlyData([PlyElement.describe(vertices, "vertex")], byte_order="<", comments=[str(unit)]).write(buffer)
    return buffer.getvalue()


def read_ply(path: Path) -> Cloud:
    """The vertices of a PLY file, text or binary; grey where it has no red, green and blue of 8 bits.

    Raises:
        EvaluationError: the file cannot be read, holds no points, is cut off, or holds points that are not finite.
    """
    again = "run `scal3r replay` again"
    try:
        vertices = PlyData.read(path)["vertex"].data
        names = vertices.dtype.names or ()
        points = np.stack([vertices[name].astype(np.float64) for name in AXES], axis=1)
    except OSError as error:
        raise EvaluationError(f"point cloud {path} cannot be read: {error.strerror}") from error
    except PlyElementParseError as error:
        raise EvaluationError(f"point cloud {path} is cut off or damaged ({error}); {again}") from error
    except (PlyParseError, KeyError, TypeError, ValueError) as error:
        raise EvaluationError(f"point cloud {path} is no PLY file of points ({error}); {again}") from error
    if not np.all(np.isfinite(points)):
        raise EvaluationError(f"point cloud {path} holds points that are not finite; {again}")
    colours, normals = np.full(points.shape, GREY, np.uint8), None
    if all(name in names and vertices[name].dtype == np.uint8 for name in COLOURS):
        colours = np.stack([vertices[name] for name in COLOURS], axis=1)
    if all(name in names for name in NORMALS):
        normals = np.stack([vertices[name].astype(np.float32) for name in NORMALS], axis=1)
    return Cloud(points, colours, normals)
