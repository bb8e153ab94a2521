"""Between pixels with depth and points of a rectified camera's optical frame."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scal3r_ros.geometry.intrinsics import Intrinsics


def confident(depth: NDArray[np.floating], confidence: NDArray[np.floating], least: float) -> NDArray[np.bool_]:
    """Where depth is known, a number, and its confidence at least `least` (and not 0)."""
    return np.asarray((confidence >= max(least, 1e-6)) & (depth > 0) & np.isfinite(depth))


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


def nearest_pixels(
    uv: ArrayLike, image_shape: tuple[int, ...], map_shape: tuple[int, ...]
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Where pixels uv (n, 2) of an image of shape (h, w, …) lie in a map of shape (h', w') of the same view.

    Gives the pixels (n, 2) of the map, and row (n,) and column (n,) of the entry nearest to each, inside the map.
    """
    height, width = map_shape[-2:]
    scaled = (np.asarray(uv, np.float64) + 0.5) * [width / image_shape[1], height / image_shape[0]] - 0.5
    column = np.clip(np.rint(scaled[:, 0]).astype(np.int64), 0, width - 1)
    row = np.clip(np.rint(scaled[:, 1]).astype(np.int64), 0, height - 1)
    return scaled, row, column


def project(points: ArrayLike, intrinsics: Intrinsics) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pixels (..., 2) and z-depths (...) of points (..., 3) in the camera frame; NaN pixels where z ≤ 0."""
    points_ = np.asarray(points, np.float64)
    z = points_[..., 2]
    safe = np.where(z > 0, z, np.nan)
    u = intrinsics.fx * points_[..., 0] / safe + intrinsics.cx
    v = intrinsics.fy * points_[..., 1] / safe + intrinsics.cy
    return np.stack([u, v], axis=-1), z


def rays_of(xy: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unit vectors (n, 3) through points (n, 2) on the z = 1 plane."""
    rays = np.concatenate([xy, np.ones((len(xy), 1))], axis=1)
    return np.asarray(rays / np.linalg.norm(rays, axis=1, keepdims=True))
