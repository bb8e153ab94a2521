"""Casts the rays of a chunk's confident depth onto the ground: where they end is occupied, where they pass is free."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.geometry.projection import backproject, confident
from scal3r_ros.mapping.occupancy.config import OccupancyConfig
from scal3r_ros.mapping.occupancy.ground import Ground
from scal3r_ros.mapping.occupancy.submap_grid import SubmapGrid
from scal3r_ros.reconstruction.protocol import Chunk, ChunkGeometry

Array = NDArray[np.float64]

HIT = 2
"""What a view in which rays end in a cell weighs against one in which they pass it."""
FEWEST_HITS = 2
"""Rays of a view that must end in a cell to count: one alone may hang in the air beside an edge."""
MOST_VOTES = 100
DEPTH_ERROR = 0.03
"""Relative error of depth: a ray that ends at an obstacle frees nothing within so much of its end."""
BELOW_GROUND = 0.04
"""Share of the distance that a point may lie below the ground: what is deeper is a mirror image or a wrong depth."""


@dataclass(frozen=True, eq=False)
class _Rays:
    """Rays of one view: `ends` (n, 2) in the level frame in metres from the camera, `distance` (n,), `height` (n,)."""

    ends: Array
    distance: Array
    height: Array


def cast(
    chunk: Chunk,
    geometry: ChunkGeometry,
    ground: Ground,
    metres_per_unit: float,
    config: OccupancyConfig,
    min_confidence: float,
) -> SubmapGrid | None:
    """The grid of a chunk by the frames that it does not share with the one before; None where no ray comes near it.

    A view frees the cells that its lowest rays cross below `min_height`: ground was seen there, or just behind.
    """
    R_level_submap = _level(ground.up, geometry.T_chunk_cam[0, :3, 2])
    new = range(min(chunk.shared, len(chunk.frames) - 1), len(chunk.frames))
    cameras = (geometry.T_chunk_cam[:, :3, 3] @ R_level_submap[:2].T) * metres_per_unit
    cell, reach = config.cell_size, config.max_range
    corner = cameras[list(new)].min(axis=0) - reach - cell
    columns, rows = (np.ceil((cameras[list(new)].max(axis=0) + reach + cell - corner) / cell)).astype(int)
    hits, passes = np.zeros((rows, columns), np.int16), np.zeros((rows, columns), np.int16)
    for k in new:
        height = float(ground.heights[k]) * metres_per_unit
        rays = _rays(geometry, k, R_level_submap * metres_per_unit, height, config, min_confidence)
        at = (cameras[k] - corner) / cell
        hits += _ended(rays, at, config, (rows, columns)) >= FEWEST_HITS
        _count_passed(passes, rays, at, height, config, 1.0 / geometry.intrinsics[k].fx)
    votes = np.clip(HIT * hits - passes, -MOST_VOTES, MOST_VOTES).astype(np.int8)
    # p_submap = centre of the first camera + R^T (x, y, -height) / metres
    first = geometry.T_chunk_cam[0, :3, 3] - ground.heights[0] * ground.up
    start = (corner + 0.5 * cell - cameras[0]) / metres_per_unit
    x, y = R_level_submap[0], R_level_submap[1]
    step = cell / metres_per_unit
    return SubmapGrid.of(np.column_stack([step * x, step * y, first + start[0] * x + start[1] * y]), votes)


def _level(up: Array, forward: Array) -> Array:
    """R_level_submap (3, 3): z is `up`, x the viewing direction as far as it is level."""
    x = forward - (forward @ up) * up
    if np.linalg.norm(x) < 1e-3:  # straight down, as of a drone
        x = np.eye(3)[int(np.argmin(np.abs(up)))] - up[int(np.argmin(np.abs(up)))] * up
    x = x / np.linalg.norm(x)
    return np.stack([x, np.cross(up, x), up])


def _rays(
    geometry: ChunkGeometry, k: int, sR: Array, height: float, config: OccupancyConfig, min_confidence: float
) -> _Rays:
    depth, confidence = geometry.depth[k], geometry.confidence[k]
    sure = confident(depth, confidence, min_confidence)
    local = backproject(depth, geometry.intrinsics[k])[sure].astype(np.float64)
    offsets = local @ (sR @ geometry.T_chunk_cam[k, :3, :3]).T
    distance = np.hypot(offsets[:, 0], offsets[:, 1])
    z = height + offsets[:, 2]
    use = (distance > 1e-6) & (z > -np.maximum(config.min_height, BELOW_GROUND * distance))
    return _Rays(offsets[use, :2], distance[use], z[use])


def _obstacles(rays: _Rays, config: OccupancyConfig) -> NDArray[np.bool_]:
    """Which rays (n,) end at an obstacle within the range."""
    near = rays.distance < config.max_range
    return np.asarray(near & (rays.height >= config.min_height) & (rays.height <= config.max_height))


def _ended(rays: _Rays, at: Array, config: OccupancyConfig, shape: tuple[int, int]) -> NDArray[np.int64]:
    """How many rays of a view end at an obstacle in each cell."""
    column, row = np.floor(at + rays.ends[_obstacles(rays, config)] / config.cell_size).astype(np.int64).T
    return np.bincount(row * shape[1] + column, minlength=shape[0] * shape[1]).reshape(shape)


def _count_passed(
    passes: NDArray[np.int16], rays: _Rays, at: Array, height: float, config: OccupancyConfig, pixel_rad: float
) -> None:
    """Adds one to the cells that rays of a view cross below `min_height`, before the first obstacle on their way."""
    cell = config.cell_size
    bins = int(np.ceil(2 * np.pi / max(1.5 * pixel_rad, 0.5 * cell / config.max_range)))
    steps = int(np.ceil(config.max_range / cell))
    seen = rays.height < config.min_height  # the ground itself is free up to where the ray ends
    end = rays.distance - np.where(seen, 0.0, cell + DEPTH_ERROR * rays.distance)
    slope = (rays.height - height) / rays.distance
    azimuth = ((np.arctan2(rays.ends[:, 1], rays.ends[:, 0]) / (2 * np.pi) + 0.5) * bins).astype(np.int64) % bins
    lowest = np.full((bins, steps + 1), np.inf)
    use = end >= cell
    last = np.minimum(end[use] / cell, steps).astype(np.int64) - 1  # the last ring that is crossed to its outer edge
    np.minimum.at(lowest, (azimuth[use], last), slope[use])
    lowest = np.minimum.accumulate(lowest[:, ::-1], axis=1)[:, ::-1]
    free = height + lowest * ((np.arange(steps + 1) + 0.5) * cell) < config.min_height
    hits = _obstacles(rays, config)
    ended = np.zeros((bins, steps + 1), np.int64)
    np.add.at(ended, (azimuth[hits], (rays.distance[hits] / cell).astype(np.int64)), 1)
    free &= np.cumsum(ended, axis=1) < FEWEST_HITS

    low = np.maximum(np.floor(at - steps).astype(int), 0)
    high = np.minimum(np.ceil(at + steps).astype(int), passes.shape[::-1])
    x = np.arange(low[0], high[0]) + 0.5 - at[0]
    y = np.arange(low[1], high[1])[:, None] + 0.5 - at[1]
    away = np.hypot(x, y).astype(np.int64)
    direction = ((np.arctan2(y, x) / (2 * np.pi) + 0.5) * bins).astype(np.int64) % bins
    inside = away < steps
    passes[low[1] : high[1], low[0] : high[0]] += inside & free[direction, np.minimum(away, steps - 1)]
