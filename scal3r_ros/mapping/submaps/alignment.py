"""Aligns a chunk to the one before, by the frames that the two share."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.configuration import parameter
from scal3r_ros.errors import GeometryError, MappingError
from scal3r_ros.geometry import se3
from scal3r_ros.geometry.alignment import Sim3Fit, align_sim3
from scal3r_ros.geometry.projection import backproject_pixels
from scal3r_ros.geometry.sim3 import Sim3
from scal3r_ros.reconstruction.protocol import ChunkGeometry, ChunkHealth

Array = NDArray[np.float64]


@dataclass(frozen=True)
class AlignmentConfig:
    """Which points and poses align neighbouring chunks, and how many of them are needed."""

    min_confidence: float = parameter(
        0.3, "depth is used where both chunks are at least so confident", minimum=0.0, maximum=1.0
    )
    dense_points: int = parameter(
        1500, "pixels with depth that are compared, over all shared frames", unit="points", minimum=0
    )
    depth_sigma: float = parameter(0.05, "standard deviation of depth, relative to it", minimum=1e-4, maximum=1.0)
    centre_sigma: float = parameter(
        0.005, "standard deviation of a camera centre, relative to the median depth", minimum=1e-5, maximum=1.0
    )
    rotation_sigma_deg: float = parameter(
        0.2, "standard deviation of a camera's orientation", unit="degrees", minimum=1e-3, maximum=90.0
    )
    covariance_inflation: float = parameter(
        4.0, "points that share one independent error: what the covariance is widened by", minimum=1.0
    )
    min_points: int = parameter(40, "common points below which only the poses are aligned", unit="points", minimum=3)
    max_residual: float = parameter(
        0.15,
        "median residual of common points, relative to the median depth, beyond which only the poses are aligned; "
        "and of shared cameras, relative to their distance, beyond which only the last pose is",
        minimum=0.0,
    )
    min_baseline: float = parameter(
        0.02, "baseline of the shared cameras that sets a scale, relative to the median depth", minimum=0.0
    )


class AlignmentMethod(Enum):
    """What an alignment is based on, best first."""

    POINTS = "points"
    POSES = "poses"
    LAST_POSE = "last_pose"


@dataclass(frozen=True, eq=False)
class ChunkAlignment:
    """The current chunk in the frame and unit of the previous one.

    `covariance` (7, 7), positive definite, is that of δ in `S_previous_current @ Sim3.from_log(δ)`. Residuals are
    distances in the previous chunk's unit, `count` the points and camera centres behind them; `note` says what was
    missing where `method` is not POINTS, and is empty otherwise.
    """

    S_previous_current: Sim3
    covariance: Array
    method: AlignmentMethod
    residual_rms: float
    residual_median: float
    inlier_fraction: float
    count: int
    note: str

    @property
    def scale(self) -> float:
        """Length of the current chunk's unit in units of the previous one."""
        return self.S_previous_current.scale


_SYSTEMATIC_SIGMAS = {
    AlignmentMethod.POINTS: (1e-3, 5e-4, 1e-3),
    AlignmentMethod.POSES: (2e-2, 5e-3, 5e-2),
    AlignmentMethod.LAST_POSE: (1e-1, 2e-2, 5e-1),
}
"""Errors that residuals do not show: translation relative to the scene's depth, rotation in rad, log of the scale."""


def align_chunk(
    previous: ChunkGeometry, current: ChunkGeometry, shared: int, config: AlignmentConfig
) -> ChunkAlignment:
    """Align two chunks whose last and first `shared` frames, respectively, are the same.

    Tracked points that both know, depth that both are confident of, and the shared cameras' poses take part. Where
    there are too few points, or a chunk was not measured, the poses decide alone; where those span no baseline, the
    last shared pose does, and the scale stays. Deterministic.

    Raises:
        MappingError: `shared` is less than 1 or more than the frames of a chunk.
    """
    if not 1 <= shared <= min(len(previous.T_chunk_cam), len(current.T_chunk_cam)):
        raise MappingError(
            f"chunks of {len(previous.T_chunk_cam)} and {len(current.T_chunk_cam)} frames cannot share {shared}; "
            "neighbouring chunks must overlap by at least one frame"
        )
    poses = (current.T_chunk_cam[:shared], previous.T_chunk_cam[-shared:])
    unit_previous, unit_current = _unit(previous, config), _unit(current, config)
    missing = []

    for name, chunk in (("previous", previous), ("current", current)):
        if chunk.health is not ChunkHealth.OK:
            missing.append(f"the {name} chunk was not measured ({chunk.health.value})")
    if not missing:
        x, y, weights = _common_points(previous, current, shared, config)
        if len(x) < config.min_points:
            missing.append(f"only {len(x)} common points")
        else:
            fit = _fit(x, y, weights, poses, unit_previous, config)
            if fit is not None and fit.residual_median <= config.max_residual * unit_previous:
                return _alignment(fit, AlignmentMethod.POINTS, unit_current, config, "")
            missing.append("the common points do not fit")

    baselines = [float(np.linalg.norm(np.ptp(T[:, :3, 3], axis=0))) for T in poses]
    if min(baselines[0] / unit_current, baselines[1] / unit_previous) > config.min_baseline:
        nothing = np.zeros((0, 3))
        fit = _fit(nothing, nothing, np.zeros(0), poses, unit_previous, config)
        if fit is not None and fit.residual_median <= config.max_residual * baselines[1]:
            note = "aligned by camera poses alone: " + ", ".join(missing)
            return _alignment(fit, AlignmentMethod.POSES, unit_current, config, note)
        missing.append("the shared cameras do not fit")
    else:
        missing.append("the shared cameras have no baseline")

    at_last_pose = Sim3.from_rigid(poses[1][-1] @ se3.invert(poses[0][-1]))
    covariance = _systematic(AlignmentMethod.LAST_POSE, unit_current)
    note = "joined at the last shared pose, scale kept: " + ", ".join(missing)
    return ChunkAlignment(at_last_pose, covariance, AlignmentMethod.LAST_POSE, 0.0, 0.0, 1.0, 1, note)


