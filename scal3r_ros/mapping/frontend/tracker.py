"""Camera-rate tracking against the newest submap: feature tracks, PnP on its points, new points on the way to the
next one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.configuration import parameter, section
from scal3r_ros.features.klt import KltConfig
from scal3r_ros.features.pnp import CameraPose, pose_from_points
from scal3r_ros.geometry import se3
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.geometry.projection import rays_of
from scal3r_ros.mapping.values import PoseSource
from scal3r_ros.reconstruction.protocol import Features

SLOWING = 0.9
"""Factor on the velocity, per frame, of a camera that sees no point: constant velocity that decays."""


@dataclass(frozen=True)
class TrackerConfig:
    """How frames are tracked and posed between chunks."""

    klt: KltConfig = section(KltConfig)
    sigma: float = parameter(
        0.7, "standard deviation of a tracked image point", unit="pixels", minimum=0.05, maximum=10.0
    )
    min_angle_deg: float = parameter(
        1.0, "angle between its first and its newest ray at which a new track becomes a point",
        unit="degrees", minimum=0.1, maximum=20.0,
    )  # fmt: skip
    revisits: int = parameter(
        0,
        "earlier views whose tracks go on where the camera comes back to what they show, as one does that is carried "
        "about in a room; 0 looks for none",
        unit="views",
        minimum=0,
        maximum=200,
    )


@dataclass(frozen=True)
class Tracked:
    """`T_ref_cam` (4, 4) and `covariance` (6, 6) in the reference frame of the points, and the source of both."""

    T_ref_cam: NDArray[np.float64]
    covariance: NDArray[np.float64]
    source: PoseSource


@dataclass(frozen=True)
class _FirstObservations:
    """Tracks without a point so far: rays (n, 3) and camera centres (n, 3) of their first observation, in the reference
    frame.
    """

    ids: NDArray[np.int64]
    rays: NDArray[np.float64]
    centres: NDArray[np.float64]


class PoseTracker:
    """Poses frames in turn, each from the points of its features.

    State: points (in the reference frame) and first observations of the tracks in view, never more than the features
    of one frame; the points of the newest submap, for tracks that are found again; and the last two poses.
    """

    def __init__(self, config: TrackerConfig) -> None:
        self._config = config
        self.reset()

    def reset(self) -> None:
        """Forget all points and poses."""
        self._ids, self._points = np.empty(0, np.int64), np.empty((0, 3))
        self._submap_ids, self._submap_points = self._ids, self._points
        self._firsts = _FirstObservations(np.empty(0, np.int64), np.empty((0, 3)), np.empty((0, 3)))
        self._last: NDArray[np.float64] | None = None
        self._velocity = np.eye(4)

    def start_from(
        self,
        ids: NDArray[np.int64],
        points: NDArray[np.float64],
        T_ref_cam: NDArray[np.float64],
        T_ref_cam_before: NDArray[np.float64] | None,
    ) -> None:
        """Take over a submap: points (n, 3) of the tracks `ids` (ascending), and its last one or two cameras."""
        self.reset()
        self._ids, self._points = self._submap_ids, self._submap_points = ids, points
        self._last = T_ref_cam
        if T_ref_cam_before is not None:
            self._velocity = se3.invert(T_ref_cam_before) @ T_ref_cam

    def pose(self, features: Features, intrinsics: Intrinsics) -> Tracked:
        """The camera of the next frame; extrapolated where too few points are in view, slower and slower."""
        assert self._last is not None
        xy = features.on_unit_plane(intrinsics)
        guess = self._last @ self._velocity
        sigma = features.blur * self._config.sigma / intrinsics.fx
        self._take_up_again(features.ids)
        _, seen, of_point = np.intersect1d(features.ids, self._ids, assume_unique=True, return_indices=True)
        found = pose_from_points(self._points[of_point], xy[seen], guess, sigma)
        if found is None:
            found = pose_from_points(self._points[of_point], xy[seen], self._last, sigma)
        if found is None:
            tracked = _extrapolated(self._last, guess)
            self._velocity = se3.interpolate(np.eye(4), self._velocity, SLOWING)
        else:
            tracked = Tracked(found.T_ref_cam, found.covariance, PoseSource.TRACKED)
            self._velocity = se3.invert(self._last) @ tracked.T_ref_cam
        self._last = tracked.T_ref_cam
        self._keep_in_view(features, found, seen, of_point)
        if found is not None:
            self._add_points(features, xy, tracked.T_ref_cam, sigma)
        return tracked

    def _take_up_again(self, ids: NDArray[np.int64]) -> None:
        """Adds the submap's points of tracks that were out of view, and are back in it."""
        back = np.isin(self._submap_ids, ids, assume_unique=True)
        back &= ~np.isin(self._submap_ids, self._ids, assume_unique=True)
        if back.any():
            self._ids = np.concatenate([self._ids, self._submap_ids[back]])
            self._points = np.concatenate([self._points, self._submap_points[back]])
            order = np.argsort(self._ids, kind="stable")
            self._ids, self._points = self._ids[order], self._points[order]

    def _keep_in_view(
        self, features: Features, found: CameraPose | None, seen: NDArray[np.int64], of_point: NDArray[np.int64]
    ) -> None:
        """Removes the points of tracks that ended, and outliers of the pose."""
        agreeing = of_point if found is None else of_point[found.inliers]
        if found is not None:
            right = ~np.isin(self._submap_ids, self._ids[of_point[~found.inliers]], assume_unique=True)
            self._submap_ids, self._submap_points = self._submap_ids[right], self._submap_points[right]
        self._ids, self._points = self._ids[agreeing], self._points[agreeing]
        firsts = self._firsts
        alive = np.isin(firsts.ids, features.ids, assume_unique=True)
        self._firsts = _FirstObservations(firsts.ids[alive], firsts.rays[alive], firsts.centres[alive])

    def _add_points(self, features: Features, xy: NDArray[np.float64], T: NDArray[np.float64], sigma: float) -> None:
        rays = rays_of(xy) @ T[:3, :3].T
        firsts = self._firsts
        _, now, first = np.intersect1d(features.ids, firsts.ids, assume_unique=True, return_indices=True)
        points, good = _midpoints(
            firsts.centres[first],
            firsts.rays[first],
            T[:3, 3],
            rays[now],
            np.deg2rad(self._config.min_angle_deg),
            6 * sigma,
        )
        self._ids = np.concatenate([self._ids, features.ids[now][good]])
        self._points = np.concatenate([self._points, points[good]])
        order = np.argsort(self._ids, kind="stable")
        self._ids, self._points = self._ids[order], self._points[order]
        waiting = ~np.isin(firsts.ids, self._ids, assume_unique=True)
        new = ~np.isin(features.ids, self._ids) & ~np.isin(features.ids, firsts.ids)
        ids = np.concatenate([firsts.ids[waiting], features.ids[new]])
        order = np.argsort(ids, kind="stable")
        centres = np.broadcast_to(T[:3, 3], (int(new.sum()), 3))
        self._firsts = _FirstObservations(
            ids[order],
            np.concatenate([firsts.rays[waiting], rays[new]])[order],
            np.concatenate([firsts.centres[waiting], centres])[order],
        )


