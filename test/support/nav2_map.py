"""A map as Nav2's map_server loads it (nav2_map_server/src/map_io.cpp, mode trinary), independent of the package."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import yaml


class Nav2Map(NamedTuple):
    """`cells` (rows, columns) as in nav_msgs/OccupancyGrid; `origin` x, y, yaw."""

    cells: np.ndarray
    resolution: float
    origin: list[float]


def read_nav2(path: Path, free_thresh: float | None = None) -> Nav2Map:
    """The map of a YAML file; `free_thresh` in place of its own where given."""
    header = yaml.safe_load(path.read_text())
    assert header["mode"] == "trinary"
    picture = cv2.imread(str(path.parent / header["image"]), cv2.IMREAD_UNCHANGED)
    assert picture is not None
    assert picture.ndim == 2
    shade = picture / 255.0
    occupancy = shade if header["negate"] else 1.0 - shade
    cells = np.full(picture.shape, -1, np.int8)
    cells[occupancy > header["occupied_thresh"]] = 100
    cells[occupancy < (header["free_thresh"] if free_thresh is None else free_thresh)] = 0
    return Nav2Map(cells[::-1], header["resolution"], header["origin"])
