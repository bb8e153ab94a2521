"""Bundle adjustment of a network's chunk by feature tracks, with the scale of the network's depth.

The adjustment starts at the network's poses. The network's depth tells how far the tracked points roughly are, which a
single camera cannot know, and so keeps the scale. In the end the depth is fitted to the adjusted points.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.configuration import parameter
from scal3r_ros.features.klt import KltConfig
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.reconstruction.geometric.bundle import Adjusted, DistancePriors, PosePrior, adjust
from scal3r_ros.reconstruction.geometric.motion.values import start_from
from scal3r_ros.reconstruction.geometric.tracks import features_of, track_table
from scal3r_ros.reconstruction.geometric.triangulation import TrackTable, consistent, reprojection, triangulate
from scal3r_ros.reconstruction.protocol import Chunk, ChunkGeometry, ChunkHealth, Previous, Tracks
from scal3r_ros.reconstruction.refinement.depth_fit import Fit, fitted_depth

Array = NDArray[np.float64]

_FIXED_SIGMA = 1e-5
"""Of a fixed pose: rotation (rad) and position."""
_SPREAD_AT_HALF = 0.15
"""Spread of log(depth) among the points around a pixel that halves the square of its confidence."""


@dataclass(frozen=True)
class RefinementConfig:
    """How a network's chunk is refined by its feature tracks."""

    sigma: float = parameter(
        0.5, "standard deviation of a tracked image point", unit="pixels", minimum=0.05, maximum=10.0
    )
    outlier: float = parameter(
        4.0, "image residual beyond which an observation is taken out at the end", unit="sigma", minimum=1.0,
        maximum=20.0,
    )  # fmt: skip
    depth_sigma: float = parameter(
        0.2, "standard deviation of the network's depth at the start, as a share of it; later it is measured",
        minimum=0.01, maximum=1.0,
    )  # fmt: skip
    min_tracks: int = parameter(
        40, "tracks below which a chunk stays as the network predicted it", minimum=10, maximum=1000
    )
    min_inliers: float = parameter(
        0.5, "share of the tracks that must agree with the result; below, the chunk stays as predicted", minimum=0.05,
        maximum=1.0,
    )  # fmt: skip
    iterations: int = parameter(10, "steps of each of the bundle adjustments at most", minimum=1, maximum=100)
    fixed_frames: int = parameter(
        6, "shared frames that keep their poses of the chunk before", unit="frames", minimum=1, maximum=64
    )


@dataclass(frozen=True)
class _PredictedDepth:
    """The network's `depth` (m,), 0 where unknown, and `confidence` (m,) at each observation of a table."""

    depth: Array
    confidence: Array


@dataclass(frozen=True)
class _Start:
    """Poses `T` (S, 4, 4), of which the first `fixed` stay, and points (n, 3) of those tracks that are `known` (n,)."""

    T: Array
    points: Array
    known: NDArray[np.bool_]
    fixed: int


@dataclass(frozen=True)
class BundleRefinement:
    """The refinement as a step of a reconstructor (a `ChunkStep`)."""

    config: RefinementConfig
    klt: KltConfig

    def __call__(self, chunk: Chunk, geometry: ChunkGeometry, previous: Previous | None) -> ChunkGeometry:
        """`geometry`, refined where the tracks suffice; its note says where they do not."""
        return refined(chunk, geometry, self.config, self.klt, previous)


