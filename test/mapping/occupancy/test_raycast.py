"""Rays of a room whose walls are known in closed form: what they cross is free, where they end is occupied."""

from __future__ import annotations

import numpy as np
import pytest
from box_room import CAMERA, HALF_SIZE, Room

from scal3r_ros.geometry.sim3 import Sim3
from scal3r_ros.mapping.occupancy.config import OccupancyConfig
from scal3r_ros.mapping.occupancy.ground import Ground, ground_of
from scal3r_ros.mapping.occupancy.occupancy_map import OccupancyMap
from scal3r_ros.mapping.occupancy.raycast import cast
from scal3r_ros.mapping.values import FREE, OCCUPIED, OccupancyGrid
from scal3r_ros.reconstruction.protocol import Chunk, ChunkGeometry, Frame

UP = np.array([0.0, 0.0, 1.0])
UNIT_M = 2.5
"""Metres in a unit of the chunk."""


def chunk_of(room: Room, blind: slice = slice(0)) -> tuple[Chunk, ChunkGeometry, Sim3]:
    """Views along the room's trajectory, in a frame and a unit of their own; and S_room_chunk.

    Rows `blind` of the images have no depth.
    """
    views = range(0, len(room.trajectory), 4)
    image = np.zeros((CAMERA.height, CAMERA.width, 3), np.uint8)
    frames = tuple(Frame(k, int(room.trajectory.stamps_ns[k]), image, CAMERA) for k in views)
    S_room_chunk = Sim3.from_log([0.3, -0.4, 0.2, 0.5, -0.2, 1.1, np.log(UNIT_M)])
    T = S_room_chunk.inverse().apply_pose(room.trajectory.T_ref_cam[list(views)])
    depth = np.stack([room.depth_m(k) / np.float32(UNIT_M) for k in views])
    confidence = np.ones_like(depth)
    confidence[:, blind] = 0.0
    return Chunk(0, frames, 0), ChunkGeometry(T, (CAMERA,) * len(frames), depth, confidence), S_room_chunk


def grid_of(room: Room, config: OccupancyConfig, blind: slice = slice(0)) -> OccupancyGrid:
    chunk, geometry, S_room_chunk = chunk_of(room, blind)
    up = S_room_chunk.R.T @ UP
    heights = (S_room_chunk.apply(geometry.T_chunk_cam[:, :3, 3])[:, 2] + HALF_SIZE[2]) / UNIT_M
    grid = cast(chunk, geometry, Ground(up, heights), UNIT_M, config, 0.5)
    assert grid is not None
    whole = OccupancyMap(config.cell_size, 10**6, 10**6)
    whole.add(0, grid)
    found = whole.whole({0: S_room_chunk})
    assert found is not None
    return found


def centres(grid: OccupancyGrid, state: int) -> np.ndarray:
    row, column = np.nonzero(grid.cells == state)
    return np.column_stack([column + 0.5, row + 0.5]) * grid.resolution + grid.origin


def test_the_floor_is_free_and_the_walls_are_occupied(room: Room) -> None:
    config = OccupancyConfig(min_height=0.3, max_height=2.0)
    grid = grid_of(room, config)
    inside = HALF_SIZE[:2] - np.abs(centres(grid, FREE))  # to the nearest wall each way
    assert len(inside) > 1000
    assert inside.min() > -0.5 * config.cell_size  # nothing behind a wall is free
    walls = HALF_SIZE[:2] - np.abs(centres(grid, OCCUPIED))
    assert len(walls) > 50
    assert np.abs(walls).min(axis=1).max() < 1.5 * config.cell_size  # and nothing but walls is occupied
    assert grid.ground_z == pytest.approx(-HALF_SIZE[2], abs=0.02)


def test_a_floor_that_is_not_seen_is_not_free(room: Room) -> None:
    config = OccupancyConfig(min_height=0.3, max_height=2.0)
    grid = grid_of(room, config, blind=slice(20, None))
    assert len(centres(grid, OCCUPIED)) > 50
    assert not len(centres(grid, FREE))


def test_what_is_low_or_high_is_no_obstacle(room: Room) -> None:
    """The room is 3 m high: between 3.2 and 3.4 m above the floor there is nothing."""
    grid = grid_of(room, OccupancyConfig(min_height=3.2, max_height=3.4))
    assert not len(centres(grid, OCCUPIED))


def test_the_floor_is_found_by_gravity_under_a_camera_that_rises_and_sinks(room: Room) -> None:
    chunk, geometry, S_room_chunk = chunk_of(room)
    heights = S_room_chunk.apply(geometry.T_chunk_cam[:, :3, 3])[:, 2] + HALF_SIZE[2]
    assert np.ptp(heights) > 0.3
    found = ground_of(chunk, geometry, S_room_chunk.R.T @ UP, 0.5)
    assert found is not None
    np.testing.assert_allclose(found.heights * UNIT_M, heights, atol=0.05)
    assert ground_of(chunk, geometry, None, 0.5) is None  # the camera looks around: no plane at constant height
