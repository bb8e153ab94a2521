"""Renders what a pinhole camera sees of a scene: colour with sun, shadow, haze and sensor noise, and exact depth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.errors import SimulationError
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.simulation.compiled import compiled
from scal3r_ros.simulation.town.noise import place_random
from scal3r_ros.simulation.town.raycast import NOTHING, cast_rays
from scal3r_ros.simulation.town.scene import Scene
from scal3r_ros.simulation.town.shading import light_hits, paint_hits

VIEW_DISTANCE_M = 300.0
NEAREST_M = 0.05
# Sample positions within a pixel on an edge: a rotated grid, so that no two share a row or column.
EDGE_SAMPLES = np.array([[-0.3, -0.2], [0.3, 0.2]])


@dataclass(frozen=True)
class RenderOptions:
    """`exposure` multiplies the light; `noise` is the standard deviation of a pixel in grey levels of 0…255.

    `antialias` samples pixels on the edge of a surface again, with four rays.
    """

    exposure: float = 1.0
    noise: float = 1.5
    antialias: bool = True


@dataclass(frozen=True)
class Rendering:
    """`image` (h, w, 3) uint8 RGB; `depth_m` (h, w) float32 z-depth of the pixels' centres, 0 where the sky is seen."""

    image: NDArray[np.uint8]
    depth_m: NDArray[np.float32]


def render(
    scene: Scene,
    intrinsics: Intrinsics,
    T_scene_cam: NDArray[np.float64],
    options: RenderOptions | None = None,
    noise_seed: int = 0,
) -> Rendering:
    """The view from a pose (4, 4). Equal input gives equal bytes. Releases the GIL, so threads run in parallel.

    Raises:
        SimulationError: the camera is outside the world.
    """
    options = options or RenderOptions()
    ny, nx = scene.cell_street.shape
    cell = (T_scene_cam[:2, 3] - scene.origin) / scene.cell
    if not (0 <= cell[0] < nx and 0 <= cell[1] < ny):
        raise SimulationError(
            f"camera at {T_scene_cam[:3, 3].round(1)} m is outside the world; build it for this drive"
        )
    height, width = intrinsics.height, intrinsics.width
    u = np.tile(np.arange(width, dtype=np.float64), height)
    v = np.repeat(np.arange(height, dtype=np.float64), width)
    light, depth_m, surface = _look(scene, intrinsics, T_scene_cam, u, v)
    if options.antialias:
        edges = np.flatnonzero(_on_edge(surface.reshape(height, width)))
        samples_u = (u[edges, None] + EDGE_SAMPLES[:, 0]).ravel()
        samples_v = (v[edges, None] + EDGE_SAMPLES[:, 1]).ravel()
        gathered = _look(scene, intrinsics, T_scene_cam, samples_u, samples_v)[0]
        # Bounded, because a pixel saturates: otherwise a bright sky would outshine a thin pole in front of it.
        light[edges] = np.minimum(gathered, 1.0).reshape(-1, len(EDGE_SAMPLES), 3).mean(axis=1)
    image = np.empty((height, width, 3), np.uint8)
    _develop(light.reshape(-1), options.exposure, options.noise, noise_seed, image.reshape(-1))
    return Rendering(image, depth_m.reshape(height, width))


def _look(
    scene: Scene,
    intrinsics: Intrinsics,
    T_scene_cam: NDArray[np.float64],
    u: NDArray[np.float64],
    v: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float32], NDArray[np.int64]]:
    """Light (n, 3), z-depth (n,) and number of the surface (n,) that is seen at image points u, v (n,)."""
    count = len(u)
    camera = np.array([intrinsics.fx, intrinsics.fy, intrinsics.cx, intrinsics.cy])
    pose = np.ascontiguousarray(T_scene_cam, np.float64)
    origins, directions = np.empty((count, 3)), np.empty((count, 3))
    _aim(camera, pose, u, v, origins, directions)
    distances, hits = np.empty(count), np.empty(count, np.int64)
    cast_rays(scene, origins, directions, NEAREST_M, VIEW_DISTANCE_M, distances, hits)

    light, surface, sun_gain = np.empty((count, 3)), np.empty(count, np.int64), np.empty(count)
    shadow_origins, shadow_directions = origins, np.empty((count, 3))  # the current ones are not needed again
    paint_hits(
        scene, pose[:3, 3].copy(), directions, distances, hits, 1.0 / intrinsics.fx, light, surface, shadow_origins,
        shadow_directions, sun_gain,
    )  # fmt: skip
    shadow_distances, shadow_hits = np.empty(count), np.empty(count, np.int64)
    cast_rays(scene, shadow_origins, shadow_directions, 0.0, VIEW_DISTANCE_M, shadow_distances, shadow_hits)
    light_hits(directions, distances, hits, sun_gain, shadow_hits, light, surface)
    return light, np.where(hits == NOTHING, 0.0, distances).astype(np.float32), surface


def _on_edge(surface: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether a pixel (h, w) shows a different surface than one of its four neighbours."""
    edge = np.zeros(surface.shape, np.bool_)
    across, down = surface[:, 1:] != surface[:, :-1], surface[1:] != surface[:-1]
    edge[:, 1:] |= across
    edge[:, :-1] |= across
    edge[1:] |= down
    edge[:-1] |= down
    return edge


@compiled
def _aim(
    camera: np.ndarray, pose: np.ndarray, u: np.ndarray, v: np.ndarray, origins: np.ndarray, directions: np.ndarray
) -> None:
    """Rays through image points; their parameter is z-depth, since their direction has z = 1 in the camera."""
    for i in range(len(u)):
        x, y = (u[i] - camera[2]) / camera[0], (v[i] - camera[3]) / camera[1]
        for axis in range(3):
            origins[i, axis] = pose[axis, 3]
            directions[i, axis] = pose[axis, 0] * x + pose[axis, 1] * y + pose[axis, 2]


@compiled
def _develop(light: np.ndarray, exposure: float, noise: float, seed: int, image: np.ndarray) -> None:
    """Light to grey levels with the usual gamma of 2.2, and noise; both arrays are flat."""
    for i in range(len(light)):
        value = 255.0 * min(1.0, exposure * light[i]) ** (1.0 / 2.2)
        # √6: the sum of two numbers in 0…1 has a variance of 1/6.
        value += noise * 2.449 * (place_random(i, 0, seed) + place_random(i, 1, seed) - 1.0)
        image[i] = np.uint8(min(255.0, max(0.0, value + 0.5)))
