"""Tracks that go on where the camera comes back: earlier views whose points are in sight again.

A homography from view to view, chained, says roughly where the points of an earlier view are now; Lucas–Kanade finds
them exactly. Without it a hand-held camera that looks to and fro measures the same corner anew each time, and drifts.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.features.wide_baseline import PLANE_PX, View, found_by_homography, homography, inside
from scal3r_ros.reconstruction.protocol import Features

Array = NDArray[np.float64]

_NEW_VIEW = 0.7
"""Share of the newest view's tracks below which the next one is kept, and earlier ones are looked at."""
_LEAST_COMMON = 12
_IN_SIGHT = 0.4
"""Share of an earlier view's tracks that have to be in sight again, beyond those that are followed anyway."""
_TRIED = 3
"""Earlier views that are tried for a new one."""
_MOST_FOUND = 100


@dataclass
class _Kept:
    """A view and the homography (3, 3) from its pixels to those of the newest one; None where that is not known."""

    view: View
    H_newest_this: Array | None


class Revisits:
    """State: the last `views` views that differ, and where each lies in the newest one."""

    def __init__(self, views: int, most_tracks: int) -> None:
        self._views: deque[_Kept] = deque(maxlen=views)
        self._most_tracks = most_tracks

    def clear(self) -> None:
        """Forget all views."""
        self._views.clear()

    def found_again(self, now: View) -> Features:
        """Tracks of earlier views that are in sight again, without those of `now`; none while it shows little new."""
        none = Features(np.empty(0, np.int64), np.empty((0, 2), np.float32))
        if self._views and not self._is_new(now):
            return none
        if self._views:
            H = _homography(self._views[-1].view, now)
            for kept in self._views:
                kept.H_newest_this = None if H is None or kept.H_newest_this is None else H @ kept.H_newest_this
        again = self._looked_for(now)
        self._views.append(_Kept(_joined(now, again), np.eye(3)))
        return again

    def _is_new(self, now: View) -> bool:
        newest = self._views[-1].view
        if newest.grey.shape != now.grey.shape:
            self.clear()
            return True
        ids = newest.features.ids
        return int(np.isin(ids, now.features.ids).sum()) < _NEW_VIEW * len(ids)

    def _looked_for(self, now: View) -> Features:
        ids, uv = now.features.ids, now.features.uv
        new_ids, new_uv = [ids[:0]], [uv[:0]]
        for kept in self._in_sight(now):
            assert kept.H_newest_this is not None
            found = found_by_homography(kept.view, now, kept.H_newest_this)
            room = min(_MOST_FOUND, self._most_tracks - len(ids))
            if found is None or room <= 0:
                continue
            new = np.flatnonzero(~np.isin(found.ids, ids))
            new = new[np.linspace(0, len(new) - 1, min(room, len(new))).round().astype(int)] if len(new) else new
            new_ids.append(found.ids[new])
            new_uv.append(found.uv[new])
            ids = np.concatenate([ids, found.ids[new]])
        every, where = np.concatenate(new_ids), np.concatenate(new_uv)
        order = np.argsort(every, kind="stable")
        return Features(every[order], where[order])

    def _in_sight(self, now: View) -> list[_Kept]:
        """The views most of which is in sight again without being followed, those first."""
        scored = []
        for number, kept in enumerate(self._views):
            if kept.H_newest_this is None:
                continue
            count = max(1, len(kept.view.features.ids))
            seen = inside(kept.view, now, kept.H_newest_this) / count
            lost = seen - int(np.isin(kept.view.features.ids, now.features.ids).sum()) / count
            if lost >= _IN_SIGHT:
                scored.append((-lost, number, kept))
        return [kept for _, _, kept in sorted(scored, key=lambda item: item[:2])[:_TRIED]]


def _joined(view: View, more: Features) -> View:
    ids, uv = np.concatenate([view.features.ids, more.ids]), np.concatenate([view.features.uv, more.uv])
    order = np.argsort(ids, kind="stable")
    return View(view.grey, Features(ids[order], uv[order]))


def _homography(before: View, now: View) -> Array | None:
    """From the pixels of `before` to those of `now` (3, 3), by the tracks of both; None where those are too few."""
    _, i, j = np.intersect1d(before.features.ids, now.features.ids, assume_unique=True, return_indices=True)
    if len(i) < _LEAST_COMMON:
        return None
    there, here = before.features.uv[i].astype(np.float64), now.features.uv[j].astype(np.float64)
    return homography(there, here, PLANE_PX * now.grey.shape[1] / 640.0)
