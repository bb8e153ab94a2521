"""What the points of a view are coloured by."""

from __future__ import annotations

import colorsys
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scal3r_ros.viewer.tiles import CONFIDENCE_STEPS, Tile

TURBO = np.array(
    [[48, 18, 59], [70, 107, 227], [40, 187, 236], [49, 242, 153], [162, 252, 60], [237, 208, 58], [251, 128, 34],
     [210, 49, 5], [122, 4, 3]], np.float64,
)  # fmt: skip
"""Eight even steps of Google's colour map Turbo (Mikhailov, 2019)."""

GOLDEN = 0.618034
"""Hues of neighbouring submaps lie this part of the circle apart, so that no two nearby ones are alike."""

HUES = np.array(
    [colorsys.hsv_to_rgb(number * GOLDEN % 1.0, 0.65, 0.95 if number % 2 else 0.75) for number in range(64)]
)
"""Colours (64, 3) in 0..1 of submaps; beyond, they repeat."""


class ColourBy(StrEnum):
    """What a point's colour shows."""

    IMAGE = "image"
    HEIGHT = "height"
    AGE = "age"
    SUBMAP = "submap"
    CONFIDENCE = "confidence"


def colours_of(tile: Tile, rows: slice, by: ColourBy, heights: tuple[float, float], newest: int) -> NDArray[np.uint8]:
    """Colours (n, 3) of some points of a tile.

    Those of the images; by height between two; by age, up to the `newest` submap; one of each submap; by confidence.
    """
    if by is ColourBy.IMAGE:
        return tile.all.colours[rows]
    if by is ColourBy.HEIGHT:
        low, high = heights
        return turbo((tile.all.points[rows, 2] + tile.centre[2] - low) / max(high - low, 1e-6))
    if by is ColourBy.CONFIDENCE:
        return turbo(tile.all.confidence[rows] / CONFIDENCE_STEPS)
    if by is ColourBy.SUBMAP:
        return np.rint(255.0 * HUES[tile.all.submaps[rows] % len(HUES)]).astype(np.uint8)
    return turbo(tile.all.submaps[rows] / max(newest, 1))


def turbo(values: ArrayLike) -> NDArray[np.uint8]:
    """Colours (n, 3) of values (n,): from blue at 0 to red at 1."""
    places = np.clip(np.asarray(values, np.float64), 0.0, 1.0) * (len(TURBO) - 1)
    channels = [np.interp(places, np.arange(len(TURBO)), TURBO[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=-1).astype(np.uint8)
