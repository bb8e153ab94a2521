"""How voxels take in what is new: points that fall in, and depth maps that see their points or look through them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.mapping.cloud.visibility import Looks
from scal3r_ros.mapping.cloud.voxels import MOST_COUNTED, NORMAL_STEPS, Samples, Voxels, as_bytes, unit

LEAST_THROUGH = 2
"""Depth maps that must look through a point before it goes: one alone may be wrong."""

Counts = NDArray[np.uint16]


def fuse(known: Voxels, seen: Voxels, means: Samples, M: NDArray[np.float64]) -> None:
    """Takes new observations of voxels into their running means; `M` (n, 3, 4) leads from `map` to their frames."""
    points = np.einsum("nij,nj->ni", M[:, :, :3], means.points) + M[:, :, 3]
    weight = known.weight + seen.weight
    share = (seen.weight / weight)[:, None]
    known.point += share * (points - known.point).astype(np.float32)
    known.colour = np.rint(known.colour + share * (seen.colour - known.colour.astype(np.float32))).astype(np.uint8)
    normals = unit(np.einsum("nij,nj->ni", M[:, :, :3], means.normals))
    known.normal = as_bytes(unit((1 - share) * known.normal / NORMAL_STEPS + share * normals))
    distances = (means.distances * np.linalg.norm(M[:, 0, :3], axis=1)).astype(np.float32)
    known.distance = np.minimum(known.distance, distances)
    known.weight = weight
    known.count = _sum(known.count, seen.count)


def confirm(known: Voxels, looks: Looks) -> None:
    """Moves points along the rays to the surfaces that depth maps see, by their weights, and counts who sees what."""
    known.weight = known.weight + looks.weight
    known.point += looks.step / known.weight[:, None]
    known.count, known.seen = _sum(known.count, looks.seen), _sum(known.seen, looks.seen)
    known.through = _sum(known.through, looks.through)


def gone(known: Voxels, looks: Looks) -> NDArray[np.bool_]:
    """Which points are not of the map any more: more depth maps look through them than see them, or one sees better."""
    looked_through = (known.through >= LEAST_THROUGH) & (known.through > known.seen)
    return np.asarray(looked_through | looks.replaced)


def _sum(a: Counts, b: Counts) -> Counts:
    return np.minimum(a.astype(np.int64) + b, MOST_COUNTED).astype(np.uint16)
