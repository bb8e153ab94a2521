"""Point clouds as few bytes: positions in steps of their bounding box, ordered so that neighbours compress."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.mapping.cloud.voxels import NORMAL_STEPS, as_bytes
from scal3r_ros.mapping.values import PointCloud

STEPS = 65535
"""Steps that a side of the bounding box is divided into: half a step is the largest error, 0.8 mm in 100 m."""


def packed(cloud: PointCloud) -> dict[str, NDArray[Any]]:
    """The cloud as arrays: `box` (2, 3) float64, `steps` (n, 3) uint16 as differences, `colours` (n, 3) uint8;
    `normals` (n, 3) int8 where there are any.

    The order of the points is not kept. Points must be finite.
    """
    if not len(cloud.points):
        steps, normals = np.zeros((0, 3), np.uint16), np.zeros((0, 3), np.int8)
        return {"box": np.zeros((2, 3)), "steps": steps, "colours": cloud.colours, "normals": normals}
    points = cloud.points.astype(np.float64)
    low, high = points.min(axis=0), points.max(axis=0)
    steps = np.rint((points - low) * (STEPS / np.maximum(high - low, 1e-12))).astype(np.uint16)
    order = np.lexsort(steps.T >> 8)  # along columns of the box, a 256th of it wide
    steps = steps[order]
    return {
        "box": np.stack([low, high]),
        "steps": np.diff(steps, axis=0, prepend=np.zeros((1, 3), np.uint16)),  # wraps around, as the sum does
        "colours": cloud.colours[order],
        **({} if cloud.normals is None else {"normals": as_bytes(cloud.normals[order])}),
    }


def unpacked(arrays: Mapping[str, NDArray[Any]]) -> PointCloud:
    """The cloud of `packed` arrays."""
    low, high = arrays["box"]
    steps = np.cumsum(arrays["steps"], axis=0, dtype=np.uint16)
    points = low + steps * (np.maximum(high - low, 1e-12) / STEPS)
    normals = arrays["normals"].astype(np.float32) / np.float32(NORMAL_STEPS) if "normals" in arrays else None
    return PointCloud(points.astype(np.float32), arrays["colours"], normals)
