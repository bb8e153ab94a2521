"""Writes point clouds as LAS 1.4 or, compressed, LAZ (https://www.asprs.org/las)."""

from __future__ import annotations

import io

import laspy
import numpy as np
from laspy.vlrs.known import WktCoordinateSystemVlr

from scal3r_ros.io.clouds.length_unit import UNKNOWN_UNIT, LengthUnit
from scal3r_ros.mapping.values import PointCloud

POINT_FORMAT = 7
"""Position, time and colour."""
STEP = 1e-4
"""Coordinates are whole multiples of this, or of what 32 bits allow for a larger cloud."""
MOST_STEPS = 2**31 - 1
COLOUR_16_BIT = 257
AXES = ',AXIS["x",OTHER],AXIS["y",OTHER],AXIS["z",OTHER]'
METRES_WKT = f'LOCAL_CS["map of scal3r_ros",LOCAL_DATUM["first camera",32767],UNIT["metre",1]{AXES}]'
"""A local coordinate system in metres (OGC 01-009, which LAS 1.4 asks for)."""
TEXT_AREA = 3
"""The number of LAS's record for a text on the file."""


def las_bytes(cloud: PointCloud, compressed: bool = False, unit: LengthUnit = UNKNOWN_UNIT) -> bytes:
    """A LAS file of position and colour, a LAZ file where `compressed`.

    Its text record says what `unit` the coordinates have; where that is the metre, so does its coordinate system.
    """
    points = cloud.points.astype(np.float64)
    header = laspy.LasHeader(point_format=POINT_FORMAT, version="1.4")
    header.generating_software = "scal3r_ros"
    header.vlrs.append(laspy.VLR("LASF_Spec", TEXT_AREA, "unit of coordinates", str(unit).encode("ascii")))
    header.global_encoding.wkt = True
    if unit.is_metre:
        header.vlrs.append(WktCoordinateSystemVlr(METRES_WKT))
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
