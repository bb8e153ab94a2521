"""Writes point clouds as PCD, the format of PCL (https://pointclouds.org/documentation/tutorials/pcd_file_format.html).

Open3D's writer reports success on a full disk; bytes can be written atomically.
"""

from __future__ import annotations

import numpy as np

from scal3r_ros.io.clouds.length_unit import UNKNOWN_UNIT, LengthUnit
from scal3r_ros.mapping.values import PointCloud


def pcd_bytes(cloud: PointCloud, unit: LengthUnit = UNKNOWN_UNIT) -> bytes:
    """A binary PCD of position and colour, its `unit` in a comment; PCL packs red, green and blue into the bits of one
    float.
    """
    count = len(cloud.points)
    rows = np.empty(count, [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("rgb", "<u4")])
    for axis, name in enumerate("xyz"):
        rows[name] = cloud.points[:, axis]
    red, green, blue = cloud.colours.astype(np.uint32).T
    rows["rgb"] = red << 16 | green << 8 | blue
    header = (
        f"# .PCD v0.7 - Point Cloud Data file format\n# {unit}\n"
        "VERSION 0.7\nFIELDS x y z rgb\nSIZE 4 4 4 4\nTYPE F F F F\n"
        f"COUNT 1 1 1 1\nWIDTH {count}\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS {count}\nDATA binary\n"
    )
    return header.encode("ascii") + rows.tobytes()
