"""A depth map fitted to sparse points that are known better; the more points around a pixel, the closer the fit."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

_PARTS = (4, 8, 16, 32, 64)
"""Image width over each round's standard deviation: from the overall shape to single points."""
_REACH = 2.0
"""Standard deviations beyond which a point does not count."""
_PRIOR_POINTS = 0.1
"""Weight, in points, of leaving each pixel as it is."""
_INLIER_SHARE = 0.75
"""Quantile of the residuals beyond which points count less: they may lie across an edge."""
_EXACT = 0.02
"""Difference of logarithms below which no point counts less."""
_SPREAD_UP_TO = 32
"""The last round that measures the spread: the few points in reach of narrower ones agree by chance."""
_FEWEST = 8


@dataclass(frozen=True)
class Fit:
    """`depth` (h, w) after a fit, and `spread` (h, w): how far the points around differed on log(depth), one sigma.

    `spread` is None where there were too few points.
    """

    depth: NDArray[np.float32]
    spread: NDArray[np.float32] | None


def fitted_depth(
    depth: NDArray[np.float32], column: NDArray[np.int64], row: NDArray[np.int64], z: NDArray[np.float64]
) -> Fit:
    """`depth` (h, w) times a factor, so that it meets depths `z` (k,) at pixels `column`, `row` (k,).

    log(z / depth) is spread from the points over the image by normalised convolution (Knutsson and Westin, 1993), in
    rounds of ever narrower Gaussians, each of the residuals of the rounds before. So a part of the image without points
    follows the others, and around a point its own depth counts. Unknown depth (0) stays unknown; with fewer than eight
    points the depth stays as it is, without a spread.
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
        inlier = max(_EXACT, float(np.quantile(np.abs(off), _INLIER_SHARE)))
        weight = 1.0 / (1.0 + np.square(off / inlier))
        sums = np.zeros((*depth.shape, 3), np.float32)
        np.add.at(sums, (row, column), np.stack([weight, weight * off, weight * off**2], axis=1))
        blurred = cv2.sepFilter2D(sums, -1, kernel, kernel, borderType=cv2.BORDER_CONSTANT)
        points, factors, squares = np.moveaxis(blurred, -1, 0)
        if part <= _SPREAD_UP_TO:
            variance = (squares + variance) / (points + 1.0)
        more = factors / (points + _PRIOR_POINTS)
        field += more
        off = off - more[row, column].astype(np.float64)
    return Fit(depth * np.exp(field), np.sqrt(variance))


def _gaussian(sigma: float) -> NDArray[np.float64]:
    """A row of a Gaussian kernel, 1 in the middle."""
    kernel = np.asarray(cv2.getGaussianKernel(2 * int(np.ceil(_REACH * sigma)) + 1, sigma), np.float64)
    return kernel / kernel.max()
