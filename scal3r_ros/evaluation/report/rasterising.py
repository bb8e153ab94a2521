"""The z-buffer of round splats, compiled: a film of a map draws hundreds of millions of pixels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
from numba import njit
from numpy.typing import NDArray

EMPTY = np.iinfo(np.uint64).max
"""z-buffer entry of a pixel that no point covers; its bits read as a depth behind every other."""

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])


def _compiled(function: FunctionT) -> FunctionT:
    try:
        return cast("FunctionT", njit(cache=True, nogil=True)(function))
    except RuntimeError:  # numba finds no folder for its cache
        return cast("FunctionT", njit(nogil=True)(function))


def depth_buffer(
    uv: NDArray[np.float32], depth: NDArray[np.float32], radius_px: NDArray[np.float32], width: int, height: int
) -> NDArray[np.uint64]:
    """Keys (height, width) of the nearest points: depth in the upper 32 bits, which order as the floats do, index
    below.

    A splat recedes towards its rim, so that neighbours on a surface meet half way instead of lying on each other like
    tiles.
    """
    pixels = np.round(uv).astype(np.int64)
    recession = (depth / (np.maximum(radius_px, np.float32(1.0)) * np.float32(width))).astype(np.float32)
    buffer = np.full((height, width), EMPTY, np.uint64)
    nearest = np.full((height, width), np.inf, np.float32)
    index = np.zeros((height, width), np.int64)
    _draw(pixels, depth, radius_px, recession, nearest, index)
    covered = np.isfinite(nearest)
    keys = nearest[covered].view(np.uint32).astype(np.uint64) << np.uint64(32)
    buffer[covered] = keys | index[covered].astype(np.uint64)
    return buffer


@_compiled
def _draw(
    pixels: NDArray[np.int64],
    depth: NDArray[np.float32],
    radius_px: NDArray[np.float32],
    recession: NDArray[np.float32],
    nearest: NDArray[np.float32],
    index: NDArray[np.int64],
) -> None:
    """Draws point after point; of two at one depth the first stays."""
    height, width = nearest.shape
    for i in range(len(pixels)):
        u, v, radius = pixels[i, 0], pixels[i, 1], radius_px[i]
        reach = int(radius)
        for dy in range(-reach, reach + 1):
            y = v + dy
            if y < 0 or y >= height:
                continue
            for dx in range(-reach, reach + 1):
                x, square = u + dx, dx * dx + dy * dy
                if x < 0 or x >= width or square > radius * radius:
                    continue
                rim = depth[i] + np.float32(square) * recession[i]
                if rim < nearest[y, x]:
                    nearest[y, x] = rim
                    index[y, x] = i
