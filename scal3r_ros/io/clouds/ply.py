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


@dataclass(frozen=True)
class Cloud:
    """`points` (n, 3) float64 in the frame of the file; `colours` (n, 3) uint8 RGB."""

    points: NDArray[np.float64]
    colours: NDArray[np.uint8]


def ply_bytes(cloud: PointCloud, unit: LengthUnit = UNKNOWN_UNIT) -> bytes:
    """A binary little-endian PLY of position (float) and colour (uchar), its `unit` in a comment."""
    columns = [*((name, "<f4") for name in AXES), *((name, "u1") for name in COLOURS)]
    vertices = np.empty(len(cloud.points), columns)
    for axis in range(3):
        vertices[AXES[axis]] = cloud.points[:, axis]
        vertices[COLOURS[axis]] = cloud.colours[:, axis]
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
    if all(name in names and vertices[name].dtype == np.uint8 for name in COLOURS):
        return Cloud(points, np.stack([vertices[name] for name in COLOURS], axis=1))
    return Cloud(points, np.full(points.shape, GREY, np.uint8))
