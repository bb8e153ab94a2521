"""A depth map drawn to the few points that are known better: the more points there are around a pixel, the nearer."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

_PARTS = (4, 8, 16, 32, 64)
"""Each round's standard deviation, as a part of the image's width: from the shape of the whole to single points."""
_REACH = 2.0
"""Standard deviations after which a point no longer counts."""
_TO_ONE_FACTOR = 0.1
"""Points that say 'as it is' at each pixel."""
_USUAL = 0.75
"""Share of the points that are off by no more than usual; those beyond count less, as they may lie across an edge."""
_EXACT = 0.02
"""Difference of logarithms below which no point counts less."""
_JUDGED_UP_TO = 32
"""The last part by which the spread is found: the few points in reach of narrower ones agree by chance."""
_FEWEST = 8


@dataclass(frozen=True)
class Fit:
    """`depth` (h, w) after a fit, and `spread` (h, w): how far the points around differed on log(depth), one sigma.

    `spread` is None where too few points said anything.
    """

    depth: NDArray[np.float32]
    spread: NDArray[np.float32] | None


def fitted_depth(
    depth: NDArray[np.float32], column: NDArray[np.int64], row: NDArray[np.int64], z: NDArray[np.float64]
) -> Fit:
    """`depth` (h, w) times a factor, so that it meets depths `z` (k,) at pixels `column`, `row` (k,).

    log(z / depth) is spread from the points over the image by normalised convolution (Knutsson and Westin, 1993), in
    rounds of ever narrower Gaussians, each of what the rounds before have left. So a part of the image without points
    follows the others, and around a point its own depth counts. Unknown depth (0) stays unknown; with fewer than eight
    points all of it stays, and there is no spread.
    """
    usable = (depth[row, column] > 0) & (z > 0)
    column, row, z = column[usable], row[usable], z[usable]
    if len(z) < _FEWEST:
        return Fit(depth, None)
    off: NDArray[np.float64] = np.log(z / depth[row, column])
    middle = float(np.median(off))
    off = off - middle
    field = np.full(depth.shape, middle, np.float32)
    variance = np.full(depth.shape, np.mean(np.square(np.clip(off, -1.0, 1.0))), np.float32)
    for part in _PARTS:
        kernel = _gaussian(depth.shape[1] / part)
        usual = max(_EXACT, float(np.quantile(np.abs(off), _USUAL)))
        weight = 1.0 / (1.0 + np.square(off / usual))
        sums = np.zeros((*depth.shape, 3), np.float32)
        np.add.at(sums, (row, column), np.stack([weight, weight * off, weight * off**2], axis=1))
        blurred = cv2.sepFilter2D(sums, -1, kernel, kernel, borderType=cv2.BORDER_CONSTANT)
        points, factors, squares = np.moveaxis(blurred, -1, 0)
        if part <= _JUDGED_UP_TO:
            variance = (squares + variance) / (points + 1.0)
        more = factors / (points + _TO_ONE_FACTOR)
        field += more
        off = off - more[row, column].astype(np.float64)
    return Fit(depth * np.exp(field), np.sqrt(variance))


def _gaussian(sigma: float) -> NDArray[np.float64]:
    """One row of it, 1 in the middle."""
    kernel = np.asarray(cv2.getGaussianKernel(2 * int(np.ceil(_REACH * sigma)) + 1, sigma), np.float64)
    return kernel / kernel.max()
