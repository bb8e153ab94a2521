"""Poses, cameras and points as COLMAP's text model (https://colmap.github.io/format.html)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.geometry import se3
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.mapping.values import PointCloud


def colmap_bytes(
    T_map_cam: NDArray[np.float64], cameras: Sequence[Intrinsics], names: Sequence[str], cloud: PointCloud
) -> dict[str, bytes]:
    """COLMAP's text model by file: poses (n, 4, 4) with camera and image name of each, and the cloud as points.

    COLMAP's poses map the world into the camera, its quaternions begin with w, and its pixels have their corners, not
    their centres, at whole numbers. Points come without tracks: they were not measured by feature matches.
    """
    numbers = {camera: number for number, camera in enumerate(dict.fromkeys(cameras), 1)}
    camera_lines = [
        f"{number} PINHOLE {camera.width} {camera.height} "
        f"{camera.fx:.9g} {camera.fy:.9g} {camera.cx + 0.5:.9g} {camera.cy + 0.5:.9g}\n"
        for camera, number in numbers.items()
    ]
    T_cam_map = se3.invert(T_map_cam)
    quaternions = se3.quat_xyzw(T_cam_map[:, :3, :3]) if len(T_cam_map) else np.empty((0, 4))
    image_lines = []
    for number, (T, (x, y, z, w), camera, name) in enumerate(
        zip(T_cam_map, quaternions, cameras, names, strict=True), 1
    ):
        values = " ".join(f"{value:.12g}" for value in (w, x, y, z, *T[:3, 3]))
        image_lines.append(f"{number} {values} {numbers[camera]} {name}\n\n")  # the second line: no image points
    point_lines = [
        f"{number} {x:.6g} {y:.6g} {z:.6g} {r} {g} {b} 0\n"
        for number, ((x, y, z), (r, g, b)) in enumerate(
            zip(cloud.points.tolist(), cloud.colours.tolist(), strict=True), 1
        )
    ]
    return {
        "cameras.txt": ("# CAMERA_ID MODEL WIDTH HEIGHT PARAMS[]\n" + "".join(camera_lines)).encode(),
        "images.txt": (
            "# IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME\n# POINTS2D[]\n" + "".join(image_lines)
        ).encode(),
        "points3D.txt": ("# POINT3D_ID X Y Z R G B ERROR TRACK[]\n" + "".join(point_lines)).encode(),
    }
