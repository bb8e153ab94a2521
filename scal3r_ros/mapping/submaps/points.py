"""Points of a chunk for the map, with colours, and for the tracker, by feature track."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from scal3r_ros.features.pinhole import as_pinhole
from scal3r_ros.geometry.projection import backproject, confident, nearest_pixels
from scal3r_ros.mapping.cloud.reading import confidence_of
from scal3r_ros.mapping.cloud.visibility import DepthView, Surface
from scal3r_ros.mapping.submaps.normals import normals_of
from scal3r_ros.mapping.values import PointCloud
from scal3r_ros.reconstruction.protocol import Chunk, ChunkGeometry, Frame

Array = NDArray[np.float64]
Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class ColouredPoints:
    """`points` (n, 3) float32 in the chunk's frame, their `colours` (n, 3) uint8 RGB and `weights` (n,) float32.

    `surface` has their normals, and the depth maps of all frames of the chunk.
    """

    points: NDArray[np.float32]
    colours: NDArray[np.uint8]
    weights: NDArray[np.float32]
    surface: Surface

    @property
    def cloud(self) -> PointCloud:
        """The same without the depth maps."""
        return PointCloud(self.points, self.colours, self.surface.normals, confidence_of(self.weights))


def coloured_points(chunk: Chunk, geometry: ChunkGeometry, min_confidence: float) -> ColouredPoints:
    """The confident points of the frames that the chunk does not share with the one before.

    A point weighs its confidence over its depth squared (in units of the chunk's median depth): near views are
    more precise.
    """
    depths = [_confident(*pair, min_confidence) for pair in zip(geometry.depth, geometry.confidence, strict=True)]
    weights = [_weights(*pair) for pair in zip(depths, geometry.confidence, strict=True)]
    new = [weight[depth > 0] for weight, depth in zip(weights[chunk.shared :], depths[chunk.shared :], strict=True)]
    median = np.float32(np.median(np.concatenate(new))) if sum(map(len, new)) else np.float32(1.0)
    views = tuple(
        DepthView(depth, weight / median, intrinsics, T)
        for depth, weight, intrinsics, T in zip(depths, weights, geometry.intrinsics, geometry.T_chunk_cam, strict=True)
    )
    parts = [_of_view(*pair) for pair in list(zip(chunk.frames, views, strict=True))[chunk.shared :]]
    if not parts:
        nothing = np.zeros((0, 3), np.float32)
        return ColouredPoints(nothing, np.zeros((0, 3), np.uint8), nothing[:, 0], Surface.unknown(0))
    points, colours, relative, normals, distances = (np.concatenate(column) for column in zip(*parts, strict=True))
    return ColouredPoints(points, colours, relative, Surface(normals, distances, views, chunk.shared))


def _confident(depth: Floats, confidence: Floats, least: float) -> Floats:
    """Depth (h, w), 0 where it is not confident or not a number."""
    return np.where(confident(depth, confidence, least), depth, np.float32(0.0)).astype(np.float32)


def _weights(depth: Floats, confidence: Floats) -> Floats:
    """Confidence over squared depth (h, w), 0 where there is no depth."""
    known = depth > 0
    return np.where(known, confidence / np.square(np.where(known, depth, 1.0)), 0.0).astype(np.float32)


def _of_view(frame: Frame, view: DepthView) -> tuple[Floats, NDArray[np.uint8], Floats, Floats, Floats]:
    """Points, colours, weights, normals and depths of the pixels of a view that have depth."""
    (height, width), known = view.depth.shape, view.depth > 0
    image = np.asarray(cv2.resize(frame.image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    image = as_pinhole(image, view.intrinsics)
    T = view.T_submap_cam
    points = (backproject(view.depth, view.intrinsics)[known] @ T[:3, :3].T + T[:3, 3]).astype(np.float32)
    normals = (normals_of(view.depth, view.intrinsics)[known] @ T[:3, :3].T).astype(np.float32)
    return points, image[known], view.weight[known], normals, view.depth[known]


def feature_points(chunk: Chunk, geometry: ChunkGeometry, min_confidence: float) -> tuple[NDArray[np.int64], Array]:
    """Ids (n,), ascending, and points (n, 3) in the chunk's frame of feature tracks.

    The sparse points of the reconstructor where it has any, else confident depth at the newest observation of each.
    """
    if geometry.tracks is not None and len(geometry.tracks.ids):
        return geometry.tracks.ids, geometry.tracks.points_chunk
    ids: NDArray[np.int64] = np.empty(0, np.int64)
    points = np.empty((0, 3))
    for number in reversed(range(len(chunk.frames))):
        frame = chunk.frames[number]
        if frame.features is None:
            continue
        small = geometry.intrinsics[number]
        depth, confidence = geometry.depth[number], geometry.confidence[number]
        scaled, row, column = nearest_pixels(frame.features.uv, frame.image.shape, depth.shape)
        z = depth[row, column].astype(np.float64)
        new = (confidence[row, column] >= max(min_confidence, 1e-6)) & (z > 0) & ~np.isin(frame.features.ids, ids)
        rays = (scaled[new] - [small.cx, small.cy]) / [small.fx, small.fy]
        local = np.concatenate([rays, np.ones((len(rays), 1))], axis=1) * z[new, None]
        T = geometry.T_chunk_cam[number]
        ids = np.concatenate([ids, frame.features.ids[new]])
        points = np.concatenate([points, local @ T[:3, :3].T + T[:3, 3]])
    order = np.argsort(ids, kind="stable")
    return ids[order], points[order]