def refined(
    chunk: Chunk, geometry: ChunkGeometry, config: RefinementConfig, klt: KltConfig, previous: Previous | None = None
) -> ChunkGeometry:
    """`geometry` with adjusted poses, its depth fitted to the adjusted points, and those points as tracks.

    The confidence becomes the geometric mean of the predicted one and of how far the points around a pixel agree; in
    frames with too few points it stays.

    The gauge stays: the first camera is fixed, and the scale is that in which tracks and depth agree best. Shared
    frames keep their relative poses of the chunk before, at the scale of this one's depth.
    """
    if geometry.health is not ChunkHealth.OK:
        return geometry
    started = time.perf_counter()
    cameras = [
        frame.intrinsics or small.scaled(frame.image.shape[1], frame.image.shape[0])
        for frame, small in zip(chunk.frames, geometry.intrinsics, strict=True)
    ]
    table = track_table(features_of(chunk, klt), cameras)
    predicted = _predicted_at(table, geometry)
    sigma = config.sigma / float(np.median([camera.fx for camera in cameras]))
    start = _Start(geometry.T_chunk_cam, *_points_from_depth(table, geometry.T_chunk_cam, predicted), 1)
    if previous is not None and previous.geometry.health is ChunkHealth.OK:
        start = _from_previous(start, chunk, previous, table, predicted, config)
    table, points, adjusted = _adjusted(table, start, predicted, sigma, config)
    if adjusted is None:
        return replace(geometry, note=_with(geometry.note, "too few tracks agree to refine it"))
    used = np.unique(table.track)
    moved = time.perf_counter()
    T, points = adjusted.T_ref_cam, adjusted.points
    fits = [_fitted(number, geometry, table, points, T) for number in range(len(chunk.frames))]
    timings = {**geometry.timings, "refine_s": moved - started, "fit_s": time.perf_counter() - moved}
    angle, depth_of = triangulate(table, T).angle[used], np.zeros(len(table.ids))
    np.maximum.at(depth_of, table.track, reprojection(table, points, T)[1])
    spread = depth_of[used] * sigma / np.maximum(angle, 1e-3)
    return replace(
        geometry,
        T_chunk_cam=T,
        depth=np.stack([fit.depth for fit in fits]),
        confidence=np.stack([_agreed_confidence(own, fit) for own, fit in zip(geometry.confidence, fits, strict=True)]),
        tracks=Tracks(table.ids[used], points[used], spread.astype(np.float32)),
        timings=timings,
    )


def _from_previous(
    start: _Start,
    chunk: Chunk,
    previous: Previous,
    table: TrackTable,
    predicted: _PredictedDepth,
    config: RefinementConfig,
) -> _Start:
    """The start with shared frames and known points of the chunk before; unchanged where too few are known.

    The change of scale between the two chunks is that of the predicted depth of the known points.
    """
    before = start_from(chunk, previous, 1.0)
    if before is None:
        return start
    shared, (known_points, common) = chunk.shared, before.points_of(table)
    rows = common[table.track] & (table.frame < shared) & (predicted.depth > 0)
    z = reprojection(table.select(rows), known_points, before.T_ref_cam)[1]
    ratio = predicted.depth[rows][z > 0] / z[z > 0]
    if len(ratio) < config.min_tracks:
        return start
    scale = float(np.exp(np.median(np.log(ratio))))
    T, T_first = start.T.copy(), start.T[0]
    T_shared = before.T_ref_cam.copy()
    T_shared[:, :3, 3] *= scale
    T[:shared] = T_first @ T_shared
    T[shared:] = T[shared - 1] @ np.linalg.inv(start.T[shared - 1]) @ start.T[shared:]
    moved = scale * known_points @ T_first[:3, :3].T + T_first[:3, 3]
    points = np.where(common[:, None], moved, start.points)
    return _Start(T, points, start.known | common, min(config.fixed_frames, shared))


def _adjusted(
    table: TrackTable, start: _Start, predicted: _PredictedDepth, sigma: float, config: RefinementConfig
) -> tuple[TrackTable, Array, Adjusted | None]:
    """Three adjustments, from coarse to fine: the observations that agree with the last, and that; None if too few."""
    T, points, known = start.T, start.points, start.known
    enough = max(config.min_tracks, config.min_inliers * len(table.ids))
    priors = [PosePrior(frame, T[frame], _FIXED_SIGMA, _FIXED_SIGMA) for frame in range(start.fixed)]
    depth_sigma, result = config.depth_sigma, None
    for looseness in (8.0, 2.0, 1.0):
        kept = consistent(table, points, known, T, looseness * 4.0 * config.outlier * sigma)
        if len(np.unique(kept.track)) < enough or len(np.unique(kept.frame)) < len(T):
            return table, points, None
        distances = _distances(kept, predicted, table, depth_sigma)
        loose = sigma * max(1.0, looseness)
        result = adjust(kept, T, points, priors, sigma=loose, max_iterations=config.iterations, distances=distances)
        T, points = result.T_ref_cam, result.points
        depth_sigma = _measured_sigma(table, points, known, T, predicted)
    final = consistent(table, points, known, T, config.outlier * sigma)
    if result is None or len(np.unique(final.track)) < enough or len(np.unique(final.frame)) < len(T):
        return table, points, None
    return final, points, result


