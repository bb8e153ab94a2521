"""All textures of a world in one array, each with its mip levels, and how to look up a point."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.simulation.compiled import compiled

SIZE = 256
LEVELS = 9
_TEXELS = sum((SIZE >> level) ** 2 for level in range(LEVELS))


class Atlas(NamedTuple):
    """`texels` (n · texels of all levels, 4) uint8: square roots of linear red, green, blue, then opacity, of 255.

    A texture has SIZE × SIZE texels and repeats. `begin` (LEVELS,) is where a level starts within a texture.
    """

    texels: NDArray[np.uint8]
    begin: NDArray[np.int64]


def build_atlas(textures: list[NDArray[np.float32]]) -> Atlas:
    """Textures (SIZE, SIZE, 4) of linear colour and opacity in 0…1 as an atlas, numbered in their order."""
    begin = np.cumsum([0, *((SIZE >> level) ** 2 for level in range(LEVELS - 1))]).astype(np.int64)
    texels = np.empty((len(textures) * _TEXELS, 4), np.uint8)
    for number, texture in enumerate(textures):
        level = np.ascontiguousarray(texture, np.float32)
        for depth in range(LEVELS):
            at = number * _TEXELS + begin[depth]
            _encode(level.reshape(-1, 4), texels[at : at + level.shape[0] ** 2])
            if depth < LEVELS - 1:
                level = _halved(level)
    return Atlas(texels, begin)


@compiled
def _halved(level: np.ndarray) -> np.ndarray:
    """Means over 2 × 2 texels; colour is weighted by opacity, so that transparent texels do not bleed."""
    size = level.shape[0] // 2
    half = np.empty((size, size, 4), np.float32)
    for i in range(size):
        for j in range(size):
            red, green, blue, opacity, share = 0.0, 0.0, 0.0, 0.0, 0.0
            for k in range(4):
                texel = level[2 * i + k // 2, 2 * j + k % 2]
                weight = texel[3] + 1e-4
                red += weight * texel[0]
                green += weight * texel[1]
                blue += weight * texel[2]
                opacity += texel[3]
                share += weight
            half[i, j, 0], half[i, j, 1], half[i, j, 2] = red / share, green / share, blue / share
            half[i, j, 3] = 0.25 * opacity
    return half


@compiled
def _encode(linear: np.ndarray, texels: np.ndarray) -> None:
    for i in range(len(linear)):
        for channel in range(3):
            texels[i, channel] = np.uint8(255.0 * math.sqrt(min(1.0, max(0.0, linear[i, channel]))) + 0.5)
        texels[i, 3] = np.uint8(255.0 * min(1.0, max(0.0, linear[i, 3])) + 0.5)


@compiled
def level_of(texels_wide: float) -> int:
    """The level at which a footprint, given in texels of the finest level, is about one texel wide."""
    level = 0
    while texels_wide > 1.41 and level < LEVELS - 1:
        texels_wide *= 0.5
        level += 1
    return level


@compiled
def _corner(begin: np.ndarray, texture: int, level: int, u: float, v: float) -> tuple[int, int, int, int, float, float]:
    """The four texels around a point, and its position between them."""
    size = SIZE >> level
    mask = size - 1
    x, y = u * size - 0.5, v * size - 0.5
    fx, fy = math.floor(x), math.floor(y)
    i, j = int(fx) & mask, int(fy) & mask
    i1, j1 = (i + 1) & mask, (j + 1) & mask
    base = texture * _TEXELS + begin[level]
    return base + j * size + i, base + j * size + i1, base + j1 * size + i, base + j1 * size + i1, x - fx, y - fy


@compiled
def sample_colour(
    texels: np.ndarray, begin: np.ndarray, texture: int, level: int, u: float, v: float
) -> tuple[float, float, float]:
    """Linear colour at (u, v) of a texture, bilinear between texels."""
    a, b, c, d, x, y = _corner(begin, texture, level, u, v)
    wa, wb, wc, wd = (1.0 - x) * (1.0 - y), x * (1.0 - y), (1.0 - x) * y, x * y
    red = wa * texels[a, 0] + wb * texels[b, 0] + wc * texels[c, 0] + wd * texels[d, 0]
    green = wa * texels[a, 1] + wb * texels[b, 1] + wc * texels[c, 1] + wd * texels[d, 1]
    blue = wa * texels[a, 2] + wb * texels[b, 2] + wc * texels[c, 2] + wd * texels[d, 2]
    scale = 1.0 / (255.0 * 255.0)
    return red * red * scale, green * green * scale, blue * blue * scale


@compiled
def sample_channel(
    texels: np.ndarray, begin: np.ndarray, texture: int, level: int, u: float, v: float, channel: int
) -> float:
    """One stored channel, 0…1, at (u, v), bilinear between texels."""
    a, b, c, d, x, y = _corner(begin, texture, level, u, v)
    low = (1.0 - x) * texels[a, channel] + x * texels[b, channel]
    high = (1.0 - x) * texels[c, channel] + x * texels[d, channel]
    return ((1.0 - y) * low + y * high) / 255.0
