"""Where virtual cameras stand that show a map well, whatever its size and unit: streets and rooms alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from scal3r_ros.evaluation.report.splatting import Projection
from scal3r_ros.geometry import se3
from scal3r_ros.geometry.trajectory import Trajectory

Array = NDArray[np.float64]

SAMPLE = 4000
SMALLEST_RADIUS_PX = 1.0
LARGEST_RADIUS_PX = 12.0
FIELD_OF_VIEW_DEG = 75.0
SMOOTHED_POSES = 15
NORMAL_NEIGHBOURS = 12


@dataclass(frozen=True)
class AboveView:
    """An orthographic picture from above: `R_view_map` (3, 3) has rows right, down and into the picture, all in map
    axes.

    The picture's upper left corner lies at `corner` (2,) of the first two rows, in map units; `unit_px` pixels are one
    unit.
    """

    R_view_map: Array
    corner: Array
    unit_px: float
    width: int
    height: int

    def pixels(self, points: Array) -> Array:
        """Pixels (n, 2) of points (n, 3) in the map."""
        return (points @ self.R_view_map[:2].T - self.corner) * self.unit_px

    def project(self, points: Array, spacing: float) -> tuple[NDArray[np.intp], Projection]:
        """The indices of the points (n, 3) inside the picture, and where they fall; the highest count as nearest."""
        uv = self.pixels(points)
        inside = np.flatnonzero(_near_picture(uv, self.width, self.height))
        into = points[inside] @ self.R_view_map[2]
        # Seen from a finite height, since eye-dome lighting reads ratios of depth.
        extent = max(self.width, self.height) / self.unit_px
        depth = into - into.min(initial=0.0) + extent / 4
        radius = np.full(len(inside), np.clip(spacing * self.unit_px, SMALLEST_RADIUS_PX, LARGEST_RADIUS_PX))
        return inside, _projection(uv[inside], depth, radius)


@dataclass(frozen=True)
class BehindView:
    """A perspective picture: the virtual camera's pose, focal length in pixels, size and nearest drawn depth in map
    units.
    """

    T_map_view: Array
    focal_px: float
    width: int
    height: int
    near: float

    def project(self, points: Array, spacing: float) -> tuple[NDArray[np.intp], Projection]:
        """The indices of the points (n, 3) inside the picture, and where they fall."""
        T_view_map = se3.invert(self.T_map_view)
        seen = points @ T_view_map[:3, :3].T + T_view_map[:3, 3]
        ahead = np.flatnonzero(seen[:, 2] > self.near)
        seen = seen[ahead]
        uv = seen[:, :2] / seen[:, 2:] * self.focal_px + (self.width / 2, self.height / 2)
        inside = _near_picture(uv, self.width, self.height)
        depth = seen[inside, 2]
        radius = np.clip(spacing * self.focal_px / depth, SMALLEST_RADIUS_PX, LARGEST_RADIUS_PX)
        return ahead[inside], _projection(uv[inside], depth, radius)


def view_from_above(points: Array, trajectory: Trajectory, longest_px: int) -> AboveView:
    """All of the path and the bulk of the points (n, 3), turned so that their longest side lies across the picture."""
    up = scene_up(points, trajectory)
    R = _axes(up)
    path = trajectory.T_ref_cam[:, :3, 3]
    sample = points[:: max(1, len(points) // 100_000)]
    angle = min(np.radians(np.arange(0.0, 90.0, 2.0)), key=lambda angle: _area(_turned(R, angle), sample, path))
    turned = _turned(R, angle)
    low, high = _bulk(sample @ turned[:2].T, path @ turned[:2].T)
    if high[0] - low[0] < high[1] - low[1]:
        turned = _turned(R, angle + np.pi / 2)
        low, high = _bulk(sample @ turned[:2].T, path @ turned[:2].T)
    margin = 0.04 * float((high - low).max()) or 1.0
    low, high = low - margin, high + margin
    unit_px = longest_px / (high[0] - low[0])
    height_px = int(np.clip(np.ceil((high[1] - low[1]) * unit_px), longest_px // 3, longest_px))
    corner = np.array([low[0], (low[1] + high[1]) / 2 - height_px / unit_px / 2])
    return AboveView(turned, corner, float(unit_px), longest_px, height_px)


def view_from_behind(points: Array, trajectory: Trajectory, index: int, width: int, height: int) -> BehindView:
    """A camera behind and above pose `index`, looking where that camera looks, a little downwards."""
    T_map_cam = _levelled(trajectory, index, scene_up(points, trajectory))
    return _behind(T_map_cam, _reach(points, T_map_cam), width, height)


def views_along(
    points: Array, trajectory: Trajectory, up: Array, count: int, width: int, height: int
) -> list[BehindView]:
    """Views from behind at `count` places of the path, evenly apart, for a flight: all at one distance, and smooth."""
    centres = trajectory.T_ref_cam[:, :3, 3]
    travelled = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(centres, axis=0), axis=1))])
    at = np.searchsorted(travelled, np.linspace(0.0, travelled[-1], count + 2)[1:-1])
    levelled = [_levelled(trajectory, int(index), up) for index in np.minimum(at, len(centres) - 1)]
    reach = float(np.median([_reach(points, T) for T in levelled]))
    half = max(1, count // 20)
    return [_behind(_mean_pose(levelled[max(0, k - half) : k + half + 1]), reach, width, height) for k in range(count)]


def _mean_pose(poses: list[Array]) -> Array:
    """The mean (4, 4) of similar poses."""
    U, _, V = np.linalg.svd(np.mean([T[:3, :3] for T in poses], axis=0))
    return se3.se3(U @ np.diag([1.0, 1.0, np.linalg.det(U @ V)]) @ V, np.mean([T[:3, 3] for T in poses], axis=0))


def _reach(points: Array, T_map_cam: Array) -> float:
    """The median depth of what a camera sees of points (n, 3)."""
    T_cam_map = se3.invert(T_map_cam)
    seen = points @ T_cam_map[:3, :3].T + T_cam_map[:3, 3]
    in_sight = (seen[:, 2] > 0) & (np.abs(seen[:, 0]) < 0.6 * seen[:, 2]) & (np.abs(seen[:, 1]) < 0.4 * seen[:, 2])
    return float(np.median(seen[in_sight, 2])) if np.any(in_sight) else float(np.ptp(points, axis=0).max())


def _behind(T_map_cam: Array, reach: float, width: int, height: int) -> BehindView:
    """A camera behind and above another one, by shares of `reach`."""
    back, up = 0.5 * reach, 0.25 * reach
    tilt = se3.rotation_exp(np.array([-np.radians(12.0), 0.0, 0.0]))
    T_cam_view = se3.se3(tilt, [0.0, -up, -back])
    focal_px = width / 2 / np.tan(np.radians(FIELD_OF_VIEW_DEG) / 2)
    return BehindView(T_map_cam @ T_cam_view, float(focal_px), width, height, near=0.3 * back)


def below_ceiling(points: Array, trajectory: Trajectory) -> NDArray[np.bool_]:
    """Which points (n, 3) to show from above: those no higher over the nearest camera than the ground lies below it.

    That keeps walls, cars and tables and takes off ceilings, tree tops and sky. At least the lower half is kept.
    """
    up = scene_up(points, trajectory)
    R = _axes(up)[:2]
    path = trajectory.T_ref_cam[:, :3, 3]
    nearest = cKDTree(path @ R.T).query(points @ R.T)[1]
    above = (points - path[nearest]) @ up
    ground = float(np.percentile(above, 3))
    return above <= max(-ground, float(np.median(above)))


def scene_up(points: Array, trajectory: Trajectory) -> Array:
    """The vertical (3,) of the scene: the commonest surface normal near the mean upward direction of the cameras.

    A hand-held camera rarely looks level, and the map's z is that of the first one; floors, roads and tables show
    better.
    """
    up = -trajectory.T_ref_cam[:, :3, 1].mean(axis=0)
    length = float(np.linalg.norm(up))
    up = up / length if length > 1e-3 else np.array([0.0, 0.0, 1.0])
    if len(points) <= NORMAL_NEIGHBOURS:
        return up
    sample = points[:: max(1, len(points) // SAMPLE)]
    neighbours = points[cKDTree(points).query(sample, k=NORMAL_NEIGHBOURS)[1]]
    spread = neighbours - neighbours.mean(axis=1, keepdims=True)
    normals = np.linalg.eigh(np.einsum("nki,nkj->nij", spread, spread))[1][:, :, 0]
    normals *= np.where(normals @ up < 0, -1.0, 1.0)[:, None]
    for cone_deg in (40.0, 25.0, 15.0, 8.0, 8.0):
        near = normals[normals @ up > np.cos(np.radians(cone_deg))]
        if len(near) < 0.02 * len(normals):
            break
        up = near.mean(axis=0) / np.linalg.norm(near.mean(axis=0))
    return up


def point_spacing(points: Array) -> float:
    """The radius of a splat that closes a surface of these points (n, 3): almost half the distance to the fourth
    neighbour.
    """
    if len(points) < 5:
        return 0.0
    sample = points[:: max(1, len(points) // SAMPLE)]
    return 0.45 * float(np.median(cKDTree(points).query(sample, k=5)[0][:, 4]))


def _axes(up: Array) -> Array:
    """Rows right, down and into of a view from above (3, 3), of which `into` is −`up`."""
    helper = np.array([1.0, 0.0, 0.0]) if abs(up[0]) < 0.9 else np.array([0.0, 1.0, 0.0])
    right = helper - (helper @ up) * up
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(-up, right), -up])


def _turned(R: Array, angle: float) -> Array:
    return se3.rotation_exp(np.array([0.0, 0.0, angle])) @ R


def _area(R: Array, points: Array, path: Array) -> float:
    low, high = _bulk(points @ R[:2].T, path @ R[:2].T)
    return float(np.prod(high - low))


def _bulk(points_2d: Array, path_2d: Array) -> tuple[Array, Array]:
    low, high = np.percentile(points_2d, [1.5, 98.5], axis=0)
    return np.minimum(low, path_2d.min(axis=0)), np.maximum(high, path_2d.max(axis=0))


def _levelled(trajectory: Trajectory, index: int, up: Array) -> Array:
    """Camera `index`, looking where the poses around it look on average, with its picture's vertical along `up`."""
    half = SMOOTHED_POSES // 2
    forward = trajectory.T_ref_cam[max(0, index - half) : index + half + 1, :3, 2].mean(axis=0)
    right = np.cross(forward, up)
    if np.linalg.norm(right) < 0.1:  # It looks straight up or down, where a horizon means nothing.
        return trajectory.T_ref_cam[index]
    forward, right = forward / np.linalg.norm(forward), right / np.linalg.norm(right)
    R = np.stack([right, np.cross(forward, right), forward], axis=1)
    return se3.se3(R, trajectory.T_ref_cam[index, :3, 3])


def _near_picture(uv: Array, width: int, height: int) -> NDArray[np.bool_]:
    """Which pixels (n, 2) can touch the picture with their splat."""
    return np.all((uv > -LARGEST_RADIUS_PX) & (uv < np.array([width, height]) + LARGEST_RADIUS_PX), axis=1)


def _projection(uv: Array, depth: Array, radius: Array) -> Projection:
    return Projection(uv.astype(np.float32), depth.astype(np.float32), radius.astype(np.float32))
