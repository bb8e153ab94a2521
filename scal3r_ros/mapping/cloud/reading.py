"""Reads the voxels of submaps as clouds in `map`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.mapping.cloud.blocks import Block, Rows
from scal3r_ros.mapping.cloud.voxels import NORMAL_STEPS, Voxels
from scal3r_ros.mapping.values import CloudChange, PointCloud

_MIX = np.uint64(0xBF58476D1CE4E5B9)


def cloud_of_blocks(
    voxels: Voxels, blocks: Sequence[Block], min_observations: int, max_points: int | None = None
) -> PointCloud:
    """The points of blocks, in their order, that have been observed often enough.

    With `max_points` an even choice of them, which is steady between calls.
    """
    shown = [block.rows[voxels.count[block.rows] >= min_observations] for block in blocks]
    if max_points is not None and sum(map(len, shown)) > max_points:
        every = np.concatenate(shown)
        rank = voxels.key[every].view(np.uint64) * _MIX
        chosen = np.zeros(len(voxels), bool)
        chosen[every[np.argpartition(rank, max_points)[:max_points]]] = True
        shown = [rows[chosen[rows]] for rows in shown]
    return PointCloud.joined(
        [cloud_of(voxels, rows, block.submap).moved(block.anchor) for block, rows in zip(blocks, shown, strict=True)]
    )


def change_of(voxels: Voxels, blocks: Sequence[Block], min_observations: int, since: int, now: int) -> CloudChange:
    """What became of blocks since the revision `since`, for a map that has the revision `now`."""
    changed = frozenset(block.submap for block in blocks if block.revision >= since)
    present = frozenset(block.submap for block in blocks)
    again = [block for block in blocks if block.submap in changed]
    return CloudChange(now, changed, present, cloud_of_blocks(voxels, again, min_observations))


def submaps_of(serials: NDArray[np.int32], blocks: Mapping[int, Block]) -> NDArray[np.int32]:
    """The submaps (n,) of blocks of these serial numbers (n,)."""
    unique, which = np.unique(serials, return_inverse=True)
    return np.array([blocks[serial].submap for serial in unique.tolist()], np.int32)[which]


def cloud_of(voxels: Voxels, rows: Rows, submap: int) -> PointCloud:
    """The points of these rows, all of one submap, in its frame."""
    normals = voxels.normal.take(rows, axis=0).astype(np.float32) / np.float32(NORMAL_STEPS)
    return PointCloud(
        voxels.point.take(rows, axis=0),
        voxels.colour.take(rows, axis=0),
        normals,
        confidence_of(voxels.weight.take(rows)),
        np.full(len(rows), submap, np.int32),
    )


def confidence_of(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Confidence (n,) in [0, 1) of summed weights w (n,): w / (1 + w).

    0.5 is one sure measurement at the depth that is the median of its chunk, 0.9 are nine of them.
    """
    return (weight / (1.0 + weight)).astype(np.float32)