def _extrapolated(last: NDArray[np.float64], guess: NDArray[np.float64]) -> Tracked:
    """The guess, as uncertain as its step is long."""
    R = se3.rotation_from_quat_xyzw(se3.quat_xyzw(guess[:3, :3]))  # else rounding grows with every product
    step = float(np.linalg.norm(guess[:3, 3] - last[:3, 3]))
    covariance = np.diag([max(step, 1e-3) ** 2] * 3 + [np.deg2rad(2.0) ** 2] * 3)
    return Tracked(se3.se3(R, guess[:3, 3]), covariance, PoseSource.EXTRAPOLATED)


def _midpoints(
    centres: NDArray[np.float64], rays: NDArray[np.float64], centre: NDArray[np.float64], rays_now: NDArray[np.float64],
    min_angle: float, max_miss: float,
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:  # fmt: skip
    """Points (n, 3) midway between two rays each, and which of them are in front, at an angle and nearly met by
    both.
    """
    between = centre - centres
    cosine = (rays * rays_now).sum(1)
    sine2 = np.maximum(1.0 - cosine**2, 1e-12)
    along, along_now = (rays * between).sum(1), (rays_now * between).sum(1)
    far, far_now = (along - cosine * along_now) / sine2, (cosine * along - along_now) / sine2
    a, b = centres + far[:, None] * rays, centre + far_now[:, None] * rays_now
    near = np.maximum(np.minimum(far, far_now), 1e-9)
    good = (far > 0) & (far_now > 0) & (sine2 > np.sin(min_angle) ** 2)
    good &= np.linalg.norm(a - b, axis=1) < max_miss * near
    return (a + b) / 2.0, good
