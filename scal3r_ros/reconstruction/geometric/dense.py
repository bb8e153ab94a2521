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
    PlaneSweepConfig,
    SweptDepth,
    View,
    consistency,
    depth_size,
    normalised,
    parallax,
    sweep,
    textured,
)
from scal3r_ros.reconstruction.geometric.source_views import choose_sources

Depths = NDArray[np.float32]


@dataclass(frozen=True)
class KnownDepth:
    """Depth (k, h, w) and confidence (k, h, w) of the first k frames, found with the chunk before."""

    depth: Depths
    confidence: Depths


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
    frame: they give the range of depths and choose the sources. Frames with a `known` depth keep it. Frames are swept
    side by side in `pool`: whole frames on single threads scale where threads inside an operation wait for each other.
    """
    height, width = depth_size(intrinsics, config.width)
    small = intrinsics.scaled(width, height)
    views = [_view(image, small, T, config, device) for image, T in zip(images, T_ref_cam, strict=True)]
    depth = np.zeros((len(images), height, width), np.float32)
    confidence = np.zeros_like(depth)
    first = 0
    if known is not None and known.depth.shape[1:] == (height, width):
        first = len(known.depth)
        depth[:first], confidence[:first] = known.depth, known.confidence
    sources = {f: choose_sources(T_ref_cam, points_ref, small, f, config.sources) for f in range(first, len(images))}

    def sweep_frame(frame: int) -> SweptDepth:
        near, far = _depth_range(points_ref[frame], T_ref_cam[frame])
        with torch.inference_mode():
            return sweep(views[frame], [views[other] for other in sources[frame]], near, far, config)

    in_front = {frame: (points_ref[frame] - T_ref_cam[frame, :3, 3]) @ T_ref_cam[frame, :3, 2] > 0 for frame in sources}
    tellable = [frame for frame, others in sources.items() if others and in_front[frame].any()]
    swept = dict(zip(tellable, pool.map(sweep_frame, tellable), strict=True))
    all_depths = {frame: torch.from_numpy(depth[frame]).to(device) for frame in range(first)}
    all_depths |= {frame: result.depth for frame, result in swept.items()}

    def judge_frame(frame: int) -> Depths:
        neighbours = [other for other in _neighbours(frame, sources[frame], len(images)) if other in all_depths]
        with torch.inference_mode():
            return _confidence(swept[frame], frame, sources[frame], neighbours, all_depths, views, config)

    for frame, judged in zip(tellable, pool.map(judge_frame, tellable), strict=True):
        depth[frame], confidence[frame] = swept[frame].depth.cpu().numpy(), judged
    return depth, confidence, small


def _view(
    image: NDArray[np.uint8],
    intrinsics: Intrinsics,
    T: NDArray[np.float64],
    config: PlaneSweepConfig,
    device: torch.device,
) -> View:
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    grey = cv2.resize(grey, (intrinsics.width, intrinsics.height), interpolation=cv2.INTER_AREA)
    grey = as_pinhole(np.asarray(grey, np.uint8), intrinsics)
    on_device = torch.from_numpy(grey).to(device, torch.float32)
    return View(
        normalised(on_device),
        textured(on_device, config.min_texture),
        torch.from_numpy(intrinsics.K).to(device, torch.float32),
        torch.from_numpy(T).to(device, torch.float32),
    )


def _depth_range(points: NDArray[np.float64], T: NDArray[np.float64]) -> tuple[float, float]:
    """Nearest and farthest plane: a little nearer than the nearest points, far enough to stand for infinity."""
    z = (points - T[:3, 3]) @ T[:3, 2]
    near, far = np.percentile(z[z > 0], [2.0, 98.0])
    return 0.6 * float(near), 6.0 * float(far)


def _neighbours(frame: int, sources: list[int], frames: int) -> list[int]:
    """Frames whose depth is compared: the sources and both neighbours in time."""
    return sorted({*sources, frame - 1, frame + 1} & set(range(frames)) - {frame})


def _confidence(
    result: SweptDepth,
    frame: int,
    sources: list[int],
    neighbours: list[int],
    depths: Mapping[int, torch.Tensor],
    views: list[View],
    config: PlaneSweepConfig,
) -> Depths:
    """0 where the match is poor, nearly parallel or confirmed by no other frame; over 0.5 where two confirm it."""
    view = views[frame]
    angle = torch.stack([parallax(result.depth, view, views[s]) for s in sources]).amax(0)
    agreeing = torch.stack(
        [consistency(result.depth, view, depths[n], views[n]) < config.consistency for n in neighbours]
    ).sum(0) if neighbours else torch.zeros_like(result.depth)  # fmt: skip
    usable = (
        view.textured
        & (result.cost < config.max_cost)
        & (result.margin > config.min_margin)
        & (angle > np.deg2rad(config.min_parallax_deg))
        & (agreeing >= 1)
    )
    confirmed = 0.3 + 0.25 * (agreeing - 1).clamp(0, 2) + 0.2 * (result.margin / 0.3).clamp(0, 1)
    confidence: Depths = torch.where(usable, confirmed, 0.0).cpu().numpy().astype(np.float32)
    return confidence
