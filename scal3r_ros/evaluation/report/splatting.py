"""Draws a point cloud with numpy alone: round splats, a z-buffer and eye-dome lighting. Deterministic, needs no GPU."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BACKGROUND_RGB = (247, 247, 245)
EMPTY = np.iinfo(np.uint64).max
"""z-buffer entry of a pixel that no point covers; its bits read as a depth behind every other."""

LIGHT_RADIUS_PX = 2
LIGHT_STRENGTH = 40.0


@dataclass(frozen=True)
class Projection:
    """Points as a camera sees them: `uv` (n, 2) pixels, `depth` (n,) > 0 and `radius_px` (n,) of their splats,
    float32.
    """

    uv: NDArray[np.float32]
    depth: NDArray[np.float32]
    radius_px: NDArray[np.float32]


def splat(projection: Projection, colours: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """A picture (height, width, 3) uint8 RGB of points of `colours` (n, 3) uint8; nearer points hide farther ones.

    Where two points lie at the same depth, the one that comes first is drawn.
    """
    buffer = _depth_buffer(projection, width, height)
    covered = buffer != EMPTY
    index = (buffer & np.uint64(0xFFFFFFFF)).astype(np.int64)[covered]
    picture = np.full((height, width, 3), BACKGROUND_RGB, np.float32)
    depth = np.full((height, width), np.inf, np.float32)
    depth[covered] = projection.depth[index]
    picture[covered] = colours[index] * eye_dome_shade(depth)[covered][:, None]
    return np.round(picture).astype(np.uint8)


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


def _depth_buffer(projection: Projection, width: int, height: int) -> NDArray[np.uint64]:
    """Keys (height, width) of the nearest points: depth in the upper 32 bits, which order as the floats do, index
    below.

    A splat recedes towards its rim, so that neighbours on a surface meet half way instead of lying on each other like
    tiles.
    """
    # Largest splats first, so that those that reach an offset are a prefix.
    order = np.argsort(-projection.radius_px, kind="stable")
    radius, depth = projection.radius_px[order], projection.depth[order]
    u, v = (np.round(column[order]).astype(np.int32) for column in projection.uv.T)
    index = order.astype(np.uint64)
    recession = depth / (np.maximum(radius, np.float32(1.0)) * np.float32(width))
    buffer = np.full(height * width, EMPTY, np.uint64)
    reach = int(radius.max(initial=0.0))
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            count = int(np.searchsorted(-radius, -np.hypot(dx, dy), side="right"))
            x, y = u[:count] + dx, v[:count] + dy
            drawn = np.flatnonzero((x >= 0) & (x < width) & (y >= 0) & (y < height))
            rim = depth[drawn] + np.float32(dx * dx + dy * dy) * recession[drawn]
            keys = rim.view(np.uint32).astype(np.uint64) << np.uint64(32) | index[drawn]
            np.minimum.at(buffer, y[drawn].astype(np.int64) * width + x[drawn], keys)
    return buffer.reshape(height, width)
