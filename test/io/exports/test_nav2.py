"""Maps for Nav2, read back by the rules of its map_server with OpenCV's reader of pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from nav2_map import read_nav2

from scal3r_ros.io.exports.nav2 import nav2_bytes
from scal3r_ros.mapping.values import FREE, OCCUPIED, UNKNOWN, OccupancyGrid


@pytest.mark.parametrize("free_thresh", [None, 0.196])
def test_map_server_reads_the_cells_that_were_written(tmp_path: Path, free_thresh: float | None) -> None:
    """Also with the threshold that many have in their own files."""
    cells = np.random.default_rng(0).choice([UNKNOWN, FREE, OCCUPIED], (7, 12)).astype(np.int8)
    picture, header = nav2_bytes(OccupancyGrid(cells, 0.05, np.array([-3.2, 1.7]), -1.1), "a.pgm")
    (tmp_path / "a.pgm").write_bytes(picture)
    (tmp_path / "a.yaml").write_bytes(header)
    read = read_nav2(tmp_path / "a.yaml", free_thresh)
    np.testing.assert_array_equal(read.cells, cells)
    assert (read.resolution, *read.origin) == (0.05, -3.2, 1.7, 0.0)
