"""The light of a world: sun, sky, lamps, haze, and the shadow map of the sun."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.simulation.worlds.rendering.raster import rasterise_shadow
from scal3r_ros.simulation.worlds.surfaces.atlas import Atlas
from scal3r_ros.simulation.worlds.surfaces.mesh import Mesh

SHADOW_MAP_SIZE = 1280
SHADOW_REACH_M = 70.0


class Light(NamedTuple):
    """`sun` (3,) points to the sun; colours are linear: `sun_colour`, `above` and `below` (what falls on a
    surface that faces up or down), `horizon`, `zenith`, `cloud` (3,). `clouds` is the share of the sky they cover, 0…1.

    `haze_m` is the distance at which 63 % of what is seen is haze. `lamps` (k, 7) are place, reach and colour.
    `noise_texture` is the number, in the atlas, of the texture that varies surfaces, `relief` its strength.
    """

    sun: NDArray[np.float64]
    sun_colour: NDArray[np.float64]
    above: NDArray[np.float64]
    below: NDArray[np.float64]
    horizon: NDArray[np.float64]
    zenith: NDArray[np.float64]
    cloud: NDArray[np.float64]
    clouds: float
    haze_m: float
    lamps: NDArray[np.float64]
    noise_texture: int
    relief: float


class ShadowMap:
    """The shadow map around a camera's path: the surface nearest to the sun, for static and moving objects."""

    def __init__(self, mesh: Mesh, atlas: Atlas, sun: NDArray[np.float64], path: NDArray[np.float64]) -> None:
        across = np.cross(sun, [0.0, 0.0, 1.0] if abs(sun[2]) < 0.95 else [1.0, 0.0, 0.0])
        across /= np.linalg.norm(across)
        axes = np.stack([across, np.cross(sun, across), sun])
        seen = path @ axes[:2].T
        corners = mesh.corners[mesh.mover < 0].reshape(-1, 3) @ axes[:2].T
        low = np.maximum(seen.min(axis=0) - SHADOW_REACH_M, corners.min(axis=0) - 0.5)
        high = np.minimum(seen.max(axis=0) + SHADOW_REACH_M, corners.max(axis=0) + 0.5)
        self.texel_m = float((high - low).max()) / (SHADOW_MAP_SIZE - 1)
        self.P = np.zeros((3, 4))
        self.P[:, :3] = axes
        self.P[:2] /= self.texel_m
        self.P[:2, 3] = -low / self.texel_m
        self._mesh, self._atlas = mesh, atlas
        self._first = int((mesh.mover < 0).sum())
        self.standing = np.full((SHADOW_MAP_SIZE, SHADOW_MAP_SIZE), -1e9, np.float32)
        has_movers = self._first < len(mesh.mover)
        self.moving = np.full_like(self.standing, -1e9) if has_movers else np.full((1, 1), -1e9, np.float32)
        self._draw(mesh.corners, 0, self._first, self.standing)
        self._changed = (0, 0, 0, 0)

    def move(self, corners: NDArray[np.float64]) -> None:
        """Redraws the shadows of moving objects; `corners` (n, 3, 3) of all triangles, in the world."""
        if self._first == len(corners):
            return
        top, bottom, left, right = self._changed
        self.moving[top:bottom, left:right] = -1e9
        self._changed = self._draw(corners, self._first, len(corners), self.moving)

    def _draw(
        self, corners: NDArray[np.float64], first: int, last: int, onto: NDArray[np.float32]
    ) -> tuple[int, int, int, int]:
        mesh, atlas = self._mesh, self._atlas
        return rasterise_shadow(
            corners, mesh.uv, mesh.texture, mesh.kind, first, last, atlas.texels, atlas.begin, self.P, onto
        )
