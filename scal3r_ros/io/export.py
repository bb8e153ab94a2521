"""Trajectories and clouds as the bytes of the formats that other programs read: TUM, PLY, PCD, COLMAP's text model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.geometry import se3
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.mapping.values import PointCloud


def ply_bytes(cloud: PointCloud) -> bytes:
    """A binary PLY of position and colour. Open3D's own writer reports success on a full disk."""
    columns = [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("red", "u1"), ("green", "u1"), ("blue", "u1")]
    vertices = np.empty(len(cloud.points), columns)
    for axis, (name, _) in enumerate(columns):
        vertices[name] = cloud.points[:, axis] if axis < 3 else cloud.colours[:, axis - 3]
    properties = "".join(f"property {'float' if kind == '<f4' else 'uchar'} {name}\n" for name, kind in columns)
    header = f"ply\nformat binary_little_endian 1.0\nelement vertex {len(vertices)}\n{properties}end_header\n"
    return header.encode("ascii") + vertices.tobytes()


def pcd_bytes(cloud: PointCloud) -> bytes:
    """A binary PCD of position and colour; PCL packs red, green and blue into the bits of one float."""
    count = len(cloud.points)
    rows = np.empty(count, [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("rgb", "<u4")])
    for axis, name in enumerate("xyz"):
        rows[name] = cloud.points[:, axis]
    red, green, blue = cloud.colours.astype(np.uint32).T
    rows["rgb"] = red << 16 | green << 8 | blue
    header = (
        "# .PCD v0.7 - Point Cloud Data file format\nVERSION 0.7\nFIELDS x y z rgb\nSIZE 4 4 4 4\nTYPE F F F F\n"
        f"COUNT 1 1 1 1\nWIDTH {count}\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS {count}\nDATA binary\n"
    )
    return header.encode("ascii") + rows.tobytes()


def tum_bytes(trajectory: Trajectory) -> bytes:
    """A line a pose: stamp in seconds, position, quaternion xyzw."""
    lines = []
    quaternions = se3.quat_xyzw(trajectory.T_ref_cam[:, :3, :3]) if len(trajectory) else np.empty((0, 4))
    for stamp, T, quat_xyzw in zip(trajectory.stamps_ns.tolist(), trajectory.T_ref_cam, quaternions, strict=True):
        numbers = " ".join(f"{value:.9f}" for value in (*T[:3, 3], *quat_xyzw))
        lines.append(f"{stamp // 10**9}.{stamp % 10**9:09d} {numbers}\n")
    return "".join(lines).encode()


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
