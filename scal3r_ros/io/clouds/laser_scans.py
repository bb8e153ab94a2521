"""Laser scans that a reconstruction is compared with: ETH3D's `scan_alignment.mlp`, or clouds in the world's frame."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.errors import EvaluationError
from scal3r_ros.io.clouds.ply import read_ply

ALIGNMENT = "scan_alignment.mlp"

Array = NDArray[np.float64]


def read_alignment(path: Path) -> list[tuple[Array, Array]]:
    """Points (n, 3) in the scanner's frame and its pose T_world_scan (4, 4), of each scan of a MeshLab project.

    Raises:
        EvaluationError: the project or one of its scans cannot be read.
    """
    try:
        meshes = list(ElementTree.parse(path).getroot().iter("MLMesh"))
        found = []
        for mesh in meshes:
            matrix = mesh.find("MLMatrix44")
            text = "" if matrix is None else matrix.text or ""
            found.append((path.parent / mesh.attrib["filename"], np.array(text.split(), np.float64).reshape(4, 4)))
    except (OSError, ElementTree.ParseError, KeyError, ValueError) as error:
        raise EvaluationError(f"{path} is no MeshLab project of scans ({error!r})") from error
    if not found:
        raise EvaluationError(f"{path} names no scan")
    return [(read_ply(scan).points, T_world_scan) for scan, T_world_scan in found]