def _predicted_at(table: TrackTable, geometry: ChunkGeometry) -> _PredictedDepth:
    """The network's depth and confidence at the observations of the tracks."""
    depth, confidence = np.zeros(len(table.track)), np.zeros(len(table.track))
    for number, small in enumerate(geometry.intrinsics):
        rows = np.flatnonzero(table.frame == number)
        column, row, inside = _pixels(table.xy[rows], small)
        depth[rows] = np.where(inside, geometry.depth[number][row, column], 0.0)
        confidence[rows] = np.where(inside, geometry.confidence[number][row, column], 0.0)
    depth[confidence <= 0] = 0.0
    return _PredictedDepth(depth, confidence)


def _pixels(xy: Array, small: Intrinsics) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    uv = xy * [small.fx, small.fy] + [small.cx, small.cy]
    inside: NDArray[np.bool_] = np.all((uv > -0.5) & (uv < [small.width - 0.5, small.height - 0.5]), axis=1)
    nearest = np.rint(np.where(inside[:, None], uv, 0.0)).astype(np.int64)
    return nearest[:, 0], nearest[:, 1], inside


def _points_from_depth(table: TrackTable, T: Array, predicted: _PredictedDepth) -> tuple[Array, NDArray[np.bool_]]:
    """A point (n, 3) for each track from the depth at its most confident observation, and which tracks have one."""
    best = _most_confident(table, predicted)
    rows = best[best >= 0]
    rays = np.concatenate([table.xy[rows], np.ones((len(rows), 1))], axis=1) * predicted.depth[rows, None]
    pose = T[table.frame[rows]]
    points, known = np.zeros((len(table.ids), 3)), best >= 0
    points[known] = np.einsum("nij,nj->ni", pose[:, :3, :3], rays) + pose[:, :3, 3]
    return points, known


def _most_confident(table: TrackTable, predicted: _PredictedDepth) -> NDArray[np.int64]:
    """Row (n,) of each track's observation with the highest confidence in its depth; −1 where none has depth."""
    best = np.full(len(table.ids), -1)
    order = np.argsort(predicted.confidence, kind="stable")
    order = order[predicted.depth[order] > 0]
    best[table.track[order]] = order
    return best


def _distances(kept: TrackTable, predicted: _PredictedDepth, table: TrackTable, sigma: float) -> DistancePriors:
    best = _most_confident(table, predicted)
    rows = best[np.unique(kept.track)]
    rows = rows[np.isin(table.frame[rows], kept.frame) & (rows >= 0)]
    length = np.sqrt(1.0 + np.square(table.xy[rows]).sum(axis=1))
    return DistancePriors(table.track[rows], table.frame[rows], predicted.depth[rows] * length, sigma)


def _measured_sigma(
    table: TrackTable, points: Array, known: NDArray[np.bool_], T: Array, predicted: _PredictedDepth
) -> float:
    """Robust relative deviation of the network's depth from that of the points, at least two percent."""
    z = reprojection(table, points, T)[1]
    rows = known[table.track] & (predicted.depth > 0) & (z > 0)
    off = np.log(predicted.depth[rows] / z[rows])
    return float(np.clip(1.48 * np.median(np.abs(off - np.median(off))), 0.02, 1.0))


def _fitted(number: int, geometry: ChunkGeometry, table: TrackTable, points: Array, T: Array) -> Fit:
    rows = table.frame == number
    z = reprojection(table.select(rows), points, T)[1]
    column, row, inside = _pixels(table.xy[rows], geometry.intrinsics[number])
    return fitted_depth(geometry.depth[number], column[inside], row[inside], z[inside])


def _agreed_confidence(confidence: NDArray[np.float32], fit: Fit) -> NDArray[np.float32]:
    """Confidence (h, w) after a fit: as predicted where there were too few points."""
    if fit.spread is None:
        return confidence
    return np.sqrt(confidence / (1.0 + np.square(fit.spread / _SPREAD_AT_HALF)))


def _with(note: str, more: str) -> str:
    return f"{note}; {more}" if note else more
