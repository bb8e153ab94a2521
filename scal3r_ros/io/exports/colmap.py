"""Poses, cameras and points as COLMAP's text model (https://colmap.github.io/format.html)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.geometry import se3
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.io.clouds.length_unit import UNKNOWN_UNIT, LengthUnit
from scal3r_ros.mapping.values import PointCloud
from scal3r_ros.reconstruction.protocol import TrackedPoints


def colmap_bytes(
    T_map_cam: NDArray[np.float64],
    cameras: Sequence[Intrinsics],
    names: Sequence[str],
    points: PointCloud | TrackedPoints,
    unit: LengthUnit = UNKNOWN_UNIT,
) -> dict[str, bytes]:
    """COLMAP's text model by file: poses (n, 4, 4) with camera and image name of each, and its points.

    Comments say which `unit` positions have.

    COLMAP's poses map the world into the camera, its quaternions begin with w, and its pixels have their corners, not
    their centres, at whole numbers. The points of a cloud come without tracks; tracked points come with the images that
    see them.
    """
    numbers = {camera: number for number, camera in enumerate(dict.fromkeys(cameras), 1)}
    camera_lines = [
        f"{number} PINHOLE {camera.width} {camera.height} "
        f"{camera.fx:.9g} {camera.fy:.9g} {camera.cx + 0.5:.9g} {camera.cy + 0.5:.9g}\n"
        for camera, number in numbers.items()
    ]
    seen, tracks = _observations(points, len(names))
    T_cam_map = se3.invert(T_map_cam)
    quaternions = se3.quat_xyzw(T_cam_map[:, :3, :3]) if len(T_cam_map) else np.empty((0, 4))
    image_lines = []
    for number, (T, (x, y, z, w), camera, name) in enumerate(
        zip(T_cam_map, quaternions, cameras, names, strict=True), 1
    ):
        values = " ".join(f"{value:.12g}" for value in (w, x, y, z, *T[:3, 3]))
        image_lines.append(f"{number} {values} {numbers[camera]} {name}\n{seen[number - 1]}\n")
    errors = points.error_px.tolist() if isinstance(points, TrackedPoints) else [0] * len(points.points)
    point_lines = [
        f"{number} {x:.9g} {y:.9g} {z:.9g} {r} {g} {b} {error:.6g}{track}\n"
        for number, ((x, y, z), (r, g, b), error, track) in enumerate(
            zip(points.points.tolist(), points.colours.tolist(), errors, tracks, strict=True), 1
        )
    ]
    return {
        "cameras.txt": ("# CAMERA_ID MODEL WIDTH HEIGHT PARAMS[]\n" + "".join(camera_lines)).encode(),
        "images.txt": (
            f"# {unit}\n# IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME\n# POINTS2D[] as X Y POINT3D_ID\n"
            + "".join(image_lines)
        ).encode(),
        "points3D.txt": (
            f"# {unit}\n# POINT3D_ID X Y Z R G B ERROR TRACK[] as IMAGE_ID POINT2D_IDX\n" + "".join(point_lines)
        ).encode(),
    }


def _observations(points: PointCloud | TrackedPoints, images: int) -> tuple[list[str], list[str]]:
    """The image points of each image, and the track of each point, as COLMAP writes them."""
    if not isinstance(points, TrackedPoints):
        return [""] * images, [""] * len(points.points)
    seen: list[list[str]] = [[] for _ in range(images)]
    tracks: list[list[str]] = [[] for _ in range(len(points.points))]
    for point, view, (u, v) in zip(points.point.tolist(), points.view.tolist(), points.uv.tolist(), strict=True):
        tracks[point].append(f" {view + 1} {len(seen[view])}")
        seen[view].append(f"{u + 0.5:.7g} {v + 0.5:.7g} {point + 1}")
    return [" ".join(row) for row in seen], ["".join(row) for row in tracks]