def _common_points(
    previous: ChunkGeometry, current: ChunkGeometry, shared: int, config: AlignmentConfig
) -> tuple[Array, Array, Array]:
    """Corresponding points (n, 3) in the current and the previous chunk, and inverse variances (n,) in the latter."""
    x, y, sigma_x, sigma_y = (
        np.concatenate(parts)
        for parts in zip(
            _common_tracks(previous, current), _common_depth(previous, current, shared, config), strict=True
        )
    )
    if len(x) == 0:
        return x, y, sigma_x
    scale = np.median(np.linalg.norm(y - np.median(y, axis=0), axis=1)) / max(
        np.median(np.linalg.norm(x - np.median(x, axis=0), axis=1)), np.finfo(float).tiny
    )
    variance = np.square(scale * sigma_x) + np.square(sigma_y)
    return x, y, 1.0 / np.maximum(variance, 1e-6 * np.median(variance) + np.finfo(float).tiny)


def _common_tracks(previous: ChunkGeometry, current: ChunkGeometry) -> tuple[Array, Array, Array, Array]:
    """Points that both chunks triangulated, current before previous, and the standard deviations of each."""
    if previous.tracks is None or current.tracks is None:
        return np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0), np.zeros(0)
    _, of_current, of_previous = np.intersect1d(
        current.tracks.ids, previous.tracks.ids, assume_unique=True, return_indices=True
    )
    x, sigma_x = current.tracks.points_chunk[of_current], current.tracks.sigma[of_current].astype(np.float64)
    y, sigma_y = previous.tracks.points_chunk[of_previous], previous.tracks.sigma[of_previous].astype(np.float64)
    finite = np.isfinite(x).all(axis=1) & np.isfinite(y).all(axis=1) & np.isfinite(sigma_x) & np.isfinite(sigma_y)
    return x[finite], y[finite], sigma_x[finite], sigma_y[finite]


def _common_depth(
    previous: ChunkGeometry, current: ChunkGeometry, shared: int, config: AlignmentConfig
) -> tuple[Array, Array, Array, Array]:
    """As `_common_tracks`, for an even choice of pixels of the shared frames where both chunks are confident."""
    offset = len(previous.T_chunk_cam) - shared
    parts = []
    for k in range(shared if previous.depth.shape[1:] == current.depth.shape[1:] else 0):
        depth_x, depth_y = current.depth[k], previous.depth[offset + k]
        both = np.minimum(current.confidence[k], previous.confidence[offset + k]) >= max(config.min_confidence, 1e-6)
        pixels = np.flatnonzero(both & (depth_x > 0) & (depth_y > 0) & np.isfinite(depth_x) & np.isfinite(depth_y))
        budget = min(len(pixels), config.dense_points // shared)
        pixels = pixels[np.linspace(0, len(pixels) - 1, budget).astype(np.int64)] if budget else pixels[:0]
        uv = np.stack(np.divmod(pixels, depth_x.shape[1])[::-1], axis=1)
        sides = []
        for chunk, frame, depth in ((current, k, depth_x), (previous, offset + k, depth_y)):
            z = depth.ravel()[pixels].astype(np.float64)
            points = backproject_pixels(uv, z, chunk.intrinsics[frame])
            T = chunk.T_chunk_cam[frame]
            sides.append((points @ T[:3, :3].T + T[:3, 3], config.depth_sigma * z))
        parts.append((sides[0][0], sides[1][0], sides[0][1], sides[1][1]))
    if not parts:
        return np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0), np.zeros(0)
    x, y, sigma_x, sigma_y = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return x, y, sigma_x, sigma_y


def _unit(chunk: ChunkGeometry, config: AlignmentConfig) -> float:
    """The median depth of the chunk, its unit of length; without depth, the extent of its cameras."""
    depth = chunk.depth[(chunk.confidence >= max(config.min_confidence, 1e-6)) & (chunk.depth > 0)]
    extent = float(np.linalg.norm(np.ptp(chunk.T_chunk_cam[:, :3, 3], axis=0)))
    return float(np.median(depth)) if len(depth) else extent or 1.0


def _fit(
    x: Array, y: Array, weights: Array, poses: tuple[Array, Array], unit: float, config: AlignmentConfig
) -> Sim3Fit | None:
    """The robust similarity of points and poses, current before previous; None where there is none."""
    try:
        return align_sim3(
            x,
            y,
            weights,
            *poses,
            pose_weight=1.0 / (config.centre_sigma * unit) ** 2,
            rotation_weight=1.0 / np.deg2rad(config.rotation_sigma_deg) ** 2,
            symmetric=True,
        )
    except GeometryError:
        return None


def _alignment(
    fit: Sim3Fit, method: AlignmentMethod, unit_current: float, config: AlignmentConfig, note: str
) -> ChunkAlignment:
    covariance = config.covariance_inflation * fit.covariance + _systematic(method, unit_current)
    return ChunkAlignment(
        fit.transform,
        covariance,
        method,
        fit.residual_rms,
        fit.residual_median,
        fit.inlier_fraction,
        fit.count,
        note,
    )


def _systematic(method: AlignmentMethod, unit_current: float) -> Array:
    translation, rotation, log_scale = _SYSTEMATIC_SIGMAS[method]
    return np.diag(np.square([translation * unit_current] * 3 + [rotation] * 3 + [log_scale]))
