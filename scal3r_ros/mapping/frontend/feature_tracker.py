"""Feature tracks that hold on: Lucas–Kanade from image to image, wide-baseline matching where that loses the frame."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from scal3r_ros.features.klt import KltConfig, KltTracker
from scal3r_ros.features.revisits import Revisits
from scal3r_ros.features.sharpness import BLURRED, BlurMeter
from scal3r_ros.features.wide_baseline import MIN_FOUND, View, found_by_features, found_by_rotation
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.mapping.frontend.gyro import Gyro
from scal3r_ros.reconstruction.protocol import Features, Frame

LOST_SHARE = 0.3
"""Share of the last image's points below which Lucas–Kanade has lost the frame."""
ENOUGH = 100
"""Tracks after which no further view is tried."""
MOST_VIEWS = 10
_COMMON = 0.7
"""Share of the newest kept view's tracks below which the next view is kept."""
_NEWEST, _OLDER = 3, 2
"""Kept views that are tried for one image: the newest, and so many of the older ones in turn."""
_APART_PX = 3.0
MOST_TRACKS = 1.5
"""Points that are followed at most, those of earlier views among them, over those that are followed otherwise."""
LONGEST_S = 0.15
"""Time between two images from which on they say little of how fast points move while the second is exposed."""
MOST_SKIPPED = 4
"""Blurred images in a row that points are only looked for in; then they are followed from these as well."""


@dataclass(frozen=True)
class _Kept:
    """A view to find tracks again in, and when it was taken."""

    view: View
    stamp_ns: int


class FeatureTracker:
    """Follows image points through a stream of frames. Not thread-safe.

    Where fewer than `LOST_SHARE` of the points are found, those of the last image and of kept views are looked for by
    the rotation that a gyroscope has measured, and by local features. As long as nothing connects the new images to
    the old ones the tracker is `adrift`: new points are followed, and every image is tried again.

    Features bring the velocity of their points, which a rolling shutter is corrected by.

    A blurred or dark image is posed by what is found in it, and passed over: points are followed from the sharp one
    before it into the one after it.

    Where the camera comes back to what it has seen before, the tracks of up to `revisits` earlier views go on, beside
    those that began since at the same points.

    State: the Lucas–Kanade tracker, `MOST_VIEWS` views, the contrast of recent images, the views to come back to.
    """

    def __init__(self, config: KltConfig, revisits: int = 0) -> None:
        self._klt = KltTracker(config)
        self._revisits = Revisits(revisits, round(MOST_TRACKS * config.max_features)) if revisits else None
        self.gyro = Gyro()
        self._meter = BlurMeter()
        self._skipped = 0
        self.rematched = 0
        self._last_count = 0
        self._followed_ns: int | None = None
        self._begin()

    @property
    def adrift(self) -> bool:
        """Whether nothing connects the last image to those before the frame was lost."""
        return self._adrift

    def reset(self) -> None:
        """Forgets all views; ids count on."""
        self._klt.reset()
        self._followed_ns = None
        self.gyro.clear()
        self._meter.clear()
        self._begin()

    def begin_segment(self) -> None:
        """Gives up looking for the views from before the frame was lost: what is followed now begins anew."""
        self._begin()

    def track(self, frame: Frame) -> Features:
        """Points of the next frame: those followed from the last one, those found again, and new ones."""
        grey = np.asarray(cv2.cvtColor(frame.image, cv2.COLOR_RGB2GRAY), np.uint8)
        blur = self._meter.blur(grey)
        if blur >= BLURRED and self._last is not None and self._skipped < MOST_SKIPPED and not self._adrift:
            self._skipped += 1
            features, moved = self._klt.peek(grey)
            return replace(features, blur=blur, velocity=self._velocity(moved, frame.stamp_ns))
        self._skipped = 0
        followed = self._klt.follow(grey)
        few = len(followed.ids) < max(MIN_FOUND, LOST_SHARE * self._last_count)
        if self._last is not None and (self._adrift or few):
            self._look_back(frame, grey, followed)
        features = self._klt.replenish()
        if self._revisits is not None and not self._adrift and len(features.ids) >= 2 * MIN_FOUND:
            again = self._revisits.found_again(View(grey, features))
            if len(again.ids):
                self._klt.resume(again, 0.0)
                features = self._klt.replenish()
        self._last_count = len(features.ids)
        if not self._adrift and len(features.ids) >= 2 * MIN_FOUND:
            self._remember(_Kept(View(grey, features), frame.stamp_ns))
        velocity = self._velocity(self._klt.flow, frame.stamp_ns)
        self._followed_ns = frame.stamp_ns
        return replace(features, blur=blur, velocity=velocity)

    def _velocity(self, moved: NDArray[np.float32], stamp_ns: int) -> NDArray[np.float32] | None:
        """Pixels a second (n, 2) of points that `moved` (n, 2) since the image they were followed from."""
        seconds = (stamp_ns - self._followed_ns) * 1e-9 if self._followed_ns is not None else np.inf
        return (moved / seconds).astype(np.float32) if 0.0 < seconds <= LONGEST_S else None

    def _begin(self) -> None:
        self._last: _Kept | None = None
        self._views: deque[_Kept] = deque(maxlen=MOST_VIEWS)
        self._adrift, self._last_count, self._turn = False, 0, 0
        if self._revisits is not None:
            self._revisits.clear()

    def _look_back(self, frame: Frame, grey: NDArray[np.uint8], followed: Features) -> None:
        now = View(grey, followed)
        known: NDArray[np.int64] = np.empty(0, np.int64) if self._adrift else followed.ids
        found_any = False
        for kept in self._candidates():
            if kept.view.grey.shape != grey.shape:
                continue
            found = self._found(kept, now, frame.stamp_ns, frame.intrinsics)
            if found is None:
                continue
            new = ~np.isin(found.ids, known)
            order = np.argsort(found.ids[new], kind="stable")
            self._klt.resume(Features(found.ids[new][order], found.uv[new][order]), _APART_PX)
            known = np.concatenate([known, found.ids[new]])
            found_any = True
            if len(known) >= ENOUGH:
                break
        self.rematched += found_any
        self._adrift = len(known) < MIN_FOUND

    def _candidates(self) -> Iterator[_Kept]:
        """The last view, the newest kept ones, and some of the older ones, others with every call."""
        assert self._last is not None
        yield self._last
        views = [kept for kept in reversed(self._views) if kept is not self._last]
        if not self._adrift and len(views):
            yield views[0]
            return
        yield from views[:_NEWEST]
        older = views[_NEWEST:]
        for _ in range(min(_OLDER, len(older))):
            self._turn += 1
            yield older[self._turn % len(older)]

    def _found(self, kept: _Kept, now: View, stamp_ns: int, camera: Intrinsics | None) -> Features | None:
        if camera is not None and (R_then_now := self.gyro.turn(kept.stamp_ns, stamp_ns)) is not None:
            found = found_by_rotation(kept.view, now, R_then_now.T, camera)
            if found is not None:
                return found
        return found_by_features(kept.view, now)

    def _remember(self, kept: _Kept) -> None:
        self._last = kept
        if self._views:
            newest = self._views[-1].view.features.ids
            if np.isin(newest, kept.view.features.ids).sum() >= _COMMON * len(newest):
                return
        self._views.append(kept)
