"""Draws camera, path and loops into a viser scene, and sends only what is not there already."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import viser
from numpy.typing import NDArray

from scal3r_ros.geometry import se3

Array = NDArray[np.float64]

PATH_RGB, LOOP_RGB, TRUTH_RGB, CAMERA_RGB = (255, 150, 30), (90, 220, 255), (120, 230, 120), (255, 150, 30)

PATH_PIECE = 200
"""Poses in one line of the path: where it grows, only the last such line is sent again."""


@dataclass(frozen=True)
class Camera:
    """What is drawn of the camera: T_map_cam (4, 4), vertical field of view (rad), width over height, image or None.

    `image` is (h, w, 3) uint8 RGB.
    """

    T_map_cam: Array
    fov: float = 1.0
    aspect: float = 1.5
    image: NDArray[np.uint8] | None = None


class MapScene:
    """What a scene has beside its points. Not thread-safe: one thread draws.

    Args:
        server: where to draw.
        unit: size of one point, in the map's unit, which camera and lines follow.
    """

    def __init__(self, server: viser.ViserServer, unit: float) -> None:
        self._scene = server.scene
        self._unit = unit
        self._path: list[tuple[NDArray[np.float32], Any]] = []
        self._loops: Any = None
        self._truth: Any = None
        self._camera: Any = None
        self._image: NDArray[np.uint8] | None = None

    def draw_camera(self, camera: Camera | None) -> None:
        """Moves the camera; its image is sent where it is another one than before."""
        if camera is None:
            _remove(self._camera)
            self._camera = None
            return
        wxyz, position = pose_of(camera.T_map_cam)
        if self._camera is None:
            self._camera = self._scene.add_camera_frustum(
                "/camera", camera.fov, camera.aspect, scale=12.0 * self._unit, thickness=0.3 * self._unit,
                color=CAMERA_RGB, cast_shadow=False, receive_shadow=False,
            )  # fmt: skip
        self._camera.wxyz, self._camera.position = wxyz, position
        if (self._camera.fov, self._camera.aspect) != (camera.fov, camera.aspect):
            self._camera.fov, self._camera.aspect = camera.fov, camera.aspect
        if camera.image is not None and camera.image is not self._image:
            self._camera.image = camera.image
            self._image = camera.image

    def draw_path(self, positions: Array) -> int:
        """Shows the path through positions (n, 3); gives the bytes sent. Pieces that did not change stay."""
        wanted = [
            positions[start : start + PATH_PIECE + 1].astype(np.float32)
            for start in range(0, max(len(positions) - 1, 0), PATH_PIECE)
        ]
        sent = 0
        for number, piece in enumerate(wanted):
            if number < len(self._path) and np.array_equal(self._path[number][0], piece):
                continue
            node = self._lines(f"/path/{number}", piece, PATH_RGB, 0.8 * self._unit)
            sent += piece.nbytes * 2
            self._path[number : number + 1] = [(piece, node)]
        for _, node in self._path[len(wanted) :]:
            _remove(node)
        del self._path[len(wanted) :]
        return sent

    def draw_loops(self, ends: Array) -> None:
        """Shows lines between the ends (n, 2, 3) of loops, in place of those before."""
        _remove(self._loops)
        self._loops = None
        if len(ends):
            self._loops = self._scene.add_line_segments(
                "/loops", ends.astype(np.float32), np.array(LOOP_RGB, np.uint8), thickness=1.5 * self._unit
            )

    def draw_truth(self, positions: Array) -> None:
        """Shows the true path through positions (n, 3), in place of the one before."""
        _remove(self._truth)
        self._truth = None
        if len(positions) > 1:
            self._truth = self._lines("/ground_truth", positions.astype(np.float32), TRUTH_RGB, 0.5 * self._unit)

    def clear(self) -> None:
        """Takes path, loops and camera off the page; the true path stays."""
        self.draw_path(np.zeros((0, 3)))
        self.draw_loops(np.zeros((0, 2, 3)))
        self.draw_camera(None)

    def _lines(self, name: str, piece: NDArray[np.float32], rgb: tuple[int, int, int], thickness: float) -> Any:
        segments = np.stack([piece[:-1], piece[1:]], axis=1)
        return self._scene.add_line_segments(name, segments, np.array(rgb, np.uint8), thickness=thickness)


def pose_of(T: Array) -> tuple[Array, Array]:
    """Quaternion wxyz and position of a pose (4, 4), as viser takes them."""
    return np.roll(se3.quat_xyzw(T[:3, :3]), 1), T[:3, 3].copy()


def _remove(node: Any) -> None:
    if node is not None:
        node.remove()
