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
CONFIDENCE, SUBMAP = "confidence", "submap"


@dataclass(frozen=True)
class Cloud:
    """`points` (n, 3) float64 in the frame of the file; `colours` (n, 3) uint8 RGB.

    `normals` (n, 3) float32, zero where unknown, `confidence` (n,) float32 in 0..1 and `submaps` (n,) int32 are None
    where the file has none.
    """

    points: NDArray[np.float64]
    colours: NDArray[np.uint8]
    normals: NDArray[np.float32] | None = None
    confidence: NDArray[np.float32] | None = None
    submaps: NDArray[np.int32] | None = None


def ply_bytes(cloud: PointCloud, unit: LengthUnit = UNKNOWN_UNIT) -> bytes:
    """A binary little-endian PLY of position (float), normals (float), colour (uchar), confidence (float) and submap
    (int); normals, confidence and submap where they are known.

    Its `unit` is in a comment.
    """
    columns = dict(zip(AXES, cloud.points.T, strict=True))
    if cloud.normals is not None:
        columns |= zip(NORMALS, cloud.normals.T, strict=True)
    columns |= zip(COLOURS, cloud.colours.T, strict=True)
    if cloud.confidence is not None:
        columns[CONFIDENCE] = cloud.confidence
    if cloud.submaps is not None:
        columns[SUBMAP] = cloud.submaps
    kinds = dict.fromkeys(columns, "<f4") | dict.fromkeys(COLOURS, "u1") | {SUBMAP: "<i4"}
    vertices = np.empty(len(cloud.points), [(name, kinds[name]) for name in columns])
    for name, column in columns.items():
        vertices[name] = column
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
    confidence, submaps = None, None
    if CONFIDENCE in names and vertices[CONFIDENCE].dtype.kind == "f":
        confidence = np.nan_to_num(vertices[CONFIDENCE].astype(np.float32))
    if SUBMAP in names and vertices[SUBMAP].dtype.kind == "i" and (vertices[SUBMAP] >= 0).all():
        submaps = vertices[SUBMAP].astype(np.int32)
    return Cloud(points, colours, normals, confidence, submaps)
