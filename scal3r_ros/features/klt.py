"""Feature tracks through consecutive frames: corners followed by pyramidal Lucas–Kanade, checked forward and backward,
and found again by the patches that their tracks began with where that is asked for.

Sources: Shi & Tomasi 1994 (corners), Lucas & Kanade 1981 / Bouguet 2000 (tracking), Kalal et al. 2010
(forward–backward error).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from scal3r_ros.configuration import parameter
from scal3r_ros.features.anchors.anchors import Anchors, prepare
from scal3r_ros.reconstruction.protocol import Features


@dataclass(frozen=True)
class KltConfig:
    """How many image points are followed, and how strictly."""

    max_features: int = parameter(700, "image points followed at once", unit="points", minimum=50, maximum=5000)
    cell: int = parameter(
        28, "side of the grid cells that new points are spread over, for an image 1000 pixels wide",
        unit="pixels", minimum=8, maximum=400,
    )  # fmt: skip
    window: int = parameter(9, "side of the window that is matched", unit="pixels", minimum=5, maximum=41)
    levels: int = parameter(4, "pyramid levels above the full image", minimum=0, maximum=6)
    max_forward_backward: float = parameter(
        0.7,
        "largest distance between a point and itself tracked forth and back",
        unit="pixels",
        minimum=0.05,
        maximum=5.0,
    )
    anchor: int = parameter(
        0,
        "side of the patch that a track begins with and is found again by, under an affine warp, so that it does not "
        "drift, for example 9; 0 follows points from image to image only",
        unit="pixels", minimum=0, maximum=41,
    )  # fmt: skip
    min_quality: float = parameter(
        0.004, "weakest corner taken, as a share of the strongest in the image", minimum=0.0, maximum=0.5
    )


FEW_KEPT = 0.5
"""Share of the points that are found again below which a change of exposure may be why."""
NOTICEABLE = 1.5
"""Grey levels by which quantiles of two images have to differ for their exposure to count as different."""
_QUANTILES = np.linspace(0.05, 0.95, 19)


def exposed_like(image: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """`image` (h, w) with the gain and offset of `other`, a neighbouring image of the same scene.

    A camera that adjusts its exposure changes all grey levels from one image to the next, where Lucas–Kanade takes them
    to stay. Gain and offset are fitted to the quantiles of both, where neither is saturated; an image whose levels
    differ by less than is noticeable is returned as it is.
    """
    here, there = _quantiles(image), _quantiles(other)
    inside = (here > 2) & (here < 250) & (there > 2) & (there < 250)
    if np.abs(here - there)[inside].max(initial=0.0) < NOTICEABLE or np.ptp(here[inside]) < 20 or inside.sum() < 6:
        return image
    gain, offset = np.polyfit(here[inside], there[inside], 1)
    levels = np.clip(np.rint(np.clip(gain, 0.25, 4.0) * np.arange(256) + offset), 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(image, levels), np.uint8)


def _quantiles(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Grey levels (19,) below which 5, 10, … 95 percent of the pixels lie."""
    share = np.cumsum(cv2.calcHist([image], [0], None, [256], [0, 256]).ravel()) / image.size
    return np.asarray(np.interp(_QUANTILES, share, np.arange(256)))


