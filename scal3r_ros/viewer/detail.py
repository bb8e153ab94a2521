"""How much of the map a browser can draw at once without falling behind, and which parts of it.

A page is asked to look elsewhere ten times a second, or its user drags the view. How soon its new view comes back says
how long it takes to draw one. Where that is too long, less is drawn while the view moves; when it rests, all of it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import viser
from numpy.typing import NDArray

from scal3r_ros.viewer.tiles import Key, nearest_first

Array = NDArray[np.float64]

LEVELS = (64, 8, 1)
"""A tile is drawn in parts: one point in 64, the rest of one in eight, all others."""

QUICK_S, SLOW_S = 0.05, 0.08
"""Below, a page may draw more; above, it is to draw less. Between the two and a frame lies what travels take."""

LOST_S = 1.0
"""A page that has not followed for so long is taken as that slow."""

DRAGGED_S = 0.5
"""Views that come so soon after each other, unasked, are of one drag: each after the frame before."""

SAME_PLACE = 1e-3

REST_S = 1.0
"""A view that has not moved for so long rests."""

FEWEST_POINTS = 50_000
"""Points that are drawn at once at least."""

FIRST_POINTS = 250_000
"""Points that are drawn at once while nothing is known of the page."""

MARGIN = 1.2
"""Tiles are drawn within so many times the field of view: it moves on before the next choice."""


@dataclass(frozen=True)
class Eye:
    """Where a browser looks from: `position` (3,), unit axis `forward` (3,), and `half_angle` of its widest cone."""

    position: Array
    forward: Array
    half_angle: float


class Detail:
    """Points that a page may draw at once, `most` of them if it is quick enough."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._budget = float(min(FIRST_POINTS, most))
        self._moved_s = -float("inf")

    def took(self, seconds: float, now_s: float) -> None:
        """The view moved at `now_s`, and the page took so long to follow."""
        self._moved_s = now_s
        if seconds > SLOW_S:
            self._budget *= max(0.7, SLOW_S / seconds)
        elif seconds < QUICK_S:
            self._budget *= 1.1
        self._budget = min(max(self._budget, FEWEST_POINTS), self._most)

    def budget(self, now_s: float) -> int:
        """How many points to draw at once now."""
        return self._most if now_s - self._moved_s > REST_S else int(self._budget)


class Browsers:
    """Where the browsers that show the page look from, and how soon they follow. Browsers report from other threads."""

    def __init__(self, server: viser.ViserServer, most_points: int) -> None:
        self._server = server
        self._detail = Detail(most_points)
        self._asked: dict[int, tuple[float, Array]] = {}
        self._moved: dict[int, float] = {}
        self._took: deque[tuple[float, float]] = deque(maxlen=100)
        server.on_client_connect(self._welcome)
        server.on_client_disconnect(self._forget)

    def look(self, eye: Array, look_at: Array) -> None:
        """Moves the view of every browser to `eye` (3,), looking at another point (3,)."""
        for client in self._server.get_clients().values():
            self._asked.setdefault(client.client_id, (time.monotonic(), eye))
            with client.atomic():
                client.camera.position, client.camera.look_at = eye, look_at

    def eyes(self) -> list[Eye]:
        """Where they look from now."""
        return [_eye_of(client.camera) for client in self._server.get_clients().values()]

    def budget(self) -> int:
        """How many points they may draw at once now."""
        now = time.monotonic()
        for client, (asked_s, _) in list(self._asked.items()):
            if now - asked_s > LOST_S:  # as good as an answer: it is slower than this
                self._asked.pop(client, None)
                self._took.append((now - asked_s, now))
        while self._took:
            self._detail.took(*self._took.popleft())
        return self._detail.budget(now)

    def _moves(self, client: viser.ClientHandle) -> None:
        now, number = time.monotonic(), client.client_id
        asked = self._asked.get(number)
        since = now - self._moved.get(number, -float("inf"))
        self._moved[number] = now
        if asked is not None:
            if np.abs(client.camera.position - asked[1]).max() < SAME_PLACE:
                self._asked.pop(number, None)
                self._took.append((now - asked[0], now))
        elif since < DRAGGED_S:
            self._took.append((since, now))

    def _welcome(self, client: viser.ClientHandle) -> None:
        client.camera.on_update(lambda _: self._moves(client))

    def _forget(self, client: viser.ClientHandle) -> None:
        self._asked.pop(client.client_id, None)
        self._moved.pop(client.client_id, None)


def _eye_of(camera: viser.CameraHandle) -> Eye:
    way = np.asarray(camera.look_at) - np.asarray(camera.position)
    half_angle = float(np.arctan(np.tan(0.5 * camera.fov) * np.hypot(1.0, camera.aspect)))
    return Eye(np.asarray(camera.position), way / max(float(np.linalg.norm(way)), 1e-9), half_angle)


def drawn_levels(
    shown: Mapping[Key, tuple[int, ...]], edge: float, eyes: list[Eye], budget: int
) -> dict[Key, int] | None:
    """How many levels of each tile to draw, for tiles whose levels have so many points each; None for all of all.

    Of what is in sight the coarse levels everywhere, and finer ones near the eyes, as far as `budget` points go.
    """
    if not eyes or sum(sum(counts) for counts in shown.values()) <= budget:
        return None
    chosen = dict.fromkeys(shown, 0)
    left = budget
    order = [key for key in nearest_first(shown, edge, eyes[0].position) if in_sight(key, edge, eyes)]
    for level in range(len(LEVELS)):
        for key in order:
            count = shown[key][level] if level < len(shown[key]) else 0
            if count > left:
                return chosen
            left -= count
            chosen[key] = level + 1
    return chosen


def in_sight(key: Key, edge: float, eyes: list[Eye]) -> bool:
    """Whether one of the eyes sees a part of the tile."""
    centre, radius = (np.array(key) + 0.5) * edge, 0.5 * np.sqrt(3.0) * edge
    for eye in eyes:
        way = centre - eye.position
        distance = float(np.linalg.norm(way))
        if distance <= radius:
            return True
        angle = np.arccos(np.clip(way @ eye.forward / distance, -1.0, 1.0))
        if angle <= MARGIN * eye.half_angle + np.arcsin(radius / distance):
            return True
    return False
