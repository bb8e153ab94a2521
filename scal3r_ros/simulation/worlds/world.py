"""A world with the camera's path through it, as the renderer takes it; what all kinds of worlds share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from scal3r_ros.simulation.worlds.motion import Motion
from scal3r_ros.simulation.worlds.rendering.light import Light
from scal3r_ros.simulation.worlds.surfaces.atlas import Atlas, build_atlas
from scal3r_ros.simulation.worlds.surfaces.fields import Palette
from scal3r_ros.simulation.worlds.surfaces.mesh import Mesh
from scal3r_ros.simulation.worlds.surfaces.pictures import textures_for

NO_LAMPS = np.zeros((0, 7))
SQUARE_M = 8.0


@dataclass(frozen=True)
class World:
    """`T_world_cam` (n, 4, 4) are the camera's poses, z up; `mover_poses` (n, m, 4, 4) those of moving objects."""

    mesh: Mesh
    atlas: Atlas
    light: Light
    T_world_cam: NDArray[np.float64]
    mover_poses: NDArray[np.float64]


@dataclass(frozen=True)
class Request:
    """What a world is built for: the motion of the camera and its height above the ground (m).

    `images` is a folder of images to use as textures, or None.
    """

    motion: Motion
    camera_height_m: float
    images: Path | None = None


class Clearing:
    """Where objects may stand: away from the camera's path (n, 2) and from each other."""

    def __init__(self, way: NDArray[np.float64]) -> None:
        self.way = way
        self._tree = cKDTree(way)
        self._taken: dict[tuple[int, int], list[tuple[float, float, float]]] = {}

    def claim(self, x: float, y: float, radius: float, margin: float) -> bool:
        """Whether a disc keeps `margin` from the path and touches no other; if so, it counts as taken from now on."""
        if self._tree.query([x, y])[0] < radius + margin or self.is_taken(x, y, radius):
            return False
        self._taken.setdefault((math.floor(x / SQUARE_M), math.floor(y / SQUARE_M)), []).append((x, y, radius))
        return True

    def is_taken(self, x: float, y: float, radius: float) -> bool:
        """Whether a disc touches another."""
        column, row = math.floor(x / SQUARE_M), math.floor(y / SQUARE_M)
        return any(
            math.hypot(px - x, py - y) < radius + other
            for i in (-2, -1, 0, 1, 2)
            for j in (-2, -1, 0, 1, 2)
            for px, py, other in self._taken.get((column + i, row + j), ())
        )


def weave(
    rng: np.random.Generator, held_out: bool, names: dict[str, int], images: Path | None
) -> tuple[Atlas, dict[str, list[int]]]:
    """An atlas with the given number of textures of each name, and their numbers by name."""
    palette = Palette(rng, held_out)
    flat = [name for name, count in names.items() for _ in range(count)]
    numbers = {name: [i for i, other in enumerate(flat) if other == name] for name in names}
    return build_atlas(textures_for(palette, flat, images)), numbers


def daylight(rng: np.random.Generator, noise_texture: int) -> Light:
    """Sun, sky and haze for a random hour and weather."""
    azimuth, elevation = float(rng.uniform(0, 2 * math.pi)), math.radians(float(rng.uniform(10, 75)))
    sun = np.array(
        [math.cos(azimuth) * math.cos(elevation), math.sin(azimuth) * math.cos(elevation), math.sin(elevation)]
    )
    overcast = rng.random() < 0.3
    warmth = float(np.clip(1.2 - elevation, 0, 1)) * 0.5
    strength = 0.0 if overcast else float(rng.uniform(0.4, 1.5))
    zenith = (
        np.array([0.25, 0.4, 0.72]) * rng.uniform(0.7, 1.3, 3) if not overcast else np.full(3, rng.uniform(0.4, 0.9))
    )
    horizon = np.array([0.75, 0.8, 0.86]) * rng.uniform(0.85, 1.1, 3) * float(rng.uniform(0.7, 1.2))
    return Light(
        sun=sun,
        sun_colour=strength * np.array([1.0 + warmth, 1.0, 1.0 - warmth]),
        above=float(rng.uniform(0.7, 1.2)) * (0.35 + 0.6 * overcast) * (0.5 + 0.5 * zenith / zenith.mean()),
        below=np.full(3, rng.uniform(0.08, 0.3)),
        horizon=horizon,
        zenith=zenith,
        cloud=np.full(3, rng.uniform(0.5, 1.1)),
        clouds=float(rng.uniform(0.0, 0.9)),
        haze_m=float(rng.choice([150.0, 400.0, 800.0, 3000.0])),
        lamps=NO_LAMPS,
        noise_texture=noise_texture,
        relief=float(rng.uniform(0.3, 0.9)),
    )  # fmt: skip
