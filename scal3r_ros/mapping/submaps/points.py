"""Points of a chunk for the map, with colours, and for the tracker, by feature track."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from scal3r_ros.features.pinhole import as_pinhole
from scal3r_ros.geometry.projection import backproject, nearest_pixels
from scal3r_ros.reconstruction.protocol import Chunk, ChunkGeometry

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ColouredPoints:
    """`points` (n, 3) float32 in the chunk's frame, their `colours` (n, 3) uint8 RGB and `weights` (n,) float32."""

    points: NDArray[np.float32]
    colours: NDArray[np.uint8]
    weights: NDArray[np.float32]


def coloured_points(chunk: Chunk, geometry: ChunkGeometry, min_confidence: float) -> ColouredPoints:
    """The confident points of the frames that the chunk does not share with the one before.

    A point weighs its confidence over its depth squared (in units of the chunk's median depth): near views are
    more precise.
    """
    points, colours, weights = [], [], []
    for frame, T, depth, confidence, intrinsics in list(
        zip(chunk.frames, geometry.T_chunk_cam, geometry.depth, geometry.confidence, geometry.intrinsics, strict=True)
    )[chunk.shared :]:
        confident = (confidence >= max(min_confidence, 1e-6)) & (depth > 0) & np.isfinite(depth)
        height, width = depth.shape
        image = np.asarray(cv2.resize(frame.image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
        image = as_pinhole(image, intrinsics)
        local = backproject(depth, intrinsics)[confident]
        points.append((local @ T[:3, :3].T + T[:3, 3]).astype(np.float32))
        colours.append(image[confident])
        weights.append(confidence[confident] / np.square(depth[confident]))
    if not points or not sum(map(len, points)):
        return ColouredPoints(np.empty((0, 3), np.float32), np.empty((0, 3), np.uint8), np.empty(0, np.float32))
    weight = np.concatenate(weights)
    relative = (weight / np.median(weight)).astype(np.float32)
    return ColouredPoints(np.concatenate(points), np.concatenate(colours), relative)


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
