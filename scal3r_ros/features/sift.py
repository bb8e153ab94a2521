"""Image points that can be matched from another viewpoint or on another day: SIFT corners with their descriptors.

Source: Lowe 2004; descriptors are compared by Hellinger's kernel (Arandjelović & Zisserman, 2012).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

_LARGEST_SIDE = 960
"""Larger images are reduced to half their size or less: large structures suffice to tell places apart."""
_CONTRAST = 0.015


@dataclass(frozen=True, eq=False)
class LocalFeatures:
    """`uv` (n, 2) float32 pixels, `sigma` (n,) float32 their standard deviation in pixels, strongest first.

    `descriptors` (n, 128) uint8: square roots of normalised SIFT, so that Euclidean distance is Hellinger's.
    """

    uv: NDArray[np.float32]
    sigma: NDArray[np.float32]
    descriptors: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.uv)

    def take(self, rows: NDArray[np.intp]) -> LocalFeatures:
        """Some of them, in the order of `rows`."""
        return LocalFeatures(self.uv[rows], self.sigma[rows], self.descriptors[rows])


def find_local_features(image: NDArray[np.uint8], most: int) -> LocalFeatures:
    """The `most` strongest points of `image` (h, w, 3) RGB, strongest first. Deterministic."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    shrink = max(1, -(-max(grey.shape) // _LARGEST_SIDE))
    if shrink > 1:
        size = (grey.shape[1] // shrink, grey.shape[0] // shrink)
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    sift = cv2.SIFT.create(nfeatures=most, contrastThreshold=_CONTRAST)
    points, raw = sift.detectAndCompute(grey, None)
    if raw is None or not len(points):
        return LocalFeatures(np.empty((0, 2), np.float32), np.empty(0, np.float32), np.empty((0, 128), np.uint8))
    response = np.array([point.response for point in points], np.float32)
    uv = np.array([point.pt for point in points], np.float32)
    size_px = np.array([point.size for point in points], np.float32)
    order = np.lexsort((uv[:, 0], uv[:, 1], -response))[:most]
    share = np.asarray(raw, np.float32)[order]
    share /= np.maximum(share.sum(axis=1, keepdims=True), 1e-6)
    # Roots of shares lie in 0 … 1; few are above one half.
    descriptors = np.minimum(np.rint(512.0 * np.sqrt(share)), 255).astype(np.uint8)
    scale = np.array([image.shape[1] / grey.shape[1], image.shape[0] / grey.shape[0]], np.float32)
    full = ((uv[order] + 0.5) * scale - 0.5).astype(np.float32)
    # A point is as precise as its size; the smallest ones, of about two pixels, to half a pixel.
    sigma = np.maximum(0.5, 0.12 * size_px[order]) * float(scale[0])
    return LocalFeatures(full, sigma.astype(np.float32), descriptors)


def match(first: LocalFeatures, second: LocalFeatures, ratio: float = 0.8) -> NDArray[np.intp]:
    """Pairs (m, 2) of rows that are mutual nearest neighbours and pass Lowe's `ratio` test."""
    if len(first) < 2 or len(second) < 2:
        return np.empty((0, 2), np.intp)
    a, b = first.descriptors.astype(np.float32), second.descriptors.astype(np.float32)
    squared = np.square(a).sum(axis=1)[:, None] + np.square(b).sum(axis=1)[None] - 2.0 * (a @ b.T)
    rows = np.arange(len(a))
    nearest = squared.argmin(axis=1)
    least = squared[rows, nearest]
    next_best = np.partition(squared, 1, axis=1)[:, 1]
    mutual = squared.argmin(axis=0)[nearest] == rows
    chosen = mutual & (least < ratio**2 * next_best)
    return np.column_stack([rows[chosen], nearest[chosen]])
