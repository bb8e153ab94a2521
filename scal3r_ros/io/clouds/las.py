"""Writes point clouds as LAS 1.4 or, compressed, LAZ (https://www.asprs.org/las)."""

from __future__ import annotations

import io

import laspy
import numpy as np

from scal3r_ros.mapping.values import PointCloud

POINT_FORMAT = 7
"""Position, time and colour."""
STEP = 1e-4
"""Coordinates are whole multiples of this, or of what 32 bits allow for a larger cloud."""
MOST_STEPS = 2**31 - 1
COLOUR_16_BIT = 257


def las_bytes(cloud: PointCloud, compressed: bool = False) -> bytes:
    """A LAS file of position and colour, a LAZ file where `compressed`."""
    points = cloud.points.astype(np.float64)
    header = laspy.LasHeader(point_format=POINT_FORMAT, version="1.4")
    header.generating_software = "scal3r_ros"
    if len(points):
        header.offsets = np.floor(points.min(axis=0))
        reach = float((points - header.offsets).max())
        header.scales = np.full(3, max(STEP, 10.0 ** np.ceil(np.log10(max(reach, STEP) / MOST_STEPS))))
    las = laspy.LasData(header)
    las.x, las.y, las.z = points.T
    las.red, las.green, las.blue = cloud.colours.astype(np.uint16).T * COLOUR_16_BIT
    buffer = io.BytesIO()
    las.write(buffer, do_compress=compressed)
    return buffer.getvalue()
