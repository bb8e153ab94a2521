"""Draws tiles, camera, path and loops into a viser scene, and sends only what is not there already."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import viser
from numpy.typing import NDArray

from scal3r_ros.geometry import se3
from scal3r_ros.viewer.colours import ColourBy, colours_of
from scal3r_ros.viewer.tiles import Key, Tile

Array = NDArray[np.float64]

PATH_RGB, LOOP_RGB, TRUTH_RGB, CAMERA_RGB = (255, 150, 30), (90, 220, 255), (120, 230, 120), (255, 150, 30)

BYTES_PER_POINT = 9
"""Three half-precision coordinates from the tile's centre, and three of colour."""

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
    """The nodes of one scene. Not thread-safe: one thread draws.

    Args:
        server: where to draw.
        unit: size of one point, in the map's unit; camera and lines follow it.
    """

    def __init__(self, server: viser.ViserServer, unit: float) -> None:
        self._scene = server.scene
        self._unit = unit
        self.point_size = unit
        self._nodes: dict[Key, list[Any]] = {}
        self._shown: dict[Key, int] = {}
        self._path: list[tuple[NDArray[np.float32], Any]] = []
        self._loops: Any = None
        self._truth: Any = None
        self._camera: Any = None
        self._image: NDArray[np.uint8] | None = None

    @property
    def points_shown(self) -> int:
        """Points that the page has."""
        return sum(self._shown.values())

    @property
    def tiles_shown(self) -> tuple[Key, ...]:
        """Tiles that the page has."""
        return tuple(self._shown)

    def shown_of(self, key: Key) -> int:
        """Points of a tile that the page has."""
        return self._shown.get(key, 0)

    def draw_tile(
        self, key: Key, tile: Tile, count: int, changed: bool, by: ColourBy, heights: tuple[float, float], came: int
    ) -> int:
        """Shows the first `count` points of a tile; gives the bytes sent. Levels stay as they are unless `changed`."""
        old = 0 if changed else self._shown.get(key, 0)
        nodes = self._nodes.setdefault(key, [None, None])
        cuts = (0, min(count, tile.coarse), count)
        before = (0, min(old, tile.coarse), old)
        sent = 0
        for level in (0, 1):
            if not changed and cuts[level : level + 2] == before[level : level + 2]:
                continue
            rows = slice(cuts[level], cuts[level + 1])
            if rows.start == rows.stop:
                _remove(nodes[level])
                nodes[level] = None
                continue
            nodes[level] = self._scene.add_point_cloud(
                f"/map/{key[0]}_{key[1]}_{key[2]}/{level}",
                tile.points[rows],
                colours_of(tile, rows, by, heights, came),
                point_size=self.point_size,
                point_shape="square",
                point_shading="flat",
                position=tile.centre,
            )
            sent += (rows.stop - rows.start) * BYTES_PER_POINT
        self._shown[key] = count
        return sent

    def recolour(self, key: Key, tile: Tile, by: ColourBy, heights: tuple[float, float], came: int) -> None:
        """Gives the points of a tile that are shown other colours."""
        cuts = (0, min(self._shown[key], tile.coarse), self._shown[key])
        for level, node in enumerate(self._nodes[key]):
            if node is not None:
                node.colors = colours_of(tile, slice(cuts[level], cuts[level + 1]), by, heights, came)

    def remove_tile(self, key: Key) -> None:
        """Takes a tile off the page."""
        for node in self._nodes.pop(key, []):
            _remove(node)
        self._shown.pop(key, None)

    def resize_points(self, size: float) -> None:
        """Gives all points another size, in the map's unit."""
        self.point_size = size
        for nodes in self._nodes.values():
            for node in nodes:
                if node is not None:
                    node.point_size = size

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
        """Takes everything but the true path off the page."""
        for key in list(self._nodes):
            self.remove_tile(key)
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
