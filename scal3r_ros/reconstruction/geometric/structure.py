"""Scene points of a whole drive whose poses are known: tracks through its images, triangulated.

Source: midpoint start (see `triangulation`), then Gauss–Newton on the reprojection errors of each point by itself.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.features.klt import KltConfig, KltTracker
from scal3r_ros.geometry import se3
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.reconstruction.geometric.triangulation import TrackTable, triangulate
from scal3r_ros.reconstruction.protocol import TrackedPoints

Array = NDArray[np.float64]

FEWEST_OBSERVATIONS = 3
LEAST_ANGLE_DEG = 1.0
MOST_ERROR_PX = 2.0
"""Observations farther from where their point is projected are left out; of two rounds, the first allows twice this."""
REFINING_STEPS = 5
KLT = KltConfig(max_features=1500, cell=20)


class StructureBuilder:
    """Follows image points through the frames of one drive, and gives the scene points behind them at the end."""

    def __init__(self) -> None:
        self._tracker = KltTracker(KLT)
        self._ids: list[NDArray[np.int64]] = []
        self._uv: list[NDArray[np.float32]] = []
        self._colours: list[NDArray[np.uint8]] = []
        self._poses: list[Array] = []
        self._cameras: list[Intrinsics] = []

    def skip(self, image: NDArray[np.uint8]) -> None:
        """Follows the points through an image (h, w, 3) that is no view of the model."""
        self._tracker.track(image)

    def add(self, image: NDArray[np.uint8], camera: Intrinsics, T_map_cam: Array) -> None:
        """The next view: its image (h, w, 3) RGB without distortion, its camera and pose (4, 4)."""
        features = self._tracker.track(image)
        column, row = np.round(features.uv).astype(np.int64).T
        row, column = np.clip(row, 0, image.shape[0] - 1), np.clip(column, 0, image.shape[1] - 1)
        self._ids.append(features.ids.copy())
        self._uv.append(features.uv.copy())
        self._colours.append(image[row, column])
        self._poses.append(np.asarray(T_map_cam, np.float64))
        self._cameras.append(camera)

    def points(self) -> TrackedPoints:
        """Points that three views or more see within 2 pixels of where they are, from directions 1° apart or more."""
        table, uv, colours = self._table()
        T = np.stack(self._poses) if self._poses else np.zeros((0, 4, 4))
        focal = np.array([(camera.fx, camera.fy) for camera in self._cameras]).reshape(-1, 2)
        keep = np.ones(len(table.track), np.bool_)
        points = np.zeros((len(table.ids), 3))
        for limit_px in (2 * MOST_ERROR_PX, MOST_ERROR_PX):
            seen = table.select(keep)
            found = triangulate(seen, T)
            points = _refined(seen, found.points, T, focal)
            error = _errors_px(table, points, T, focal)
            wide = found.angle >= np.radians(LEAST_ANGLE_DEG)
            keep = keep & wide[table.track] & (error < limit_px)
            often = table.select(keep).lengths() >= FEWEST_OBSERVATIONS
            keep &= often[table.track]
        numbers, point = np.unique(table.track[keep], return_inverse=True)
        mean = np.stack([np.bincount(point, colours[keep, channel]) for channel in range(3)], axis=1)
        lengths = np.bincount(point)[:, None] if len(numbers) else np.ones((0, 1))
        error = _errors_px(table, points, T, focal)[keep]
        return TrackedPoints(
            points=points[numbers],
            colours=np.round(mean / lengths).astype(np.uint8),
            error_px=np.bincount(point, error) / lengths[:, 0] if len(numbers) else np.zeros(0),
            point=point.astype(np.int64),
            view=table.frame[keep],
            uv=uv[keep],
        )

    def _table(self) -> tuple[TrackTable, NDArray[np.float32], NDArray[np.uint8]]:
        """The observations of tracks that are long enough, with their pixels (m, 2) and colours (m, 3)."""
        if not self._ids:
            nothing = np.zeros(0, np.int64)
            table = TrackTable(nothing, nothing, nothing, np.zeros((0, 2)))
            return table, np.zeros((0, 2), np.float32), np.zeros((0, 3), np.uint8)
        ids = np.concatenate(self._ids)
        frame = np.repeat(np.arange(len(self._ids)), [len(part) for part in self._ids])
        xy = np.concatenate([camera.on_unit_plane(uv) for camera, uv in zip(self._cameras, self._uv, strict=True)])
        _, of_row, counts = np.unique(ids, return_inverse=True, return_counts=True)
        rows = np.flatnonzero(counts[of_row] >= FEWEST_OBSERVATIONS)
        rows = rows[np.lexsort((frame[rows], ids[rows]))]
        unique, track = np.unique(ids[rows], return_inverse=True)
        table = TrackTable(unique, track, frame[rows], xy[rows])
        return table, np.concatenate(self._uv)[rows], np.concatenate(self._colours)[rows]


def _refined(table: TrackTable, points: Array, T_map_cam: Array, focal: Array) -> Array:
    """Points (n, 3) moved to the least squares of their reprojection errors in pixels, each by itself."""
    T_cam_map = se3.invert(T_map_cam) if len(T_map_cam) else T_map_cam
    R, t, f = T_cam_map[table.frame, :3, :3], T_cam_map[table.frame, :3, 3], focal[table.frame]
    count = len(table.ids)
    points = points.copy()
    cost = _costs(table, points, T_map_cam, focal)
    for _ in range(REFINING_STEPS):
        x, y, z = (np.einsum("mij,mj->mi", R, points[table.track]) + t).T
        z = np.where(np.abs(z) < 1e-9, 1e-9, z)
        residual = f * (np.stack([x / z, y / z], axis=1) - table.xy)
        on_plane = np.zeros((len(z), 2, 3))
        on_plane[:, 0, 0] = on_plane[:, 1, 1] = 1 / z
        on_plane[:, 0, 2], on_plane[:, 1, 2] = -x / z**2, -y / z**2
        J = f[:, :, None] * (on_plane @ R)
        H, g = np.zeros((count, 3, 3)), np.zeros((count, 3))
        np.add.at(H, table.track, np.swapaxes(J, 1, 2) @ J)
        np.add.at(g, table.track, np.einsum("mki,mk->mi", J, residual))
        trace = np.trace(H, axis1=1, axis2=2)
        H += (1e-9 * trace + 1e-12)[:, None, None] * np.eye(3)
        moved = points - np.linalg.solve(H, g[:, :, None])[:, :, 0]
        new_cost = _costs(table, moved, T_map_cam, focal)
        better = new_cost < cost
        points[better], cost[better] = moved[better], new_cost[better]
    return points


def _costs(table: TrackTable, points: Array, T_map_cam: Array, focal: Array) -> Array:
    """Sum of squared errors (n,) of each point; an observation from behind counts as infinitely wrong."""
    errors = _errors_px(table, points, T_map_cam, focal)
    summed: Array = np.bincount(table.track, errors**2, minlength=len(table.ids)).astype(np.float64)
    return summed


def _errors_px(table: TrackTable, points: Array, T_map_cam: Array, focal: Array) -> Array:
    """Distance in pixels (m,) of each observation from where its point is projected, infinite behind the camera."""
    R, t = T_map_cam[table.frame, :3, :3], T_map_cam[table.frame, :3, 3]
    p = np.einsum("mji,mj->mi", R, points[table.track] - t)
    ahead = p[:, 2] > 0
    z = np.where(ahead, p[:, 2], 1.0)
    error: Array = np.linalg.norm(focal[table.frame] * (p[:, :2] / z[:, None] - table.xy), axis=1)
    return np.where(ahead, error, np.inf)
