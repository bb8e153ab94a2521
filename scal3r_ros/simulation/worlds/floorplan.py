"""Rooms and corridors on a grid, with openings between them and a path that leads through all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

Array = NDArray[np.float64]

CELL_M = 0.5
SOLID = -1
_GRID = 400
_STEP_M = 0.05
_SMOOTHING_M = 0.45
_DIRECTIONS = ((1, 0), (0, 1), (-1, 0), (0, -1))


@dataclass(frozen=True)
class Room:
    """Cells from `low` (x, y) up to `high`, exclusive."""

    low: tuple[int, int]
    high: tuple[int, int]

    @property
    def centre(self) -> Array:
        """Its middle (x, y) in metres."""
        return (np.array(self.low) + np.array(self.high)) / 2 * CELL_M

    @property
    def size(self) -> Array:
        """Its sides (x, y) in metres."""
        return (np.array(self.high) - np.array(self.low)) * CELL_M


@dataclass(frozen=True)
class Floorplan:
    """`cells` (nx, ny): the number of the room each belongs to, or SOLID; `doors` are the openings between rooms.

    `way` (k, 2) is a path in metres through all rooms, a point every 5 cm.
    """

    rooms: list[Room]
    doors: list[Room]
    cells: NDArray[np.int64]
    way: Array


def draw_floorplan(length_m: float, corridor: bool, rng: np.random.Generator) -> Floorplan:
    """A plan with a path of at least `length_m`; corridors are long and open into each other."""
    cells = np.full((_GRID, _GRID), SOLID)
    rooms: list[Room] = []
    doors: list[Room] = []
    waypoints: list[Array] = []
    middle = _GRID // 2
    direction = int(rng.integers(4))
    width, depth = _size(corridor, rng)
    room = _room_at((middle, middle), direction, 0, width, depth)
    covered = 0.0
    for _ in range(400):
        cells[room.low[0] : room.high[0], room.low[1] : room.high[1]] = len(rooms)
        rooms.append(room)
        waypoints.append(room.centre)
        if len(waypoints) > 1:
            covered = float(np.abs(np.diff(np.array(waypoints), axis=0)).sum())
        if covered > length_m + 4.0:
            break
        found = _next(cells, room, direction, corridor, rng)
        if found is None:
            break
        door, room, direction = found
        cells[door.low[0] : door.high[0], door.low[1] : door.high[1]] = len(rooms) - 1
        doors.append(door)
        # Straight through the opening, from a little before it to a little behind.
        step = np.array(_DIRECTIONS[direction]) * 0.9
        waypoints += [door.centre - step, door.centre + step]
    low, high = np.nonzero((cells != SOLID).any(axis=1))[0], np.nonzero((cells != SOLID).any(axis=0))[0]
    shift = np.array([low[0] - 1, high[0] - 1])
    cells = cells[low[0] - 1 : low[-1] + 2, high[0] - 1 : high[-1] + 2]
    return Floorplan(
        [_shifted(one, shift) for one in rooms], [_shifted(one, shift) for one in doors], cells,
        _smooth(np.array(waypoints) - shift * CELL_M),
    )  # fmt: skip


def _size(corridor: bool, rng: np.random.Generator) -> tuple[int, int]:
    """Cells across and along the direction of travel."""
    if corridor:
        return int(rng.integers(3, 8)), int(rng.integers(10, 40))
    return int(rng.integers(7, 18)), int(rng.integers(7, 18))


def _room_at(cell: tuple[int, int], direction: int, shift: int, width: int, depth: int) -> Room:
    """A room entered at cell `cell` of its lower edge, `shift` cells off the middle of that edge."""
    dx, dy = _DIRECTIONS[direction]
    side = (-dy, dx)
    first = width // 2 + shift
    corners = [
        (cell[0] + dx * along + side[0] * across, cell[1] + dy * along + side[1] * across)
        for along in (0, depth - 1)
        for across in (-first, width - 1 - first)
    ]
    xs, ys = [x for x, _ in corners], [y for _, y in corners]
    return Room((min(xs), min(ys)), (max(xs) + 1, max(ys) + 1))


def _next(
    cells: NDArray[np.int64], room: Room, direction: int, corridor: bool, rng: np.random.Generator
) -> tuple[Room, Room, int] | None:
    """An opening out of a room, the room behind it, and the direction from one to the other; None where none fits."""
    for _ in range(60):
        turned = (direction + int(rng.choice([0, 1, 3], p=[0.2, 0.4, 0.4] if corridor else [0.4, 0.3, 0.3]))) % 4
        dx, dy = _DIRECTIONS[turned]
        width, depth = _size(corridor, rng)
        opening = min(width, 5) if corridor and rng.random() < 0.7 else 2
        span = 1 if dx else 0  # the axis along the wall with the opening
        low, high = room.low[span] + 1, room.high[span] - 1 - opening
        if high < low:
            continue
        at = int(rng.integers(low, high + 1))
        wall = room.high[1 - span] if dx + dy > 0 else room.low[1 - span] - 1
        first, last = [0, 0], [0, 0]
        first[span], last[span] = at, at + opening
        first[1 - span], last[1 - span] = wall, wall + 1
        door = Room((first[0], first[1]), (last[0], last[1]))
        beyond = [0, 0]
        beyond[span], beyond[1 - span] = at + opening // 2, wall + dx + dy
        slack = max(0, (width - opening - 1) // 2)
        behind = _room_at((beyond[0], beyond[1]), turned, int(rng.integers(-slack, slack + 1)), width, depth)
        if min(behind.low) < 2 or max(behind.high) > _GRID - 2:
            continue
        inside = behind.low[span] < at and behind.high[span] > at + opening
        around = cells[behind.low[0] - 1 : behind.high[0] + 1, behind.low[1] - 1 : behind.high[1] + 1]
        if inside and np.all(around == SOLID):
            return door, behind, turned
    return None


def _shifted(room: Room, shift: NDArray[np.int64]) -> Room:
    x, y = int(shift[0]), int(shift[1])
    return Room((room.low[0] - x, room.low[1] - y), (room.high[0] - x, room.high[1] - y))


def _smooth(points: Array) -> Array:
    """The line through points (k, 2), its corners rounded."""
    lengths = np.linalg.norm(np.diff(points, axis=0), axis=1)
    points = points[np.concatenate([[True], lengths > 1e-6])]
    arc = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    at = np.arange(0.0, arc[-1], _STEP_M)
    line = np.column_stack([np.interp(at, arc, points[:, axis]) for axis in range(2)])
    return np.asarray(gaussian_filter1d(line, _SMOOTHING_M / _STEP_M, axis=0, mode="nearest"))
