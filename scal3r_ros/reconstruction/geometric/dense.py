"""Dense depth and confidence for the frames of a chunk whose motion is known."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from scal3r_ros.features.pinhole import as_pinhole
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.reconstruction.geometric.plane_sweep import (
    Epipolar,
    PlaneSweepConfig,
    View,
    depth_size,
    epipolar,
    inverse_planes,
    parallax,
    sweep,
)
from scal3r_ros.reconstruction.geometric.source_views import choose_sources
from scal3r_ros.reconstruction.geometric.stereo.checks import cross_checked
from scal3r_ros.reconstruction.geometric.stereo.refinement import refined

Depths = NDArray[np.float32]

_BACKGROUND = 17
"""Window, in pixels, whose mean is taken from the grey levels: light and shadow are no detail."""
_MEDIAN = 5
_REACH = 5
"""Frames before and after whose depth is compared."""
_PIXELS = 1.5
"""How far from a pixel the point of another frame may be that confirms it."""
_TWO, _SIX = 2, 6
_TWO_CONFIRM = 0.55
"""Confidence where two frames confirm a depth; it is 1 from six on."""
_LEVELS, _NOT_USABLE, _NOT_USABLE_FROM = 1000, -32768, 32000
_SAME_SURFACE = 0.05
"""Relative difference of the depths of neighbouring pixels beyond which they are not one piece of surface."""


@dataclass(frozen=True)
class KnownDepth:
    """Depth (k, h, w) and confidence (k, h, w) of the first k frames, found with the chunk before."""

    depth: Depths
    confidence: Depths


@dataclass(frozen=True)
class _Found:
    """What one frame shows by itself: `depth` (h, w), and whether (h, w) it matches well enough, at enough parallax."""

    depth: Depths
    usable: NDArray[np.bool_]


def dense_depth(
    images: list[NDArray[np.uint8]],
    intrinsics: Intrinsics,
    T_ref_cam: NDArray[np.float64],
    points_ref: Mapping[int, NDArray[np.float64]],
    known: KnownDepth | None,
    config: PlaneSweepConfig,
    device: torch.device,
    pool: Executor,
) -> tuple[Depths, Depths, Intrinsics]:
    """Depth and confidence (s, h, w) of all frames and the intrinsics of the maps.

    `images` (h, w, 3) uint8 RGB; `points_ref[frame]` (k, 3) are scene points seen in each frame, in the reference
    frame: they give the planes and choose the sources. Frames with a `known` depth keep it. Frames are swept
    side by side in `pool`, each on one thread, so that their number changes no byte.
    """
    height, width = depth_size(intrinsics, config.width)
    small = intrinsics.scaled(width, height)
    views = [_view(image, small, T) for image, T in zip(images, T_ref_cam, strict=True)]
    depth = np.zeros((len(images), height, width), np.float32)
    confidence = np.zeros_like(depth)
    first = 0
    if known is not None and known.depth.shape[1:] == (height, width):
        first = len(known.depth)
        depth[:first], confidence[:first] = known.depth, known.confidence
    sources = {f: choose_sources(T_ref_cam, points_ref, small, f, config.sources) for f in range(first, len(images))}
    ahead = {f: _depths_ahead(points_ref[f], T_ref_cam[f]) for f in sources}
    posed = bool(np.isfinite(T_ref_cam).all())  # compiled code reads pixels where poses tell it to
    sweepable = [f for f, others in sources.items() if posed and others and len(ahead[f])]

    def sweep_frame(frame: int) -> _Found:
        seen = epipolar(views[frame], [views[other] for other in sources[frame]])
        return _found(views[frame], seen, inverse_planes(ahead[frame], config.planes), config, device)

    swept = dict(zip(sweepable, pool.map(sweep_frame, sweepable), strict=True))
    all_depths = {frame: depth[frame] for frame in range(first)}
    all_depths |= {frame: found.depth for frame, found in swept.items()}

    def check_frame(frame: int) -> tuple[Depths, Depths]:
        near = range(max(0, frame - _REACH), min(len(images), frame + _REACH + 1))
        others = [other for other in near if other != frame and other in all_depths]
        return _checked(swept[frame], views[frame], [(all_depths[o], views[o]) for o in others], config)

    for frame, (found, sure) in zip(sweepable, pool.map(check_frame, sweepable), strict=True):
        depth[frame], confidence[frame] = found, sure
    return depth, confidence, small


def prepare(config: PlaneSweepConfig) -> None:
    """Compiles what `dense_depth` needs, or reads it from numba's cache, so that the first chunk need not wait."""
    small = Intrinsics(16.0, 16.0, 7.5, 7.5, 16, 16)
    moved = np.eye(4)
    moved[0, 3] = 0.1
    images = [np.full((16, 16, 3), 90, np.uint8)] * 2
    views = [_view(image, small, T) for image, T in zip(images, (np.eye(4), moved), strict=True)]
    planes = np.linspace(0.1, 1.0, 8, dtype=np.float32)
    found = _found(views[0], epipolar(views[0], views[1:]), planes, config, torch.device("cpu"))
    _checked(found, views[0], [(found.depth, views[1])], config)