def followed(
    source: NDArray[np.uint8], target: NDArray[np.uint8], uv: NDArray[np.float32], guess: NDArray[np.float32],
    side: int, levels: int, max_forward_backward: float,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:  # fmt: skip
    """Where the points `uv` (n, 2) of `source` are in `target` (n, 2), searched from `guess`, and which of them (n,)
    are found again on the way back; windows are `side` pixels wide.
    """
    there, found = _match(source, target, uv, guess, side, levels)
    back, found_back = _match(target, source, there, uv, side, levels)
    margin = side // 2
    good = found & found_back
    good &= np.abs(back - uv).max(axis=1) < max_forward_backward
    good &= (there >= margin).all(axis=1)
    good &= (there[:, 0] < target.shape[1] - margin) & (there[:, 1] < target.shape[0] - margin)
    return there, good


def _match(
    source: NDArray[np.uint8], target: NDArray[np.uint8], uv: NDArray[np.float32], guess: NDArray[np.float32],
    side: int, levels: int,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:  # fmt: skip
    matched, found, _ = cv2.calcOpticalFlowPyrLK(
        source,
        target,
        uv,
        guess.copy(),
        winSize=(side, side),
        maxLevel=levels,
        criteria=(cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 20, 0.01),
        flags=cv2.OPTFLOW_USE_INITIAL_FLOW,
        minEigThreshold=1e-4,
    )
    return np.asarray(matched, np.float32), np.asarray(found).ravel() == 1


class KltTracker:
    """Follows points from frame to frame and keeps the image covered with them. State: last image and its points."""

    def __init__(self, config: KltConfig) -> None:
        self._config = config
        self._next_id = 0
        self._last: NDArray[np.uint8] | None = None
        self._ids: NDArray[np.int64] = np.empty(0, np.int64)
        self._uv: NDArray[np.float32] = np.empty((0, 2), np.float32)
        self._flow: NDArray[np.float32] = np.empty((0, 2), np.float32)
        self._anchors: Anchors | None = None
        if config.anchor:
            side = config.anchor // 2 * 2 + 1
            prepare(side)
            self._anchors = Anchors(side)

    def track(self, image: NDArray[np.uint8]) -> Features:
        """Points of `image` (h, w, 3) RGB: those followed from the last one, and new ones where there were none.

        A change of image size starts all tracks anew.
        """
        self.follow(np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8))
        return self.replenish()

    def peek(self, grey: NDArray[np.uint8]) -> tuple[Features, NDArray[np.float32]]:
        """The points of the last image that are found in `grey` (h, w), which does not become the last one, and how far
        they have moved (n, 2).
        """
        if self._last is None or grey.shape != self._last.shape or not len(self._ids):
            return Features(np.empty(0, np.int64), np.empty((0, 2), np.float32)), np.empty((0, 2), np.float32)
        uv, good = self._followed(self._last, grey)
        return Features(self._ids[good], uv[good]), (uv - self._uv)[good]

    @property
    def flow(self) -> NDArray[np.float32]:
        """How far the points (n, 2) of the last image have moved since the one before; new ones as their neighbours."""
        return self._flow

    def follow(self, grey: NDArray[np.uint8]) -> Features:
        """The points of the last image that are found in `grey` (h, w), the next one: the first half of `track`."""
        if self._last is not None and grey.shape == self._last.shape and len(self._ids):
            self._follow(self._last, grey)
            if self._anchors is not None:
                followed_to = self._uv
                self._uv = self._anchors.located(grey, self._ids, followed_to)
                self._flow = self._flow + self._uv - followed_to
        else:
            self._drop_all()
        self._last = grey
        return Features(self._ids, self._uv)

    def resume(self, found: Features, apart: float) -> None:
        """Takes up tracks again that were found in the last image in another way.

        Points of other tracks within `apart` pixels of one of them end: the same corner has been taken for a new one.
        """
        if not len(found.ids):
            return
        distance = cKDTree(found.uv).query(self._uv, p=np.inf)[0]
        kept = (distance > apart) & ~np.isin(self._ids, found.ids)
        ids, uv = np.concatenate([self._ids[kept], found.ids]), np.concatenate([self._uv[kept], found.uv])
        flow = np.concatenate([self._flow[kept], self._neighbouring_flow(found.uv)])
        order = np.argsort(ids, kind="stable")
        self._ids, self._uv, self._flow = ids[order], uv[order].astype(np.float32), flow[order]

    def replenish(self) -> Features:
        """All points of the last image, with new ones where there were none: the second half of `track`."""
        assert self._last is not None
        self._replenish(self._last)
        if self._anchors is not None:
            self._anchors.begin(self._last, self._ids, self._uv)
        return Features(self._ids, self._uv)

    def reset(self) -> None:
        """Forgets the last frame; ids count on, so that old and new points are never confused."""
        self._last = None
        self._drop_all()

    def _drop_all(self) -> None:
        self._ids, self._uv = np.empty(0, np.int64), np.empty((0, 2), np.float32)
        self._flow = np.empty((0, 2), np.float32)
        if self._anchors is not None:
            self._anchors.clear()

    def _follow(self, last: NDArray[np.uint8], grey: NDArray[np.uint8]) -> None:
        uv, good = self._followed(last, grey)
        if good.mean() < FEW_KEPT:
            adjusted = exposed_like(last, grey)
            if adjusted is not last:
                uv_adjusted, good_adjusted = self._followed(adjusted, grey)
                if good_adjusted.sum() > good.sum():
                    uv, good = uv_adjusted, good_adjusted
        self._flow = (uv - self._uv)[good]
        self._ids, self._uv = self._ids[good], uv[good]

    def _followed(
        self, last: NDArray[np.uint8], grey: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Where the points of `last` are in `grey` (n, 2), and which of them are found again on the way back."""
        config, side = self._config, self._config.window
        guess = self._uv + self._flow  # constant image motion: a good start on a vehicle that turns
        return followed(last, grey, self._uv, guess, side, config.levels, config.max_forward_backward)

    def _replenish(self, grey: NDArray[np.uint8]) -> None:
        """New corners, the strongest of each grid cell that holds none, until `max_features` are followed."""
        config = self._config
        height, width = grey.shape
        cell = max(8, round(config.cell * width / 1000))
        columns, rows = width // cell, height // cell
        room = config.max_features - len(self._ids)
        if room <= 0 or columns == 0 or rows == 0:
            return
        strength = cv2.cornerMinEigenVal(grey, 5)
        margin = config.window // 2 + 1
        strength[:margin], strength[-margin:], strength[:, :margin], strength[:, -margin:] = 0, 0, 0, 0
        taken = np.zeros((height, width), np.uint8)
        x, y = self._uv.astype(int).T
        taken[np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)] = 1
        side = 2 * (cell // 2) + 1
        strength[cv2.dilate(taken, np.ones((side, side), np.uint8)) > 0] = 0
        tiles = strength[: rows * cell, : columns * cell].reshape(rows, cell, columns, cell).transpose(0, 2, 1, 3)
        cells = tiles.reshape(rows * columns, cell * cell)
        best = cells.argmax(axis=1)
        value = cells[np.arange(len(cells)), best]
        order = np.argsort(-value, kind="stable")[:room]
        order = order[value[order] > config.min_quality * max(float(value.max(initial=0.0)), 1e-6)]
        if not len(order):
            return
        uv = np.stack(
            [order % columns * cell + best[order] % cell, order // columns * cell + best[order] // cell], axis=1
        ).astype(np.float32)
        ids = np.arange(self._next_id, self._next_id + len(uv), dtype=np.int64)
        self._next_id += len(uv)
        self._ids = np.concatenate([self._ids, ids])
        self._uv = np.concatenate([self._uv, uv])
        self._flow = np.concatenate([self._flow, self._neighbouring_flow(uv)])

    def _neighbouring_flow(self, uv: NDArray[np.float32]) -> NDArray[np.float32]:
        """Start values for new points: the image motion of the nearest followed one."""
        known = len(self._flow)
        if known == 0:
            return np.zeros_like(uv)
        return self._flow[cKDTree(self._uv[:known]).query(uv)[1]]
