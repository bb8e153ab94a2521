"""Renders what a camera sees of a world: the image, and exact depth at the centre of every pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.geometry.se3 import invert
from scal3r_ros.simulation.worlds.rendering.light import Light, ShadowMap
from scal3r_ros.simulation.worlds.rendering.raster import place_movers, rasterise
from scal3r_ros.simulation.worlds.rendering.sensor import Sensor, blur_by_motion, compress, develop, gather
from scal3r_ros.simulation.worlds.rendering.shade import shade
from scal3r_ros.simulation.worlds.surfaces.atlas import Atlas
from scal3r_ros.simulation.worlds.surfaces.mesh import Mesh

LAMPS_WITHIN_M = 14.0


@dataclass(frozen=True)
class View:
    """`image` (h, w, 3) uint8 RGB; `depth_m` (h, w) float32 z-depth, 0 for sky; `moving` (h, w) bool."""

    image: NDArray[np.uint8]
    depth_m: NDArray[np.float32]
    moving: NDArray[np.bool_]


class Viewer:
    """Renders views of one world with one camera; keeps its buffers from frame to frame. Not thread-safe."""

    def __init__(
        self, mesh: Mesh, atlas: Atlas, light: Light, intrinsics: Intrinsics, path: NDArray[np.float64]
    ) -> None:
        """`path` (n, 3): the camera's positions; shadows are computed around them."""
        self._mesh, self._atlas, self._light = mesh, atlas, light
        self._intrinsics = intrinsics
        self._first_mover = int((mesh.mover < 0).sum())
        self._corners, self._normals = mesh.corners.copy(), mesh.normals.copy()
        self._edges = np.empty((len(mesh.corners), 9))
        rows, columns = 2 * intrinsics.height + 1, 2 * intrinsics.width + 1
        self._inverse_depth = np.empty((rows, columns), np.float32)
        self._triangle = np.empty((rows, columns), np.int32)
        self._samples = np.empty((rows, columns, 3), np.float32)
        self._shadows = ShadowMap(mesh, atlas, light.sun, path)
        self._level: float | None = None
        self._camera = np.array(
            [2 * intrinsics.fx, 2 * intrinsics.fy, 2 * intrinsics.cx + 1.0, 2 * intrinsics.cy + 1.0]
        )  # a sample every half pixel; sample 1 lies on the centre of pixel 0

    def draw(
        self,
        T_world_cam: NDArray[np.float64],
        T_world_next: NDArray[np.float64],
        mover_poses: NDArray[np.float64],
        mover_moves: NDArray[np.bool_],
        sensor: Sensor,
        noise_seed: int,
    ) -> View:
        """The view from a pose, on the way to the next; `mover_poses` (m, 4, 4), `mover_moves` (m,) who moves."""
        mesh, atlas, camera = self._mesh, self._atlas, self._intrinsics
        if len(mover_poses):
            place_movers(mesh, np.ascontiguousarray(mover_poses), self._first_mover, self._corners, self._normals)
            self._shadows.move(self._corners)
        self._inverse_depth.fill(0.0)
        self._triangle.fill(-1)
        fx, fy, cx, cy = self._camera
        P = np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]]) @ invert(T_world_cam)[:3]
        rasterise(
            self._corners, mesh.uv, mesh.texture, mesh.kind, atlas.texels, atlas.begin, P, self._edges,
            self._inverse_depth, self._triangle,
        )  # fmt: skip
        shadows, pose = self._shadows, np.ascontiguousarray(T_world_cam, np.float64)
        shade(
            mesh.uv, self._normals, mesh.texture, mesh.tint, mesh.kind, atlas.texels, atlas.begin,
            self._near_lamps(pose[:3, 3]), shadows.standing, shadows.moving, shadows.P, shadows.texel_m, self._camera,
            pose, self._edges, self._inverse_depth, self._triangle, self._samples,
        )  # fmt: skip
        at_centre = self._inverse_depth[1::2, 1::2]
        depth = np.divide(1.0, at_centre, out=np.zeros_like(at_centre), where=at_centre > 0)
        light = np.empty((camera.height, camera.width, 3), np.float32)
        gather(self._samples, sensor.gain / self._exposed_for(sensor), light)
        if sensor.shutter > 0.0:
            sharp, light = light, np.empty_like(light)
            plain = np.array([camera.fx, camera.fy, camera.cx, camera.cy])
            blur_by_motion(sharp, depth, plain, invert(T_world_next) @ pose, sensor.shutter, light)
        image = np.empty(light.shape, np.uint8)
        develop(light, sensor, noise_seed, image)
        if sensor.quantisation > 0.0:
            compress(image, sensor.quantisation)
        number = self._triangle[1::2, 1::2]
        moving = np.zeros(number.shape, np.bool_)
        if len(mover_moves):
            mover = mesh.mover[np.maximum(number, 0)]
            moving = (number >= 0) & (mover >= 0) & mover_moves[np.maximum(mover, 0)]
        return View(image, depth, moving)

    def expose_anew(self) -> None:
        """Has exposure set by the next frame, as by the first."""
        self._level = None

    def _exposed_for(self, sensor: Sensor) -> float:
        """The mean light that exposure has settled on."""
        level = max(1e-3, float(np.minimum(self._samples[::4, ::4], 1.5).mean()))
        self._level = level if self._level is None else self._level + sensor.adapts * (level - self._level)
        return self._level

    def _near_lamps(self, place: NDArray[np.float64]) -> Light:
        lamps = self._light.lamps
        near = np.linalg.norm(lamps[:, :3] - place, axis=1) < lamps[:, 3] + LAMPS_WITHIN_M
        return self._light._replace(lamps=np.ascontiguousarray(lamps[near]))
