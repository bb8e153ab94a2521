"""Between pixels with depth and points of a rectified camera's optical frame."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scal3r_ros.geometry.intrinsics import Intrinsics


def backproject(depth: ArrayLike, intrinsics: Intrinsics) -> NDArray[np.floating]:
    """Points (..., h, w, 3) in the camera frame of z-depth maps (..., h, w), in the depth's unit and dtype.

    A depth of 0 gives the camera centre: masking unknown depth is the caller's.
    """
    depth_ = np.asarray(depth)
    if not np.issubdtype(depth_.dtype, np.floating):
        depth_ = depth_.astype(np.float64)
    height, width = depth_.shape[-2:]
    x = ((np.arange(width) - intrinsics.cx) / intrinsics.fx).astype(depth_.dtype)
    y = ((np.arange(height) - intrinsics.cy) / intrinsics.fy).astype(depth_.dtype)
    points = np.empty((*depth_.shape, 3), depth_.dtype)
    points[..., 0] = depth_ * x
    points[..., 1] = depth_ * y[:, None]
    points[..., 2] = depth_
    return points


def backproject_pixels(uv: ArrayLike, depth: ArrayLike, intrinsics: Intrinsics) -> NDArray[np.float64]:
    """Points (..., 3) float64 in the camera frame of pixels uv (..., 2) with z-depth (...), in the depth's unit."""
    uv_, depth_ = np.asarray(uv, np.float64), np.asarray(depth, np.float64)
    x = (uv_[..., 0] - intrinsics.cx) / intrinsics.fx
    y = (uv_[..., 1] - intrinsics.cy) / intrinsics.fy
    return np.stack([x * depth_, y * depth_, np.broadcast_to(depth_, x.shape)], axis=-1)


def project(points: ArrayLike, intrinsics: Intrinsics) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pixels (..., 2) and z-depths (...) of points (..., 3) in the camera frame; NaN pixels where z ≤ 0."""
    points_ = np.asarray(points, np.float64)
    z = points_[..., 2]
    safe = np.where(z > 0, z, np.nan)
    u = intrinsics.fx * points_[..., 0] / safe + intrinsics.cx
    v = intrinsics.fy * points_[..., 1] / safe + intrinsics.cy
    return np.stack([u, v], axis=-1), z
