"""Draws a point cloud without a GPU: round splats, a z-buffer and eye-dome lighting. Deterministic."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.evaluation.report.rasterising import EMPTY, depth_buffer

BACKGROUND_RGB = (247, 247, 245)

SKY_AT = (0.0, 0.45, 0.6, 1.0)
SKY_RGB = ((138, 180, 220), (222, 233, 241), (231, 232, 228), (206, 207, 202))
DARKEST, BRIGHTEST = 0.62, 1.18
"""Factors of brightness of a surface that faces away from the light, and of one that faces it."""

LIGHT_RADIUS_PX = 2
LIGHT_STRENGTH = 20.0


@dataclass(frozen=True)
class Projection:
    """Points as a camera sees them: `uv` (n, 2) pixels, `depth` (n,) > 0 and `radius_px` (n,) of their splats,
    float32.
    """

    uv: NDArray[np.float32]
    depth: NDArray[np.float32]
    radius_px: NDArray[np.float32]


def splat(
    projection: Projection,
    colours: NDArray[np.uint8],
    width: int,
    height: int,
    background: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """A picture (height, width, 3) uint8 RGB of points of `colours` (n, 3) uint8; nearer points hide farther ones.

    Where two points lie at the same depth, the one that comes first is drawn. `background` (height, width, 3) is seen
    where there is none.
    """
    buffer = depth_buffer(projection.uv, projection.depth, projection.radius_px, width, height)
    covered = buffer != EMPTY
    index = (buffer & np.uint64(0xFFFFFFFF)).astype(np.int64)[covered]
    picture = np.full((height, width, 3), BACKGROUND_RGB if background is None else background, np.float32)
    depth = np.full((height, width), np.inf, np.float32)
    depth[covered] = projection.depth[index]
    picture[covered] = colours[index] * eye_dome_shade(depth)[covered][:, None]
    return np.round(picture).astype(np.uint8)


def sky(width: int, height: int) -> NDArray[np.uint8]:
    """A sky (height, width, 3): blue above, bright at the horizon in the middle, haze below."""
    at = np.linspace(0.0, 1.0, height)
    column = np.stack([np.interp(at, SKY_AT, channel) for channel in np.transpose(SKY_RGB)], axis=1)
    return np.repeat(np.rint(column).astype(np.uint8)[:, None], width, axis=1)


def lit(colours: NDArray[np.uint8], normals: NDArray[np.float32], up: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Colours (n, 3) as brighter or darker as the surface is turned to the light; unknown normals (0) change nothing.

    The light comes from `up` (3,), a little from one side, so that walls that meet differ.
    """
    helper = np.array([1.0, 0.0, 0.0]) if abs(up[0]) < 0.9 else np.array([0.0, 1.0, 0.0])
    side = np.cross(up, helper)
    light = 0.8 * up + 0.5 * side / np.linalg.norm(side) + 0.33 * np.cross(side, up)
    towards = normals @ (light / np.linalg.norm(light)).astype(np.float32)
    known = np.any(normals != 0, axis=1)
    factor = np.where(known, DARKEST + (BRIGHTEST - DARKEST) * (0.5 + 0.5 * towards), 1.0)
    return np.clip(np.rint(colours * factor[:, None]), 0, 255).astype(np.uint8)


def eye_dome_shade(depth: NDArray[np.float32], strength: float = LIGHT_STRENGTH) -> NDArray[np.float32]:
    """Brightness (h, w) in 0..1 of each pixel of a z-buffer (h, w), inf where empty: dark where neighbours stand
    nearer.

    Eye-dome lighting after Boucheny (2009): the sum of the neighbours' steps towards the camera in log-depth, so that a
    step of one part in a hundred looks the same near and far.
    """
    log_depth = np.log(np.where(np.isfinite(depth), depth, np.float32(1e9)))
    r = LIGHT_RADIUS_PX
    padded = np.pad(log_depth, r, mode="edge")
    height, width = depth.shape
    steps = np.zeros_like(log_depth)
    offsets = [(dy, dx) for dy in (-r, 0, r) for dx in (-r, 0, r) if (dy, dx) != (0, 0)]
    for dy, dx in offsets:
        neighbour = padded[r + dy : r + dy + height, r + dx : r + dx + width]
        steps += np.clip(log_depth - neighbour, 0.0, 0.1)
    return np.exp(-strength * steps / len(offsets)).astype(np.float32)
