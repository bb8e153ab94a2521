"""What the points of a view are coloured by."""

from __future__ import annotations

from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scal3r_ros.viewer.tiles import Tile

TURBO = np.array(
    [[48, 18, 59], [70, 107, 227], [40, 187, 236], [49, 242, 153], [162, 252, 60], [237, 208, 58], [251, 128, 34],
     [210, 49, 5], [122, 4, 3]], np.float64,
)  # fmt: skip
"""Eight even steps of Google's colour map Turbo (Mikhailov, 2019)."""


class ColourBy(StrEnum):
    """What a point's colour shows."""

    IMAGE = "image"
    HEIGHT = "height"
    AGE = "age"


def colours_of(tile: Tile, rows: slice, by: ColourBy, heights: tuple[float, float], came: int) -> NDArray[np.uint8]:
    """Colours (n, 3) of some points of a tile: of the images, or by height between two, or by age up to `came`."""
    if by is ColourBy.IMAGE:
        return tile.colours[rows]
    if by is ColourBy.HEIGHT:
        low, high = heights
        return turbo((tile.points[rows, 2] + tile.centre[2] - low) / max(high - low, 1e-6))
    return turbo(tile.age[rows] / max(came, 1))


def turbo(values: ArrayLike) -> NDArray[np.uint8]:
    """Colours (n, 3) of values (n,): from blue at 0 to red at 1."""
    places = np.clip(np.asarray(values, np.float64), 0.0, 1.0) * (len(TURBO) - 1)
    channels = [np.interp(places, np.arange(len(TURBO)), TURBO[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=-1).astype(np.uint8)
