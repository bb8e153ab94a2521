"""Where points are in an image by the patches that their tracks began with.

Lucas–Kanade from image to image adds up its errors: after ten images of a street a point is off by half a pixel more
than after one. Found from the patch that its track began with, it has the error of one match, however long the track
is. Over that time a patch is turned, stretched and grows, so that it needs an affine warp.
Source: Shi & Tomasi 1994 (translation from image to image, an affine warp against the first one).
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.features.anchors.kernels import cut_out, find

AnyT = TypeVar("AnyT", np.float32, np.float64)

_STEPS = 12
_ALIKE = 0.9
"""Normalised cross-correlation from which on a patch is found again."""
_MOST_DRIFT_PX = 1.5
"""How far, at most, a point may be from where it was followed to: beyond that, it is another one that looks alike."""
_LEAST_SIZE, _MOST_SIZE = 0.45, 2.2
"""Stretch of a patch beyond which it shows too little detail, or too much, to be compared."""


class Anchors:
    """State: of every track the patch that it began with, and how that lay in the last image.

    `side` is the width of patches in pixels, an odd number.
    """

    def __init__(self, side: int) -> None:
        self._side = side
        self.clear()

    def clear(self) -> None:
        """Forget all patches."""
        self._ids = np.empty(0, np.int64)
        self._slots = np.empty(0, np.int64)  # of the ids, in the arrays below
        self._warps = np.empty((0, 2, 2))
        self._patches = np.empty((0, self._side, self._side), np.float32)
        self._slopes = np.empty((0, self._side, self._side, 6), np.float32)
        self._inverse = np.empty((0, 6, 6))

    def located(self, grey: NDArray[np.uint8], ids: NDArray[np.int64], uv: NDArray[np.float32]) -> NDArray[np.float32]:
        """Where the points `ids` (n,) are in `grey` (h, w), from where they were followed to: `uv` (n, 2).

        A point whose patch does not look alike there stays, and its patch is forgotten, as are those of all others.
        """
        _, here, kept = np.intersect1d(ids, self._ids, assume_unique=True, return_indices=True)
        slots, found, likeness = self._slots[kept], uv[here].astype(np.float64), np.empty(len(here))
        find(
            grey, slots, self._patches, self._slopes, self._inverse, self._warps, found, _STEPS,
            likeness,
        )  # fmt: skip
        drift, least, most = np.linalg.norm(found - uv[here], axis=1), *_stretches(self._warps[slots])
        good = (likeness > _ALIKE) & (drift < _MOST_DRIFT_PX) & (least > _LEAST_SIZE) & (most < _MOST_SIZE)
        self._ids, self._slots = ids[here[good]], slots[good]
        moved = uv.copy()
        moved[here[good]] = found[good]
        return moved

    def begin(self, grey: NDArray[np.uint8], ids: NDArray[np.int64], uv: NDArray[np.float32]) -> None:
        """Points of `grey` (h, w) that have no patch get the one that is around them now; `ids` (n,) ascend."""
        new = ~np.isin(ids, self._ids, assume_unique=True)
        count = int(new.sum())
        if not count:
            return
        slots, usable = self._free(count), np.zeros(count, np.bool_)
        cut_out(
            grey, uv[new].astype(np.float64), slots, self._patches, self._slopes, self._inverse,
            usable,
        )  # fmt: skip
        self._warps[slots] = np.eye(2)
        all_ids = np.concatenate([self._ids, ids[new][usable]])
        order = np.argsort(all_ids, kind="stable")
        self._ids, self._slots = all_ids[order], np.concatenate([self._slots, slots[usable]])[order]

    def _free(self, count: int) -> NDArray[np.int64]:
        """As many slots (n,) that hold nothing; there are more of them where those do not suffice."""
        if len(self._slots) + count > len(self._warps):
            more = max(count, len(self._warps))
            self._warps = _longer(self._warps, more)
            self._patches = _longer(self._patches, more)
            self._slopes = _longer(self._slopes, more)
            self._inverse = _longer(self._inverse, more)
        free = np.ones(len(self._warps), np.bool_)
        free[self._slots] = False
        return np.flatnonzero(free)[:count].astype(np.int64)


def _longer(rows: NDArray[AnyT], more: int) -> NDArray[AnyT]:
    return np.concatenate([rows, np.zeros((more, *rows.shape[1:]), rows.dtype)])


def prepare(side: int) -> None:
    """Compiles what `Anchors` needs, or reads it from numba's cache, so that the camera need not wait."""
    grey = np.add.outer(np.arange(3 * side), np.arange(3 * side)).astype(np.uint8)
    anchors, ids, uv = Anchors(side), np.zeros(1, np.int64), np.full((1, 2), 1.5 * side, np.float32)
    anchors.begin(grey, ids, uv)
    anchors.located(grey, ids, uv)


def _stretches(warps: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The singular values of matrices (n, 2, 2), smaller ones (n,) first."""
    half = 0.5 * (warps**2).sum(axis=(1, 2))
    area = warps[:, 0, 0] * warps[:, 1, 1] - warps[:, 0, 1] * warps[:, 1, 0]
    apart = np.sqrt(np.maximum(half**2 - area**2, 0.0))
    return np.sqrt(np.maximum(half - apart, 0.0)), np.sqrt(half + apart)
