"""Reads the binary PLY files that hold point clouds, and notices where they are cut off."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.errors import EvaluationError

LONGEST_HEADER = 64
GREY = 150
NUMPY_KINDS = {
    "char": "i1",
    "uchar": "u1",
    "short": "i2",
    "ushort": "u2",
    "int": "i4",
    "uint": "u4",
    "int8": "i1",
    "uint8": "u1",
    "int16": "i2",
    "uint16": "u2",
    "int32": "i4",
    "uint32": "u4",
    "float": "f4",
    "float32": "f4",
    "double": "f8",
    "float64": "f8",
}


@dataclass(frozen=True)
class Cloud:
    """`points` (n, 3) float64, frame named by whoever gives it out; `colours` (n, 3) uint8 RGB."""

    points: NDArray[np.float64]
    colours: NDArray[np.uint8]


def read_ply(path: Path) -> Cloud:
    """The vertices of a binary little-endian PLY file; grey where it has no red, green and blue of 8 bits.

    Raises:
        EvaluationError: the file can not be read, is of another form, is cut off, or holds points that are not finite.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise EvaluationError(f"point cloud {path} can not be read: {error.strerror}") from error
    header, end, body = content.partition(b"end_header\n")
    words = [line.split() for line in header.decode("ascii", errors="replace").splitlines()[:LONGEST_HEADER]]
    layout = _layout(words)
    if not end or layout is None:
        raise EvaluationError(
            f"point cloud {path} is no binary little-endian PLY file of points; run `scal3r replay` again"
        )
    count, row = layout
    if len(body) < count * row.itemsize:
        raise EvaluationError(
            f"point cloud {path} is cut off: it holds {len(body) // row.itemsize} of {count} points; "
            "run `scal3r replay` again"
        )
    rows = np.frombuffer(body, row, count)
    points = np.stack([rows[axis].astype(np.float64) for axis in ("x", "y", "z")], axis=1)
    if not np.all(np.isfinite(points)):
        raise EvaluationError(f"point cloud {path} holds points that are not finite; run `scal3r replay` again")
    names = ["red", "green", "blue"]
    if all(name in (row.names or ()) and row[name] == np.uint8 for name in names):
        return Cloud(points, np.stack([rows[name] for name in names], axis=1))
    return Cloud(points, np.full(points.shape, GREY, np.uint8))


def _layout(words: list[list[str]]) -> tuple[int, np.dtype[np.void]] | None:
    """Number of vertices and the layout of one, None where the header is not that of a file whose vertices come
    first.
    """
    if words[:2] != [["ply"], ["format", "binary_little_endian", "1.0"]]:
        return None
    elements = [line for line in words if line[:1] == ["element"]]
    if not elements or len(elements[0]) != 3 or elements[0][1] != "vertex" or not elements[0][2].isdigit():
        return None
    first = words.index(elements[0]) + 1
    after = words.index(elements[1]) if len(elements) > 1 else len(words)
    properties = [line[1:] for line in words[first:after] if line[:1] == ["property"]]
    if any(len(kind_and_name) != 2 or kind_and_name[0] not in NUMPY_KINDS for kind_and_name in properties):
        return None
    row = np.dtype([(name, "<" + NUMPY_KINDS[kind]) for kind, name in properties])
    return (int(elements[0][2]), row) if {"x", "y", "z"} <= set(row.names or ()) else None
