"""Tracks found again across a gap: image points of an earlier view in an image that Lucas–Kanade cannot reach from it.

Local features that both images share, or a rotation that was predicted, give the image motion roughly; the earlier view
is warped by it, and Lucas–Kanade finds every point exactly. What comes out is as precise as a track without a gap.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from scal3r_ros.features.klt import exposed_like, followed
from scal3r_ros.features.sift import LocalFeatures, find_local_features, match
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.reconstruction.protocol import Features

Array = NDArray[np.float64]

LOCAL_FEATURES = 600
MIN_FOUND = 20
"""Tracks that have to be found again; fewer may be chance."""
_MIN_MATCHES = 15
_MIN_SHARE = 0.3
"""Share of the tracks inside the image that a predicted rotation has to find for nothing else to be tried."""
_WINDOW = 15
_LEVELS = 2
_MAX_FORWARD_BACKWARD = 1.0
PLANE_PX, _EPIPOLAR_PX = 6.0, 2.0
"""Distances for an image 640 pixels wide."""
_NEIGHBOURS = 4


@dataclass(frozen=True, eq=False)
class View:
    """An image `grey` (h, w) uint8 and the `features` that were followed into it."""

    grey: NDArray[np.uint8]
    features: Features

    @cached_property
    def local(self) -> LocalFeatures:
        """Its local features, computed when they are first asked for."""
        return find_local_features(np.asarray(cv2.cvtColor(self.grey, cv2.COLOR_GRAY2RGB), np.uint8), LOCAL_FEATURES)


def found_by_rotation(view: View, now: View, R_now_view: Array, camera: Intrinsics) -> Features | None:
    """The tracks of `view` in the image of `now`, from a predicted rotation; None where it does not explain that."""
    return found_by_homography(view, now, camera.K @ R_now_view @ np.linalg.inv(camera.K))


def found_by_homography(view: View, now: View, H_now_view: Array) -> Features | None:
    """The tracks of `view` in the image of `now`, from a predicted homography (3, 3) between the pixels of both; None
    where it does not explain that.
    """
    found = _refined(view, now, H_now_view, np.empty((0, 2)), np.empty((0, 2)))
    return found if found is not None and len(found.ids) >= _MIN_SHARE * max(1, inside(view, now, H_now_view)) else None


def inside(view: View, now: View, H_now_view: Array) -> int:
    """How many tracks of `view` a homography (3, 3) leads into the image of `now`."""
    uv, valid = _projected(H_now_view, view.features.uv)
    return int((valid & _inside(uv, now.grey.shape)).sum())


def found_by_features(view: View, now: View) -> Features | None:
    """The tracks of `view` in the image of `now`, from the local features of both; None where too few agree."""
    pairs = match(view.local, now.local)
    if len(pairs) < _MIN_MATCHES:
        return None
    there, here = view.local.uv[pairs[:, 0]].astype(np.float64), now.local.uv[pairs[:, 1]].astype(np.float64)
    unit = now.grey.shape[1] / 640.0
    agreeing = _on_epipolar_lines(there, here, 1.5 * _EPIPOLAR_PX * unit)
    if int(agreeing.sum()) < _MIN_MATCHES:
        return None
    there, here = there[agreeing], here[agreeing]
    H = homography(there, here, PLANE_PX * unit)
    return None if H is None else _refined(view, now, H, there, here)


def homography(there: Array, here: Array, pixels: float) -> Array | None:
    """The homography (3, 3) from points `there` (n, 2) to `here` (n, 2), robustly, of those within some `pixels` of it.

    None where there is none that keeps the image's orientation.
    """
    try:
        H, _ = cv2.findHomography(there, here, cv2.USAC_MAGSAC, pixels)
    except cv2.error:  # no model in any sample, in OpenCV 4.10
        return None
    return np.asarray(H, np.float64) if H is not None and np.isfinite(H).all() and np.linalg.det(H) > 0 else None


def _refined(view: View, now: View, H: Array, there: Array, here: Array) -> Features | None:
    """Tracks found by Lucas–Kanade in `now` from the view warped by `H`; matches `there` → `here` (k, 2) lead the way
    where things are nearer or farther than that explains.
    """
    uv, valid = _projected(H, view.features.uv)
    valid &= _inside(uv, now.grey.shape)
    if int(valid.sum()) < MIN_FOUND:
        return None
    height, width = now.grey.shape
    warped = cv2.warpPerspective(exposed_like(view.grey, now.grey), H, (width, height), borderMode=cv2.BORDER_REPLICATE)
    ids, start = view.features.ids[valid], uv[valid].astype(np.float32)
    guess = start + _local_motion(H, there, here, uv[valid]).astype(np.float32)
    found, good = followed(
        np.asarray(warped, np.uint8), now.grey, start, guess, _WINDOW, _LEVELS, _MAX_FORWARD_BACKWARD
    )
    if int(good.sum()) < MIN_FOUND:
        return None
    before = view.features.uv[valid][good].astype(np.float64)
    agreeing = _on_epipolar_lines(before, found[good].astype(np.float64), _EPIPOLAR_PX * width / 640.0)
    if int(agreeing.sum()) < max(MIN_FOUND, int(0.5 * good.sum())):
        return None
    return Features(ids[good][agreeing], found[good][agreeing])


def _on_epipolar_lines(there: Array, here: Array, pixels: float) -> NDArray[np.bool_]:
    """Which pairs (n,) of image points one motion of the camera explains."""
    try:
        _, mask = cv2.findFundamentalMat(there, here, cv2.USAC_MAGSAC, pixels, 0.999, 2000)
    except cv2.error:  # OpenCV 4.10 does so where the camera only turned
        _, mask = cv2.findFundamentalMat(there, here, cv2.FM_RANSAC, pixels, 0.999, 2000)
    return np.zeros(len(there), np.bool_) if mask is None else mask.ravel() > 0


def _local_motion(H: Array, there: Array, here: Array, uv: Array) -> Array:
    """What the matches around each of the points `uv` (n, 2) were moved beyond `H`: the median of the nearest."""
    if len(there) < _NEIGHBOURS:
        return np.zeros((len(uv), 2))
    reached, _ = _projected(H, there)
    left = here - reached
    distance = np.square(uv[:, None] - reached[None]).sum(axis=2)
    nearest = np.argpartition(distance, _NEIGHBOURS - 1, axis=1)[:, :_NEIGHBOURS]
    return np.asarray(np.median(left[nearest], axis=1))


def _projected(H: Array, uv: NDArray[np.float32] | Array) -> tuple[Array, NDArray[np.bool_]]:
    """Points (n, 2) mapped by `H`, and which of them lie in front."""
    mapped = np.concatenate([np.asarray(uv, np.float64), np.ones((len(uv), 1))], axis=1) @ H.T
    valid = mapped[:, 2] > 1e-6
    return mapped[:, :2] / np.where(valid, mapped[:, 2], 1.0)[:, None], valid


def _inside(uv: Array, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    margin = _WINDOW // 2
    inside = (uv >= margin).all(axis=1) & (uv[:, 0] < shape[1] - margin) & (uv[:, 1] < shape[0] - margin)
    return np.asarray(inside)
