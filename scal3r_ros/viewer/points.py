"""The points on a page: which of them it has, which it draws, and what has to be sent for that."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import viser
from numpy.typing import NDArray

from scal3r_ros.mapping.values import CloudChange, PointCloud
from scal3r_ros.viewer.colours import ColourBy, colours_of
from scal3r_ros.viewer.detail import LEVELS, Eye, drawn_levels
from scal3r_ros.viewer.tiles import Key, Tile, Tiles, levels_within, nearest_first

Array = NDArray[np.float64]

BYTES_PER_POINT = 9
"""Three half-precision coordinates from the tile's centre, and three of colour."""

LEVELS_S = 1.0
"""How often it is decided anew which tiles are sent in full."""

WIDENED = (4.0, 2.0, 1.0)
"""A tile's points are so many times as large where it is drawn up to this level only: they stand for those left out."""


class PointLayer:
    """The points of one scene. Not thread-safe: one thread draws.

    Args:
        server: where to draw.
        unit: size of one point, in the map's unit.
        most_points: on the page; four times as many are kept here.
    """

    def __init__(self, server: viser.ViserServer, unit: float, most_points: int) -> None:
        self._scene = server.scene
        self._unit = unit
        self._most = most_points
        self.tiles = Tiles(edge=100.0 * unit, most_points=4 * most_points)
        self._nodes: dict[Key, list[Any]] = {}
        self._ends: dict[Key, tuple[int, ...]] = {}
        self._drawn: dict[Key, int] | None = None
        self._changed: set[Key] = set()
        self._wanted: dict[Key, int] = {}
        self._decided_s = -float("inf")
        self._heights = (0.0, 1.0)
        self._by = ColourBy.IMAGE
        self._size = 1.0
        self._least = 0.0

    @property
    def points_shown(self) -> int:
        """Points that the page has."""
        return sum(ends[-1] for ends in self._ends.values())

    @property
    def points_drawn(self) -> int:
        """Points that the page draws."""
        if self._drawn is None:
            return self.points_shown
        return sum(ends[levels - 1] for key, ends in self._ends.items() if (levels := self._drawn.get(key, 0)))

    def take(self, given: PointCloud | CloudChange, whole: bool, here: Array | None) -> None:
        """Takes in points: more of them, all of them where `whole`, or what became of them."""
        if isinstance(given, CloudChange):
            self._changed |= self.tiles.update(given, here)
        else:
            self._changed |= self.tiles.replace(given, here) if whole else self.tiles.add(given, here)
        self._decided_s = -float("inf")

    def show_as(self, by: ColourBy, size: float, least_confidence: float) -> None:
        """Changes colours, size in multiples of the unit, and how sure points must be, where they are others."""
        if least_confidence != self._least:
            self._least = least_confidence
            self._changed |= self.tiles.hide_below(least_confidence)
            self._decided_s = -float("inf")
        if size != self._size:
            self._size = size
            for key in self._nodes:
                self._resize(key)
        if by is not self._by:
            self._by = by
            for key, nodes in self._nodes.items():
                for rows, node in zip(_slices(self._ends[key]), nodes, strict=True):
                    if node is not None and key not in self._changed:
                        node.colors = self._colours(self.tiles[key], rows)

    def send(self, here: Array | None, most_bytes: float) -> None:
        """Sends what changed or is to be shown in another level, near tiles first, `most_bytes` or little more.

        The page never has more than its most points: what has to go goes first.
        """
        now = time.monotonic()
        if now - self._decided_s > LEVELS_S:
            self._decided_s = now
            self._wanted = levels_within(self.tiles, self._most, here)
            self._heights = self._height_range()
        for key in set(self._nodes) - set(self._wanted):
            self._remove(key)
            self._changed.discard(key)
        left = most_bytes
        due = [key for key, count in self._wanted.items() if self._is_due(key, count)]
        due = nearest_first(due, self.tiles.edge, here)
        for key in sorted(due, key=lambda key: self._wanted[key] > self._shown_of(key)):
            more = self._wanted[key] - self._shown_of(key)
            if left <= 0 or (more > 0 and self.points_shown + more > self._most):
                break
            left -= self._draw(key)

    def draw_within(self, eyes: list[Eye], budget: int) -> None:
        """Leaves what the page draws at `budget` points in sight of the eyes; the others stay on the page, unseen."""
        counts = {key: tuple(np.diff(ends, prepend=0).tolist()) for key, ends in self._ends.items()}
        drawn = drawn_levels(counts, self.tiles.edge, eyes, budget)
        if drawn == self._drawn:
            return
        self._drawn = drawn
        for key in self._nodes:
            self._show_levels(key)

    @property
    def nothing_left(self) -> bool:
        """Whether the page has all that it is to have."""
        return not any(self._is_due(key, count) for key, count in self._wanted.items())

    def clear(self) -> None:
        """Takes all points off the page."""
        self.tiles.clear()
        self._changed.clear()
        self._wanted = {}
        for key in list(self._nodes):
            self._remove(key)

    def cloud(self) -> PointCloud:
        """The points that the page has."""
        parts = [
            PointCloud((tile.all.points[:count] + tile.centre).astype(np.float32), tile.all.colours[:count])
            for key, ends in list(self._ends.items())
            if (count := ends[-1]) and (tile := self.tiles[key])
        ]
        return PointCloud.joined(parts)

    def _is_due(self, key: Key, count: int) -> bool:
        return key in self._changed or self._shown_of(key) != count

    def _shown_of(self, key: Key) -> int:
        return self._ends[key][-1] if key in self._ends else 0

    def _draw(self, key: Key) -> int:
        """Brings a tile on the page up to date; gives the bytes sent. Levels stay where they are the same points."""
        tile, count = self.tiles[key], self._wanted[key]
        ends = tuple(min(count, -(-tile.shown // share)) for share in LEVELS)
        old = _slices(self._ends[key]) if key in self._ends and key not in self._changed else []
        nodes = self._nodes.setdefault(key, [None] * len(LEVELS))
        sent = 0
        for level, rows in enumerate(_slices(ends)):
            if old and old[level] == rows:
                continue
            if rows.start == rows.stop:
                _remove(nodes[level])
                nodes[level] = None
                continue
            nodes[level] = self._scene.add_point_cloud(
                f"/map/{key[0]}_{key[1]}_{key[2]}/{level}",
                tile.all.points[rows],
                self._colours(tile, rows),
                point_size=self._size * self._unit,
                point_shape="square",
                point_shading="flat",
                position=tile.centre,
                visible=self._levels(key) > level,
            )
            sent += (rows.stop - rows.start) * BYTES_PER_POINT
        self._ends[key] = ends
        self._changed.discard(key)
        self._show_levels(key)
        return sent

    def _levels(self, key: Key) -> int:
        return len(LEVELS) if self._drawn is None else self._drawn.get(key, 1)

    def _show_levels(self, key: Key) -> None:
        for level, node in enumerate(self._nodes[key]):
            if node is not None and node.visible != (visible := self._levels(key) > level):
                node.visible = visible
        self._resize(key)

    def _resize(self, key: Key) -> None:
        full = self._ends[key][-1] == self._ends[key][self._levels(key) - 1] if self._levels(key) else True
        size = self._size * self._unit * (1.0 if full else WIDENED[self._levels(key) - 1])
        for node in self._nodes[key]:
            if node is not None and node.point_size != size:
                node.point_size = size

    def _remove(self, key: Key) -> None:
        for node in self._nodes.pop(key, []):
            _remove(node)
        self._ends.pop(key, None)

    def _colours(self, tile: Tile, rows: slice) -> NDArray[np.uint8]:
        return colours_of(tile, rows, self._by, self._heights, self.tiles.newest)

    def _height_range(self) -> tuple[float, float]:
        """Between which heights colours go: without the twentieth of the points at either end."""
        tiles = [self.tiles[key] for key in self.tiles.keys]
        heights = [tile.all.points[: tile.coarse, 2] + tile.centre[2] for tile in tiles]
        if not sum(map(len, heights)):
            return (0.0, 1.0)
        low, high = np.percentile(np.concatenate(heights), (5.0, 95.0))
        return (float(low), float(high))


def _slices(ends: tuple[int, ...]) -> list[slice]:
    return [slice(start, end) for start, end in zip((0, *ends[:-1]), ends, strict=True)]


def _remove(node: Any) -> None:
    if node is not None:
        node.remove()
