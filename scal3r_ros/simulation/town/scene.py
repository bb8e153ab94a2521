"""The simulated world as arrays, in the form the ray caster reads."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Shape(IntEnum):
    """Shapes of a part; all stand upright."""

    BOX = 0
    CYLINDER = 1
    ELLIPSOID = 2


class Material(IntEnum):
    """Surfaces of a part; `textures.py` paints them."""

    PLASTER = 0
    BRICK = 1
    CAR_BODY = 2
    CAR_CABIN = 3
    RUBBER = 4
    METAL = 5
    BARK = 6
    LEAVES = 7
    SIGN = 8
    PLANKS = 9
    BAY = 10
    STONE = 11


@dataclass(frozen=True)
class Part:
    """One solid: its `centre` (x, y), `bottom`, `top` and `half` its length and width (radii where round) in metres.

    `yaw` is the angle from the x axis to its length; `colour` and `accent` are linear RGB in 0…1; `seed` makes its
    pattern.
    """

    shape: Shape
    material: Material
    centre: tuple[float, float]
    bottom: float
    top: float
    half: tuple[float, float]
    yaw: float
    colour: tuple[float, float, float]
    accent: tuple[float, float, float]
    seed: int

    def corners(self, margin: float = 0.0) -> NDArray[np.float64]:
        """Corners (4, 2) of its footprint, `margin` metres larger on every side."""
        length, width = self.half[0] + margin, self.half[1] + margin
        local = np.array([[-length, -width], [length, -width], [length, width], [-length, width]])
        c, s = np.cos(self.yaw), np.sin(self.yaw)
        return local @ np.array([[c, s], [-s, c]]) + np.array(self.centre)


class Scene(NamedTuple):
    """A world with z up, in metres, over a grid of square cells; immutable, and passed to compiled code as it is.

    `origin` (2,) is the corner of cell (0, 0) and `cell` its side; cells are numbered row by row. `cell_heights`
    (ny · nx, 6) holds for each cell the top of its highest part (-inf without one), its highest ground, and the height
    of the ground at its corners (0, 0), (1, 0), (0, 1) and (1, 1) in x and y, bilinear between them. `cell_begin`
    (ny · nx + 1,) and `cell_parts` list the parts that touch each cell. Nothing rises above `highest`.

    `street` (m, 3) are points x, y, arc length of the street's middle, and segment i joins points i and i + 1 where
    `street_joined` (m,) says so; `cell_street` (ny, nx) is the point nearest to a cell.

    Of each part: `shape`, `material`, `seed` (n,), `solid` (n, 8): x, y, bottom, top, half length, half width, cos
    and sin of yaw; `paint` (n, 6): colour and accent. `sun` (3,) points to the sun.
    """

    origin: NDArray[np.float64]
    cell: float
    cell_heights: NDArray[np.float64]
    cell_begin: NDArray[np.int32]
    cell_parts: NDArray[np.int32]
    highest: float
    cell_street: NDArray[np.int32]
    street: NDArray[np.float64]
    street_joined: NDArray[np.bool_]
    shape: NDArray[np.int64]
    material: NDArray[np.int64]
    seed: NDArray[np.int64]
    solid: NDArray[np.float64]
    paint: NDArray[np.float64]
    sun: NDArray[np.float64]


def parts_by_cell(
    parts: list[Part], origin: NDArray[np.float64], cell: float, shape: tuple[int, int]
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float64]]:
    """`cell_begin`, `cell_parts` of a grid of `shape` (ny, nx) cells, and the top of each one's parts (ny, nx)."""
    ny, nx = shape
    cells: list[NDArray[np.int64]] = []
    owners: list[NDArray[np.int64]] = []
    top = np.full(shape, -np.inf)
    for number, part in enumerate(parts):
        corners = (part.corners() - origin) / cell
        low = np.maximum(np.floor(corners.min(axis=0)).astype(int), 0)
        high = np.minimum(np.floor(corners.max(axis=0)).astype(int), [nx - 1, ny - 1])
        if np.any(high < low):
            continue
        rows, columns = np.mgrid[low[1] : high[1] + 1, low[0] : high[0] + 1]
        touched = _touched(part, rows, columns, origin, cell)
        rows, columns = rows[touched], columns[touched]
        top[rows, columns] = np.maximum(top[rows, columns], part.top)
        cells.append((rows * nx + columns).astype(np.int64))
        owners.append(np.full(rows.size, number, np.int64))
    flat = np.concatenate(cells) if cells else np.zeros(0, np.int64)
    owner = np.concatenate(owners) if owners else np.zeros(0, np.int64)
    order = np.argsort(flat, kind="stable")
    begin = np.searchsorted(flat[order], np.arange(ny * nx + 1))
    return begin.astype(np.int32), owner[order].astype(np.int32), top


def _touched(
    part: Part, rows: NDArray[np.int64], columns: NDArray[np.int64], origin: NDArray[np.float64], cell: float
) -> NDArray[np.bool_]:
    """Whether cells overlap the part's footprint along the part's two axes; the caller has checked the grid's axes."""
    x = origin[0] + (columns + 0.5) * cell - part.centre[0]
    y = origin[1] + (rows + 0.5) * cell - part.centre[1]
    c, s = np.cos(part.yaw), np.sin(part.yaw)
    reach = 0.5 * cell * (abs(c) + abs(s))
    along, across = np.abs(c * x + s * y), np.abs(-s * x + c * y)
    return np.asarray((along <= part.half[0] + reach) & (across <= part.half[1] + reach))
