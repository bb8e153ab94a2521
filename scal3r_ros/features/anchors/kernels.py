"""Patches of an image, and where they lie in another one under an affine warp, compiled.

Inverse compositional Lucas–Kanade: gradients and normal matrix belong to the patch, and are computed once.
Source: Baker & Matthews 2004, Lucas–Kanade 20 years on, §3.2; grey levels up to gain and offset, §4.4 of part 3.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.features.compiled import WITHOUT_NAN, compiled

Floats = NDArray[np.float32]
Array = NDArray[np.float64]
Flags = NDArray[np.bool_]

LEAST_CONTRAST = 1.0
"""Standard deviation, in grey levels, of a patch that can be found again."""
_STIFFNESS = 0.05
"""What keeps a patch's shape where its grey levels say nothing of that, as a share of what they usually say."""
_ARRIVED_PX = 0.02
_LEAST_AREA, _MOST_AREA = 0.25, 4.0
"""Change of a patch's area in one step from which on the search has lost its way."""

_compiled = partial(compiled, fastmath=WITHOUT_NAN)


@_compiled
def _level(image: Floats, x: float, y: float) -> float:
    """Grey level between pixels; the four around it have to be in the image."""
    u, v = int(x), int(y)
    a, b = x - u, y - v
    above = (1.0 - a) * image[v, u] + a * image[v, u + 1]
    return (1.0 - b) * above + b * ((1.0 - a) * image[v + 1, u] + a * image[v + 1, u + 1])


@_compiled
def cut_out(image: Floats, uv: Array, patches: Floats, slopes: Floats, inverse: Array, usable: Flags) -> None:
    """The patches (n, p, p) of `image` (h, w) around `uv` (n, 2), less their mean.

    `slopes` (n, 6, p, p) is how they change with the four numbers of a warp's matrix and with the place, `inverse`
    (n, 6, 6) that of the normal matrix. Not `usable` (n,) are those at the rim and those without contrast.
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
                patches[i, b, a] = level
                square += level * level
                along = 0.5 * (around[b + 1, a + 2] - around[b + 1, a])
                down = 0.5 * (around[b + 2, a + 1] - around[b, a + 1])
                s[0], s[1], s[2], s[3] = along * (a - r), along * (b - r), down * (a - r), down * (b - r)
                s[4], s[5] = along, down
                for j in range(6):
                    slopes[i, j, b, a] = s[j]
                    for k in range(6):
                        H[j, k] += s[j] * s[k]
        usable[i] = square > LEAST_CONTRAST * LEAST_CONTRAST * side * side
        if not usable[i]:
            continue
        stiff = _STIFFNESS * (H[0, 0] + H[1, 1] + H[2, 2] + H[3, 3]) / 4.0
        for j in range(4):
            H[j, j] += stiff
        for j in range(4, 6):
            H[j, j] += 1e-6 * (H[4, 4] + H[5, 5])
        inverse[i] = np.linalg.inv(H)


@_compiled
def find(
    image: Floats, patches: Floats, slopes: Floats, inverse: Array, warps: Array, uv: Array, steps: int, likeness: Array
) -> None:
    """Moves `uv` (n, 2) and `warps` (n, 2, 2) to where the patches look like `image`; they come as a guess.

    `likeness` (n,) is the normalised cross-correlation there, -1 of a patch that has left the image or lost its way.
    """
    height, width = image.shape
    side = patches.shape[1]
    r, count = side // 2, side * side
    seen, g = np.empty((side, side)), np.empty(6)
    for i in range(len(uv)):
        x, y = uv[i, 0], uv[i, 1]
        a00, a01, a10, a11 = warps[i, 0, 0], warps[i, 0, 1], warps[i, 1, 0], warps[i, 1, 1]
        likeness[i] = -1.0
        contrast = 0.0
        for b in range(side):
            for a in range(side):
                contrast += patches[i, b, a] * patches[i, b, a]
        arrived = False
        for step in range(steps + 1):
            wide, tall = r * (abs(a00) + abs(a01)), r * (abs(a10) + abs(a11))
            if not (x - wide >= 0 and y - tall >= 0 and x + wide < width - 1 and y + tall < height - 1):
                likeness[i] = -1.0
                break
            mean = 0.0
            for b in range(side):
                for a in range(side):
                    level = _level(image, x + a00 * (a - r) + a01 * (b - r), y + a10 * (a - r) + a11 * (b - r))
                    seen[b, a] = level
                    mean += level
            mean /= count
            square, both = 0.0, 0.0
            for b in range(side):
                for a in range(side):
                    seen[b, a] -= mean
                    square += seen[b, a] * seen[b, a]
                    both += seen[b, a] * patches[i, b, a]
            if square < 0.25 * LEAST_CONTRAST * LEAST_CONTRAST * count:
                likeness[i] = -1.0
                break
            likeness[i] = both / np.sqrt(square * contrast)
            if arrived or step == steps:
                break
            gain = np.sqrt(contrast / square)
            for j in range(6):
                g[j] = 0.0
                for b in range(side):
                    for a in range(side):
                        g[j] += slopes[i, j, b, a] * (gain * seen[b, a] - patches[i, b, a])
            d = inverse[i] @ g
            b00, b01, b10, b11 = 1.0 + d[0], d[1], d[2], 1.0 + d[3]
            area = b00 * b11 - b01 * b10
            if area < _LEAST_AREA or area > _MOST_AREA:
                likeness[i] = -1.0
                break
            a00, a01 = (a00 * b11 - a01 * b10) / area, (a01 * b00 - a00 * b01) / area
            a10, a11 = (a10 * b11 - a11 * b10) / area, (a11 * b00 - a10 * b01) / area
            dx, dy = a00 * d[4] + a01 * d[5], a10 * d[4] + a11 * d[5]
            x, y = x - dx, y - dy
            arrived = dx * dx + dy * dy < _ARRIVED_PX * _ARRIVED_PX
        warps[i, 0, 0], warps[i, 0, 1], warps[i, 1, 0], warps[i, 1, 1] = a00, a01, a10, a11
        uv[i, 0], uv[i, 1] = x, y
