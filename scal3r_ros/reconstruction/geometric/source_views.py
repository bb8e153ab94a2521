"""Which frames of a chunk tell the depth of which: seen points in common, at an angle, at a like distance."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.geometry.intrinsics import Intrinsics

BEST_ANGLE = np.deg2rad(5.0)
WORST_SCALE = 2.0


def choose_sources(
    T_ref_cam: NDArray[np.float64],
    points_ref: Mapping[int, NDArray[np.float64]],
    intrinsics: Intrinsics,
    frame: int,
    count: int,
) -> list[int]:
    """The up to `count` frames to compare `frame` with, best first.

    `points_ref[frame]` (k, 3) are scene points seen in `frame`. A source scores by the share of them inside its
    image, by their
    median angle up to five degrees (more makes patches differ), and loses where they appear at twice or half the size.
    """
    points = points_ref[frame]
    if len(points) < 8:
        return []
    centre = T_ref_cam[frame, :3, 3]
    depth_here = (points - centre) @ T_ref_cam[frame, :3, 2]
    score = np.zeros(len(T_ref_cam))
    for other, T in enumerate(T_ref_cam):
        if other == frame:
            continue
        local = (points - T[:3, 3]) @ T[:3, :3]
        z = np.maximum(local[:, 2], 1e-9)
        u = intrinsics.fx * local[:, 0] / z + intrinsics.cx
        v = intrinsics.fy * local[:, 1] / z + intrinsics.cy
        inside = (local[:, 2] > 0) & (u >= 0) & (u < intrinsics.width) & (v >= 0) & (v < intrinsics.height)
        if inside.sum() < 8:
            continue
        rays, other_rays = points[inside] - centre, points[inside] - T[:3, 3]
        cosine = (rays * other_rays).sum(1) / (np.linalg.norm(rays, axis=1) * np.linalg.norm(other_rays, axis=1))
        angle = np.median(np.arccos(np.clip(cosine, -1.0, 1.0)))
        size = np.abs(np.log(z[inside] / np.maximum(depth_here[inside], 1e-9))).mean() / np.log(WORST_SCALE)
        parallax = min(angle / BEST_ANGLE, 1.0) / max(1.0, angle / (3.0 * BEST_ANGLE))
        score[other] = inside.mean() * parallax * max(0.0, 1.0 - size)
    order = np.argsort(-score, kind="stable")[:count]
    return [int(i) for i in order if score[i] > 0.02]
