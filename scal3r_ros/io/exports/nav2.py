"""An occupancy grid as the map of Nav2's map_server: a PGM picture and a YAML file that places it.

https://docs.nav2.org/configuration/packages/configuring-map-server.html
"""

from __future__ import annotations

import numpy as np
import yaml
from numpy.typing import NDArray

from scal3r_ros.mapping.values import FREE, OCCUPIED, OccupancyGrid

BLACK, GREY, WHITE = 0, 205, 254
"""Occupied, unknown and free, as map_saver writes them."""
OCCUPIED_FROM, FREE_BELOW = 0.65, 0.1
"""Thresholds of (255 - grey) / 255. Grey is 0.196: the usual 0.25 would make unknown cells free."""


def nav2_bytes(grid: OccupancyGrid, picture: str) -> tuple[bytes, bytes]:
    """The picture, and the YAML file that names it `picture`. The picture's first row is the grid's last."""
    grey: NDArray[np.uint8] = np.full(grid.cells.shape, GREY, np.uint8)
    grey[grid.cells == FREE] = WHITE
    grey[grid.cells == OCCUPIED] = BLACK
    rows, columns = grey.shape
    header = {
        "image": picture,
        "mode": "trinary",
        "resolution": float(grid.resolution),
        "origin": [float(grid.origin[0]), float(grid.origin[1]), 0.0],
        "negate": 0,
        "occupied_thresh": OCCUPIED_FROM,
        "free_thresh": FREE_BELOW,
    }
    content = f"P5\n{columns} {rows}\n255\n".encode() + np.ascontiguousarray(grey[::-1]).tobytes()
    return content, yaml.safe_dump(header, sort_keys=False, default_flow_style=None).encode()
