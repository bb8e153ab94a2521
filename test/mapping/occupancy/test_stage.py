"""The grid of a mapper that drives along a street: in metres only, and the same from a saved map."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from oracle import Oracle

from scal3r_ros.mapping import MapperConfig, MapUpdate, OnlineMapper
from scal3r_ros.mapping.occupancy.occupancy_map import placed_grid
from scal3r_ros.mapping.scale.config import ScaleConfig
from scal3r_ros.mapping.storage.contents import SavedMap
from scal3r_ros.mapping.storage.map_store import StoredMap
from scal3r_ros.mapping.values import FREE, OCCUPIED
from scal3r_ros.reconstruction.protocol import Frame
from scal3r_ros.simulation.drives.levelling import CAMERA_HEIGHT_M
from scal3r_ros.simulation.simulate import SimulatedFrame

Drain = Callable[[OnlineMapper, Sequence[Frame]], list[MapUpdate]]
CONFIG = MapperConfig(scale=ScaleConfig(camera_height=CAMERA_HEIGHT_M))


def test_the_way_of_the_camera_is_free(
    oracle: Oracle, street: list[Frame], street_frames: list[SimulatedFrame], drain: Drain, tmp_path: Path
) -> None:
    mapper = OnlineMapper(CONFIG, oracle)
    drain(mapper, street)
    grid = mapper.occupancy.grid()
    assert mapper.occupancy.reason == ""
    assert grid is not None
    assert abs(grid.ground_z + CAMERA_HEIGHT_M) < 0.4  # `map` begins at the first camera, which leans with its car
    driven = mapper.trajectory().T_ref_cam[:, :2, 3]
    seen = driven[np.linalg.norm(driven - driven[0], axis=1) > 5.0]  # nearer ground is below the picture
    cell = np.floor((seen - grid.origin) / grid.resolution).astype(int)
    assert (grid.cells[cell[:, 1], cell[:, 0]] == FREE).mean() > 0.95
    assert np.count_nonzero(grid.cells == OCCUPIED) > 100

    mapper.save(tmp_path / "map")
    saved = SavedMap(tmp_path / "map")
    arrays = saved.occupancy()
    assert arrays is not None
    again = placed_grid(arrays, saved.anchors, CONFIG.occupancy.max_cells)
    assert again is not None
    np.testing.assert_array_equal(again.cells, grid.cells)
    np.testing.assert_array_equal(again.origin, grid.origin)
    mapper.load(StoredMap(tmp_path / "map"))
    assert mapper.occupancy.grid() is None  # until the camera is found in it


def test_without_metres_there_is_no_grid_and_it_says_so(oracle: Oracle, street: list[Frame], drain: Drain) -> None:
    mapper = OnlineMapper(MapperConfig(), oracle)
    drain(mapper, street)
    assert mapper.occupancy.grid() is None
    assert mapper.occupancy.window(10.0) is None
    assert "not in metres" in mapper.occupancy.reason
    assert mapper.counters()["occupancy_submaps"] == 0
    assert mapper.counters()["occupancy_without_metres"] == mapper.counters()["submaps"]


def test_a_grid_that_is_not_wanted_costs_nothing(oracle: Oracle, street: list[Frame], drain: Drain) -> None:
    mapper = OnlineMapper(replace(CONFIG, occupancy=replace(CONFIG.occupancy, enabled=False)), oracle)
    drain(mapper, street[:30])
    assert mapper.occupancy.grid() is None
    assert "occupancy.enabled" in mapper.occupancy.reason
    assert "occupancy_submaps" not in mapper.counters()


def test_a_reset_forgets_the_grid(oracle: Oracle, street: list[Frame], drain: Drain) -> None:
    mapper = OnlineMapper(CONFIG, oracle)
    drain(mapper, street[:30])
    assert mapper.occupancy.window(20.0) is not None
    mapper.reset()
    assert mapper.occupancy.grid() is None
    assert mapper.occupancy.placed() is None
