"""Patches of an image, and where they lie in another one under an affine warp, compiled.

Inverse compositional Lucas–Kanade: gradients and normal matrix belong to the patch, and are computed once.
Source: Baker & Matthews 2004, Lucas–Kanade 20 years on, §3.2; grey levels up to gain and offset, §4.4 of part 3.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.features.compiled import WITHOUT_NAN, compiled

Grey = NDArray[np.uint8]
Floats = NDArray[np.float32]
Array = NDArray[np.float64]
Whole = NDArray[np.int64]
Flags = NDArray[np.bool_]

LEAST_CONTRAST = 1.0
"""Standard deviation, in grey levels, of a patch that can be found again."""
_STIFFNESS = 0.05
"""What keeps a patch's shape where its grey levels say nothing of that, as a share of what they usually say."""
_ARRIVED_PX = 0.03
_LEAST_AREA, _MOST_AREA = 0.25, 4.0
"""Change of a patch's area in one step from which on the search has lost its way."""

_compiled = partial(compiled, fastmath=WITHOUT_NAN)


@_compiled
def _level(image: Grey, x: float, y: float) -> float:
    """Grey level between pixels; the four around it have to be in the image."""
    u, v = int(x), int(y)
    a, b = x - u, y - v
    above = (1.0 - a) * image[v, u] + a * image[v, u + 1]
    return (1.0 - b) * above + b * ((1.0 - a) * image[v + 1, u] + a * image[v + 1, u + 1])


@_compiled
def cut_out(
    image: Grey, uv: Array, slots: Whole, patches: Floats, slopes: Floats, inverse: Array, usable: Flags
) -> None:
    """Puts the patches of `image` (h, w) around `uv` (n, 2), less their mean, at `slots` (n,) of `patches` (c, p, p).

    `slopes` (c, p, p, 6) is how they change with the four numbers of a warp's matrix and with the place, `inverse`
    (c, 6, 6) that of the normal matrix. Not `usable` (n,) are those at the rim and those without contrast.
    """
    height, width = image.shape
    side = patches.shape[1]
    r = side // 2
    around = np.empty((side + 2, side + 2))
    H, s = np.empty((6, 6)), np.empty(6)
    for i in range(len(uv)):
        x, y = uv[i, 0] - r - 1, uv[i, 1] - r - 1
        usable[i] = x >= 0 and y >= 0 and x + side + 2 < width and y + side + 2 < height
        if not usable[i]:
            continue
        patch, slope = patches[slots[i]], slopes[slots[i]]
        for b in range(side + 2):
            for a in range(side + 2):
                around[b, a] = _level(image, x + a, y + b)
        mean = 0.0
        for b in range(side):
            for a in range(side):
                mean += around[b + 1, a + 1]
        mean /= side * side
        H[:] = 0.0
        square = 0.0
        for b in range(side):
            for a in range(side):
                level = around[b + 1, a + 1] - mean
                patch[b, a] = level
                square += level * level
                along = 0.5 * (around[b + 1, a + 2] - around[b + 1, a])
                down = 0.5 * (around[b + 2, a + 1] - around[b, a + 1])
                s[0], s[1], s[2], s[3] = along * (a - r), along * (b - r), down * (a - r), down * (b - r)
                s[4], s[5] = along, down
                for j in range(6):
                    slope[b, a, j] = s[j]
                    for k in range(j + 1):
                        H[j, k] += s[j] * s[k]
        usable[i] = square > LEAST_CONTRAST * LEAST_CONTRAST * side * side
        if not usable[i]:
            continue
        stiff = _STIFFNESS * (H[0, 0] + H[1, 1] + H[2, 2] + H[3, 3]) / 4.0
        for j in range(6):
            H[j, j] += stiff if j < 4 else 1e-6 * (H[4, 4] + H[5, 5])
            for k in range(j):
                H[k, j] = H[j, k]
        inverse[slots[i]] = np.linalg.inv(H)