def _view(image: NDArray[np.uint8], intrinsics: Intrinsics, T: NDArray[np.float64]) -> View:
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    grey = cv2.resize(grey, (intrinsics.width, intrinsics.height), interpolation=cv2.INTER_AREA)
    levels: Depths = as_pinhole(np.asarray(grey, np.uint8), intrinsics).astype(np.float32)
    around: Depths = np.asarray(cv2.blur(levels, (_BACKGROUND, _BACKGROUND)), np.float32)
    return View(levels - around, levels, intrinsics.K, T)


def _depths_ahead(points: NDArray[np.float64], T: NDArray[np.float64]) -> NDArray[np.float64]:
    """Depths (k,) of the points in front of a camera."""
    z: NDArray[np.float64] = (points - T[:3, 3]) @ T[:3, 2]
    return z[z > 0]


def _found(view: View, seen: Epipolar, planes: Depths, config: PlaneSweepConfig, device: torch.device) -> _Found:
    swept = sweep(view, seen, planes, config, device)
    start = np.asarray(cv2.medianBlur(swept.inverse, _MEDIAN), np.float32)
    inverse, _ = refined(view.detail, seen.sources, seen.A, seen.b, start, config.noise**2)
    inverse = np.clip(inverse, planes[0], planes[-1])
    angle = parallax(inverse, seen, float(view.K[0, 0]))
    usable = (swept.cost < config.max_cost) & (angle > np.deg2rad(config.min_parallax_deg))
    return _Found(1.0 / inverse, usable)


def _checked(
    found: _Found, view: View, others: list[tuple[Depths, View]], config: PlaneSweepConfig
) -> tuple[Depths, Depths]:
    """Depth averaged with that of the frames that confirm it, and how sure it is: over 0.5 where two do, 1 from six on.

    0 where more frames look through it than confirm it, or where it is a small piece by itself.
    """
    if not others:
        return found.depth, np.zeros_like(found.depth)
    T_other_here = [np.linalg.inv(other.T_ref_cam) @ view.T_ref_cam for _, other in others]
    depth, confirmed, contradicted = cross_checked(
        found.depth,
        np.stack([other for other, _ in others]),
        view.K.astype(np.float32),
        np.asarray([T[:3, :3] for T in T_other_here], np.float32),
        np.asarray([T[:3, 3] for T in T_other_here], np.float32),
        config.consistency,
        _PIXELS,
    )
    sure = found.usable & (confirmed >= 1) & (contradicted <= confirmed)
    sure &= _in_large_pieces(depth, sure, config.min_region)
    part = (np.minimum(confirmed, _SIX).astype(np.float32) - _TWO) / (_SIX - _TWO)
    part -= np.float32(0.5) * contradicted / np.maximum(confirmed, 1)
    confidence = np.where(sure, np.clip(_TWO_CONFIRM + (1.0 - _TWO_CONFIRM) * part, 0.1, 1.0), 0.0).astype(np.float32)
    return depth, confidence


def _in_large_pieces(depth: Depths, usable: NDArray[np.bool_], pixels: int) -> NDArray[np.bool_]:
    """Which usable pixels (h, w) belong to a connected surface of more than `pixels`."""
    levels = np.full(depth.shape, _NOT_USABLE, np.int16)
    if usable.any():
        z = depth[usable]
        levels[usable] = np.clip(np.rint(np.log(z / np.median(z)) * _LEVELS), -_NOT_USABLE_FROM, _NOT_USABLE_FROM)
        cv2.filterSpeckles(levels, _NOT_USABLE, pixels, round(_LEVELS * _SAME_SURFACE))
    return levels != _NOT_USABLE
