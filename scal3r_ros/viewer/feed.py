"""Shows what a mapper in this process does."""

from __future__ import annotations

import time
from typing import Protocol

import cv2
import numpy as np
import psutil
from numpy.typing import NDArray

from scal3r_ros.errors import GeometryError
from scal3r_ros.geometry.alignment import align_sim3
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.geometry.sim3 import Sim3
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.mapping.values import CloudChange, MapUpdate, PointCloud
from scal3r_ros.reconstruction.protocol import Frame
from scal3r_ros.viewer.live import LiveView
from scal3r_ros.viewer.scene import Camera

Array = NDArray[np.float64]

CAMERA_S = 0.1
"""How often the camera and its image go to the page, at most."""

CLOUD_S = 0.5
"""How often points that came, moved or went are read from the mapper, at most."""

IMAGE_WIDTH = 320
ALIGNED_POSES = 500
METRICS_S = 0.5


class WatchedPoints(Protocol):
    """The points of a mapper that is shown."""

    def change(self, since: int) -> CloudChange: ...


class Watched(Protocol):
    """The part of a mapper that is shown."""

    def trajectory(self) -> Trajectory: ...
    def cloud(self, max_points: int | None = None) -> PointCloud: ...
    def loop_ends(self) -> Array: ...

    @property
    def points(self) -> WatchedPoints: ...


class MapperFeed:
    """Hands over what became of each frame. To be called by the thread that maps.

    Args:
        view: the page.
        mapper: what is shown.
        truth: true poses by the same clock, drawn aligned to the path where they are given.
    """

    def __init__(self, view: LiveView, mapper: Watched, truth: Trajectory | None = None) -> None:
        self._view = view
        self._mapper = mapper
        self._truth = truth
        self._T_map_odom = np.eye(4)
        self._camera_s = self._cloud_s = self._metrics_s = -float("inf")
        self._revision = 0
        self._cloud_changed = False
        self._started_s = time.monotonic()
        self._frames = self._submaps = self._loops = 0

    def show(self, frame: Frame, updates: list[MapUpdate]) -> None:
        """What the mapper gave for `frame`."""
        self._frames += 1
        for update in updates:
            self._take(update)
            if update.poses and time.monotonic() - self._camera_s > CAMERA_S:
                self._camera_s = time.monotonic()
                T_map_cam = update.T_map_odom @ update.poses[-1].T_odom_cam
                self._view.show_camera(camera_of(T_map_cam, frame.intrinsics, frame.image))
        self._read_points_when_due(CLOUD_S)
        if time.monotonic() - self._metrics_s > METRICS_S:
            self._metrics_s = time.monotonic()
            self._view.show_metrics(self._metrics())

    def finish(self, updates: list[MapUpdate]) -> None:
        """What the mapper gave at the end; everything is shown as it is then."""
        for update in updates:
            self._take(update)
        self._cloud_changed = True
        self._read_points_when_due(0.0)
        self._view.show_metrics(self._metrics())

    def _take(self, update: MapUpdate) -> None:
        if update.submap is not None:
            self._submaps += 1
        if update.corrected:
            ends = self._mapper.loop_ends()
            self._loops = len(ends)
            self._view.show_loops(ends)
        if update.submap is not None or update.corrected:
            self._cloud_changed = True
            trajectory = self._mapper.trajectory()
            self._view.show_path(trajectory.T_ref_cam[:, :3, 3])
            if self._truth is not None:
                self._view.show_truth(aligned_truth(self._truth, trajectory))

    def _read_points_when_due(self, period_s: float) -> None:
        if self._cloud_changed and time.monotonic() - self._cloud_s > period_s:
            self._cloud_changed = False
            change = self._mapper.points.change(self._revision)
            self._revision = change.revision
            self._view.update_points(change)
            self._cloud_s = time.monotonic()

    def _metrics(self) -> dict[str, str]:
        seconds = max(time.monotonic() - self._started_s, 1e-6)
        return {
            "images": f"{self._frames:,}",
            "rate": f"{self._frames / seconds:.1f} images/s",
            "submaps": f"{self._submaps:,}",
            "loops": f"{self._loops:,}",
            "RAM": f"{psutil.Process().memory_info().rss / 2**20:,.0f} MB",
        }


def camera_of(T_map_cam: Array, intrinsics: Intrinsics | None, image: NDArray[np.uint8] | None) -> Camera:
    """What is drawn of a camera; its image is made small enough to be sent often."""
    if image is not None and image.shape[1] > IMAGE_WIDTH:
        height = max(1, round(image.shape[0] * IMAGE_WIDTH / image.shape[1]))
        image = np.asarray(cv2.resize(image, (IMAGE_WIDTH, height), interpolation=cv2.INTER_AREA), np.uint8)
    if intrinsics is not None:
        fov = 2.0 * float(np.arctan(0.5 * intrinsics.height / intrinsics.fy))
        return Camera(T_map_cam, fov, intrinsics.width / intrinsics.height, image)
    if image is not None:
        return Camera(T_map_cam, aspect=image.shape[1] / image.shape[0], image=image)
    return Camera(T_map_cam)


def aligned_truth(truth: Trajectory, estimate: Trajectory) -> Array:
    """Positions (n, 3) in `map` of the true poses up to the newest estimated one; none where they do not align."""
    if len(truth) < 2 or not len(estimate):
        return np.zeros((0, 3))
    after = np.searchsorted(truth.stamps_ns, estimate.stamps_ns).clip(1, len(truth) - 1)
    earlier = estimate.stamps_ns - truth.stamps_ns[after - 1] < truth.stamps_ns[after] - estimate.stamps_ns
    nearest = after - earlier
    common = np.flatnonzero(np.abs(truth.stamps_ns[nearest] - estimate.stamps_ns) < 20_000_000)
    common = common[:: max(1, len(common) // ALIGNED_POSES)]
    try:
        S_map_truth: Sim3 = align_sim3(
            np.zeros((0, 3)),
            np.zeros((0, 3)),
            source_poses=truth.T_ref_cam[nearest[common]],
            target_poses=estimate.T_ref_cam[common],
        ).transform
    except GeometryError:
        return np.zeros((0, 3))
    return S_map_truth.apply(truth.T_ref_cam[truth.stamps_ns <= estimate.stamps_ns[-1], :3, 3])
