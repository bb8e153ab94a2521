"""Posed images as nerfstudio's `transforms.json`: https://docs.nerf.studio/quickstart/data_conventions.html."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.io.clouds.length_unit import UNKNOWN_UNIT, LengthUnit

FROM_OPENCV = np.diag([1.0, -1.0, -1.0, 1.0])
"""Cameras of OpenGL look along -z with y up."""


def transforms_bytes(
    T_map_cam: NDArray[np.float64],
    cameras: Sequence[Intrinsics],
    files: Sequence[str],
    points_file: str | None = None,
    unit: LengthUnit = UNKNOWN_UNIT,
) -> bytes:
    """The file for images `files` with their poses (n, 4, 4) and cameras; `points_file` is a PLY in the same frame.

    nerfstudio's pixels have their corners, not their centres, at whole numbers. It passes over names that it does not
    know, such as `unit`.
    """
    shared = len(set(cameras)) == 1
    frames: list[dict[str, Any]] = [
        {
            "file_path": file,
            **({} if shared else _camera(camera)),
            "transform_matrix": (T @ FROM_OPENCV).tolist(),
        }
        for T, camera, file in zip(T_map_cam, cameras, files, strict=True)
    ]
    content = {
        "camera_model": "OPENCV",
        "unit": str(unit),
        **(_camera(cameras[0]) if shared else {}),
        **({} if points_file is None else {"ply_file_path": points_file}),
        "frames": frames,
    }
    return json.dumps(content, indent=1).encode()


def _camera(camera: Intrinsics) -> dict[str, float | int]:
    return {
        "fl_x": camera.fx,
        "fl_y": camera.fy,
        "cx": camera.cx + 0.5,
        "cy": camera.cy + 0.5,
        "w": camera.width,
        "h": camera.height,
        "k1": 0.0,
        "k2": 0.0,
        "p1": 0.0,
        "p2": 0.0,
    }