@_compiled
def find(
    image: Grey, slots: Whole, patches: Floats, slopes: Floats, inverse: Array, warps: Array, uv: Array, steps: int,
    likeness: Array,
) -> None:  # fmt: skip
    """Moves `uv` (n, 2) and the warps at `slots` (n,) of `warps` (c, 2, 2) to where the patches look like `image`.

    They come as a guess. `likeness` (n,) is the normalised cross-correlation before the last of at most `steps` steps;
    -1 of a patch that has left the image or lost its way.
    """
    height, width = image.shape
    side = patches.shape[1]
    r, count = side // 2, side * side
    seen = np.empty((side, side))
    for i in range(len(uv)):
        patch, slope, V, warp = patches[slots[i]], slopes[slots[i]], inverse[slots[i]], warps[slots[i]]
        x, y = uv[i, 0], uv[i, 1]
        a00, a01, a10, a11 = warp[0, 0], warp[0, 1], warp[1, 0], warp[1, 1]
        likeness[i] = -1.0
        contrast = 0.0
        for b in range(side):
            for a in range(side):
                contrast += patch[b, a] * patch[b, a]
        for _ in range(steps):
            wide, tall = r * (abs(a00) + abs(a01)), r * (abs(a10) + abs(a11))
            if not (x - wide >= 0 and y - tall >= 0 and x + wide < width - 1 and y + tall < height - 1):
                likeness[i] = -1.0
                break
            mean, square, both = 0.0, 0.0, 0.0
            for b in range(side):
                left, top = x - a00 * r + a01 * (b - r), y - a10 * r + a11 * (b - r)
                for a in range(side):
                    level = _level(image, left + a00 * a, top + a10 * a)
                    seen[b, a] = level
                    mean += level
                    square += level * level
                    both += level * patch[b, a]  # which has no mean
            mean /= count
            square -= count * mean * mean
            if square < 0.25 * LEAST_CONTRAST * LEAST_CONTRAST * count:
                likeness[i] = -1.0
                break
            likeness[i] = both / np.sqrt(square * contrast)
            gain = np.sqrt(contrast / square)
            g0, g1, g2, g3, g4, g5 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
            for b in range(side):
                for a in range(side):
                    e = gain * (seen[b, a] - mean) - patch[b, a]
                    g0 += slope[b, a, 0] * e
                    g1 += slope[b, a, 1] * e
                    g2 += slope[b, a, 2] * e
                    g3 += slope[b, a, 3] * e
                    g4 += slope[b, a, 4] * e
                    g5 += slope[b, a, 5] * e
            b00 = 1.0 + V[0, 0] * g0 + V[0, 1] * g1 + V[0, 2] * g2 + V[0, 3] * g3 + V[0, 4] * g4 + V[0, 5] * g5
            b01 = V[1, 0] * g0 + V[1, 1] * g1 + V[1, 2] * g2 + V[1, 3] * g3 + V[1, 4] * g4 + V[1, 5] * g5
            b10 = V[2, 0] * g0 + V[2, 1] * g1 + V[2, 2] * g2 + V[2, 3] * g3 + V[2, 4] * g4 + V[2, 5] * g5
            b11 = 1.0 + V[3, 0] * g0 + V[3, 1] * g1 + V[3, 2] * g2 + V[3, 3] * g3 + V[3, 4] * g4 + V[3, 5] * g5
            d4 = V[4, 0] * g0 + V[4, 1] * g1 + V[4, 2] * g2 + V[4, 3] * g3 + V[4, 4] * g4 + V[4, 5] * g5
            d5 = V[5, 0] * g0 + V[5, 1] * g1 + V[5, 2] * g2 + V[5, 3] * g3 + V[5, 4] * g4 + V[5, 5] * g5
            area = b00 * b11 - b01 * b10
            if area < _LEAST_AREA or area > _MOST_AREA:
                likeness[i] = -1.0
                break
            a00, a01 = (a00 * b11 - a01 * b10) / area, (a01 * b00 - a00 * b01) / area
            a10, a11 = (a10 * b11 - a11 * b10) / area, (a11 * b00 - a10 * b01) / area
            dx, dy = a00 * d4 + a01 * d5, a10 * d4 + a11 * d5
            x, y = x - dx, y - dy
            if dx * dx + dy * dy < _ARRIVED_PX * _ARRIVED_PX:
                break
        warp[0, 0], warp[0, 1], warp[1, 0], warp[1, 1] = a00, a01, a10, a11
        uv[i, 0], uv[i, 1] = x, y
