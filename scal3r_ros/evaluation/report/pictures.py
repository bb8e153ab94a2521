"""Pictures of the map: from above, from behind the camera at two points of its path, and a flight along it."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scal3r_ros.evaluation.report.splatting import Projection, lit, sky, splat
from scal3r_ros.evaluation.report.views import (
    AboveView,
    BehindView,
    below_ceiling,
    point_spacing,
    scene_up,
    view_from_above,
    view_from_behind,
    views_along,
)
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.io.clouds.ply import Cloud

Picture = NDArray[np.uint8]

PATH_RGB = (232, 72, 38)
PATH_RADIUS_PX = 2.0
MOST_POINTS = 2_000_000
OVERSAMPLING = 2
FLIGHT_FRAMES, FLIGHT_POINTS, FLIGHT_QUALITY = 40, 250_000, 75
FLIGHT_FRAME_MS = 120
OVERLAP = 1.5
"""Splats of a view along the ground are so much larger than their spacing asks for: points do not lie evenly."""


def picture_from_above(cloud: Cloud, trajectory: Trajectory, width: int = 1500) -> tuple[Picture, AboveView]:
    """The map without its ceiling or tree tops, and the view it was drawn in, for what is to be drawn over it."""
    cloud = _lit(_bounded(cloud, MOST_POINTS), scene_up(cloud.points, trajectory))
    kept = below_ceiling(cloud.points, trajectory)
    cloud = Cloud(cloud.points[kept], cloud.colours[kept])
    view = view_from_above(cloud.points, trajectory, width * OVERSAMPLING)
    picture = _draw(view, cloud, point_spacing(cloud.points))
    height = picture.shape[0]
    return picture, AboveView(view.R_view_map, view.corner, view.unit_px / OVERSAMPLING, width, height)


def picture_from_behind(
    cloud: Cloud, trajectory: Trajectory, index: int, width: int = 1280, height: int = 720
) -> Picture:
    """The map as seen from behind and above the camera of pose `index`; the path ahead is drawn into it."""
    cloud = _lit(_bounded(cloud, MOST_POINTS), scene_up(cloud.points, trajectory))
    view = view_from_behind(cloud.points, trajectory, index, width * OVERSAMPLING, height * OVERSAMPLING)
    return _draw_behind(view, cloud, trajectory, point_spacing(cloud.points))


def flight(cloud: Cloud, trajectory: Trajectory, width: int = 640, height: int = 360) -> bytes:
    """A flight along the path, behind and above the camera, as an animated WebP file: the same bytes each time."""
    up = scene_up(cloud.points, trajectory)
    cloud = _lit(_bounded(cloud, FLIGHT_POINTS), up)
    size = (width * OVERSAMPLING, height * OVERSAMPLING)
    spacing = point_spacing(cloud.points)
    views = views_along(cloud.points, trajectory, up, FLIGHT_FRAMES, *size)
    first, *others = [Image.fromarray(_draw_behind(view, cloud, trajectory, spacing)) for view in views]
    buffer = io.BytesIO()
    first.save(
        buffer, "WEBP", save_all=True, append_images=others, duration=FLIGHT_FRAME_MS, loop=0, quality=FLIGHT_QUALITY
    )
    return buffer.getvalue()


def _draw_behind(view: BehindView, cloud: Cloud, trajectory: Trajectory, spacing: float) -> Picture:
    return _draw(view, cloud, OVERLAP * spacing, _path_points(trajectory, view), sky(view.width, view.height))


def _draw(
    view: AboveView | BehindView,
    cloud: Cloud,
    spacing: float,
    path: NDArray[np.float64] | None = None,
    background: Picture | None = None,
) -> Picture:
    inside, projection = view.project(cloud.points, spacing)
    colours = cloud.colours[inside]
    if path is not None:
        line = view.project(path, 0.0)[1]
        projection = Projection(
            np.concatenate([projection.uv, line.uv]),
            np.concatenate([projection.depth, line.depth]),
            np.concatenate([projection.radius_px, np.full_like(line.radius_px, PATH_RADIUS_PX * OVERSAMPLING)]),
        )
        colours = np.concatenate([colours, np.broadcast_to(np.array(PATH_RGB, np.uint8), (len(line.uv), 3))])
    return _shrink(splat(projection, colours, view.width, view.height, background))


def _path_points(trajectory: Trajectory, view: BehindView) -> NDArray[np.float64]:
    """The path as points close enough to each other to draw a line."""
    centres = trajectory.T_ref_cam[:, :3, 3]
    travelled = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(centres, axis=0), axis=1))])
    count = int(np.clip(travelled[-1] / (view.near / 250), 2, 200_000))
    at = np.linspace(0.0, travelled[-1], count)
    return np.stack([np.interp(at, travelled, centres[:, axis]) for axis in range(3)], axis=1)


def _bounded(cloud: Cloud, most: int) -> Cloud:
    step = max(1, -(-len(cloud.points) // most))
    return Cloud(cloud.points[::step], cloud.colours[::step], None if cloud.normals is None else cloud.normals[::step])


def _lit(cloud: Cloud, up: NDArray[np.float64]) -> Cloud:
    """The cloud in the colours that light from above gives it."""
    return cloud if cloud.normals is None else Cloud(cloud.points, lit(cloud.colours, cloud.normals, up))


def _shrink(picture: Picture) -> Picture:
    """The picture at `1 / OVERSAMPLING` of its size, each pixel the mean of those it replaces."""
    height, width = (size // OVERSAMPLING for size in picture.shape[:2])
    cropped = picture[: height * OVERSAMPLING, : width * OVERSAMPLING].astype(np.uint16)
    blocks = cropped.reshape(height, OVERSAMPLING, width, OVERSAMPLING, 3)
    return (blocks.sum(axis=(1, 3)) // OVERSAMPLING**2).astype(np.uint8)
