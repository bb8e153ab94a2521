"""The open ground of a world: a winding path, hills, a road, and the horizon."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from scal3r_ros.simulation.worlds.motion import wave
from scal3r_ros.simulation.worlds.surfaces.mesh import MeshBuilder

Array = NDArray[np.float64]

STEP_M = 0.5
CELL_M = 3.0
BEYOND_M = 130.0


class Way:
    """A smooth line in the plane that never turns far enough to meet itself; s is the arc length along it in metres."""

    def __init__(self, first_m: float, last_m: float, winding: float, rng: np.random.Generator) -> None:
        self.s = np.arange(first_m, last_m + STEP_M, STEP_M)
        heading = np.zeros_like(self.s)
        for period, swing in ((190.0, 38.0), (80.0, 16.0), (45.0, 7.0)):
            phase = float(rng.uniform(0, 2 * math.pi))
            heading += math.radians(swing * winding) * np.sin(2 * math.pi * self.s / period + phase)
        self._heading = heading + float(rng.uniform(0, 2 * math.pi))
        step = STEP_M * np.stack([np.cos(self._heading), np.sin(self._heading)], axis=-1)
        self._points = np.cumsum(step, axis=0)
        self._points -= self._points[np.searchsorted(self.s, 0.0)]
        self._tree = cKDTree(self._points)

    def heading(self, s: Array | float) -> Array:
        """Direction (rad) at s."""
        return np.asarray(np.interp(s, self.s, self._heading))

    def at(self, s: Array | float, left: Array | float = 0.0) -> Array:
        """Points (..., 2) at s, `left` metres to the left."""
        x, y = (np.interp(s, self.s, self._points[:, axis]) for axis in range(2))
        heading = self.heading(s)
        return np.stack([x - left * np.sin(heading), y + left * np.cos(heading)], axis=-1)

    def distance(self, points: Array) -> Array:
        """How far points (n, 2) are from it."""
        return np.asarray(self._tree.query(points)[0])


@dataclass
class Hills:
    """Height of the ground as a sum of waves in the plane."""

    waves: Array

    @classmethod
    def random(cls, steepness: float, rng: np.random.Generator) -> Hills:
        """Slopes reach about `steepness` (m per m)."""
        made = []
        for period in (260.0, 140.0, 90.0, 55.0):
            angle, k = float(rng.uniform(0, 2 * math.pi)), 2 * math.pi / (period * float(rng.uniform(0.8, 1.25)))
            slope = steepness * float(rng.uniform(0.1, 0.5))
            made.append([k * math.cos(angle), k * math.sin(angle), float(rng.uniform(0, 2 * math.pi)), slope / k])
        return cls(np.array(made))

    def at(self, points: Array) -> Array:
        """Heights (...,) at points (..., 2)."""
        phase = points @ self.waves[:, :2].T + self.waves[:, 2]
        return np.asarray((np.sin(phase) * self.waves[:, 3]).sum(axis=-1))

    def on(self, points: Array, above: float = 0.0) -> Array:
        """Points (..., 2) with their height (..., 3), raised by `above`."""
        return np.concatenate([points, self.at(points)[..., None] + above], axis=-1)


@dataclass(frozen=True)
class Road:
    """Cross section: half the width of the carriageway, the width of the pavement beside it, and its kerb (m)."""

    half_m: float
    pavement_m: float
    kerb_m: float

    @property
    def edge_m(self) -> float:
        """Distance from the middle to the open ground."""
        return self.half_m + self.pavement_m


def lay_ground(
    mesh: MeshBuilder, way: Way, hills: Hills, road: Road, textures: list[int], rough_m: float, rng: np.random.Generator
) -> None:
    """Ground all around the path, lowered under the road; `textures` are two kinds of ground."""
    points = way.at(way.s)
    low, high = points.min(axis=0) - BEYOND_M, points.max(axis=0) + BEYOND_M
    x, y = np.arange(low[0], high[0], CELL_M), np.arange(low[1], high[1], CELL_M)
    grid = np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1)
    away = way.distance(grid.reshape(-1, 2)).reshape(grid.shape[:2])
    outside = np.clip((away - road.edge_m - 1.0) / 12.0, 0.0, 1.0)
    under = np.where(away < road.edge_m + 2.2, -0.25, 0.0)
    height = hills.at(grid) + outside * rough_m * _bumps(grid, rng) + under
    surface = np.concatenate([grid, height[..., None]], axis=-1).swapaxes(0, 1)
    patches = _bumps(grid, rng).swapaxes(0, 1)[:-1, :-1]
    tint = 1.0 + 0.25 * np.clip(patches, -1, 1)[..., None] * np.array([1.0, 0.6, 0.5])
    mesh.grid(surface, surface[..., :2] / float(rng.uniform(2.5, 6.0)), textures[0], tint)
    verge = np.array([road.edge_m, road.edge_m + 2.5, road.edge_m + 4.5])
    for side in (-1.0, 1.0):
        lay_strip(mesh, way, hills, side * verge, np.array([0.02, 0.03, -0.6]), textures[1], 3.0)


def lay_strip(
    mesh: MeshBuilder, way: Way, hills: Hills, left: Array, above: Array, texture: int, repeat_m: float,
    tint: ArrayLike = (1.0, 1.0, 1.0),
) -> None:  # fmt: skip
    """A strip along the path; its cross section runs through `left` (k,) and `above` the ground (k,), in metres."""
    if left[0] > left[-1]:
        left, above = left[::-1], above[::-1]
    s = way.s[::3]
    flat = np.stack([way.at(s, float(one)) for one in left], axis=1)
    points = np.concatenate([flat, (hills.at(flat) + above)[..., None]], axis=-1)
    arc = np.concatenate([[0.0], np.cumsum(np.hypot(np.diff(left), np.diff(above)))])
    uv = np.stack(np.broadcast_arrays(arc[None, :] / repeat_m, s[:, None] / repeat_m), axis=-1)
    mesh.grid(points.swapaxes(0, 1), uv.swapaxes(0, 1), texture, tint)


def raise_mountains(mesh: MeshBuilder, way: Way, texture: int, rng: np.random.Generator) -> None:
    """A ring of hills or woods around everything, from below the ground up to the horizon."""
    points = way.at(way.s)
    centre, reach = points.mean(axis=0), float(np.ptp(points, axis=0).max()) / 2 + BEYOND_M
    angle = np.linspace(0, 2 * math.pi, 73)
    tall = float(rng.uniform(5.0, 60.0))
    crest = tall * (0.6 + 0.4 * np.abs(wave(angle[:-1] * 30, rng, 18.0)))
    crest = np.append(crest, crest[0])
    rings = []
    for radius, height in ((0.85, -25.0 + 0 * crest), (1.25, 0.25 * crest - 4.0), (1.9, 0.7 * crest), (2.6, crest)):
        x, y = centre[0] + radius * reach * np.cos(angle), centre[1] + radius * reach * np.sin(angle)
        rings.append(np.stack([x, y, height], axis=-1))
    surface = np.stack(rings)
    uv = np.stack(np.broadcast_arrays((angle * 9)[None, :], np.arange(4.0)[:, None] * 2), axis=-1)
    mesh.grid(surface[:, ::-1], np.round(uv)[:, ::-1], texture, float(rng.uniform(0.4, 1.0)) * np.ones(3))


def _bumps(grid: Array, rng: np.random.Generator) -> Array:
    total = np.zeros(grid.shape[:2])
    for period in (37.0, 17.0, 9.0):
        angle, phase = float(rng.uniform(0, 2 * math.pi)), rng.uniform(0, 2 * math.pi, 2)
        a = 2 * math.pi / period * (grid[..., 0] * math.cos(angle) + grid[..., 1] * math.sin(angle))
        b = 2 * math.pi / period * (grid[..., 1] * math.cos(angle) - grid[..., 0] * math.sin(angle))
        total += (np.sin(a + phase[0]) * np.sin(b + phase[1])) * period / 37.0
    return total
