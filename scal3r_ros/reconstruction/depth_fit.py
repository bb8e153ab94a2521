"""A depth map drawn to the few points that are known better: a smooth factor over the image."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

_ROWS, _COLUMNS = 3, 5
_TO_ONE_FACTOR = 2.0
_SMOOTH = 4.0
_OUTLYING = 0.05
_ROUNDS = 4
_FEWEST = 8


def fitted_depth(
    depth: NDArray[np.float32], column: NDArray[np.int64], row: NDArray[np.int64], z: NDArray[np.float64]
) -> NDArray[np.float32]:
    """`depth` (h, w) times a smooth factor, so that it meets depths `z` (k,) at pixels `column`, `row` (k,).

    log(z / depth) is interpolated bilinearly between 3 × 5 supports, which are found by robust least squares and drawn
    to each other and to their common median, so that a part of the image without points follows the others. Unknown
    depth (0) stays unknown; with fewer than eight points all of it stays.
    """
    usable = (depth[row, column] > 0) & (z > 0)
    column, row, z = column[usable], row[usable], z[usable]
    if len(z) < _FEWEST:
        return depth
    off = np.log(z / depth[row, column])
    middle = float(np.median(off))
    height, width = depth.shape
    A = _weights_of_supports(column / max(1, width - 1), row / max(1, height - 1))
    neighbours = _differences()
    weight = np.ones(len(z))
    field = np.full(_ROWS * _COLUMNS, middle)
    ties = _SMOOTH * neighbours.T @ neighbours + _TO_ONE_FACTOR * np.eye(len(field))
    for _ in range(_ROUNDS):
        left = (A * weight[:, None]).T @ A + ties
        field = np.linalg.solve(left, (A * weight[:, None]).T @ off + _TO_ONE_FACTOR * middle)
        weight = 1.0 / np.maximum(1.0, np.abs(off - A @ field) / _OUTLYING)
    supports = np.exp(field).reshape(_ROWS, _COLUMNS)
    across, down = np.meshgrid(np.linspace(0, _COLUMNS - 1, width), np.linspace(0, _ROWS - 1, height))
    factor = cv2.remap(
        supports.astype(np.float32),
        across.astype(np.float32),
        down.astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    fitted: NDArray[np.float32] = depth * factor
    return fitted


def _weights_of_supports(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bilinear weights (k, supports) at places x, y in 0 … 1."""
    across = np.maximum(0.0, 1.0 - np.abs(x[:, None] * (_COLUMNS - 1) - np.arange(_COLUMNS)))
    down = np.maximum(0.0, 1.0 - np.abs(y[:, None] * (_ROWS - 1) - np.arange(_ROWS)))
    return (down[:, :, None] * across[:, None, :]).reshape(len(x), -1)


def _differences() -> NDArray[np.float64]:
    """One row for each pair of supports beside or above each other."""
    index = np.arange(_ROWS * _COLUMNS).reshape(_ROWS, _COLUMNS)
    pairs = [*zip(index[:, 1:].ravel(), index[:, :-1].ravel(), strict=True)]
    pairs += [*zip(index[1:].ravel(), index[:-1].ravel(), strict=True)]
    differences = np.zeros((len(pairs), index.size))
    for number, (one, other) in enumerate(pairs):
        differences[number, one], differences[number, other] = 1.0, -1.0
    return differences
