"""What a point map keeps of each submap beside its points, and how that is stored."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.geometry.sim3 import Sim3, rows_of, similarity_of

Rows = NDArray[np.int32]

_RECORD = np.dtype(
    [
        ("serial", np.int64),
        ("submap", np.int64),
        ("level", np.int64),
        ("size", np.int64),
        ("corners", np.float64, (8, 3)),
        ("anchors", np.float64, (2, 13)),
    ]
)


@dataclass(eq=False)
class Block:
    """The voxels that one submap was first to fill: `rows` of the voxel array.

    `level` doublings of the voxel size have thinned it; the keys of its voxels were computed with `key_anchor`;
    `corners` (8, 3) bound it in submap coordinates. `revision` is that of the map when the block changed last.
    """

    submap: int
    level: int
    rows: Rows
    corners: NDArray[np.float64]
    anchor: Sim3
    key_anchor: Sim3
    revision: int = 0


def corners_of(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Corners (8, 3) of the box around points (n, 3)."""
    bounds = np.stack([points.min(axis=0), points.max(axis=0)])
    return np.array([[bounds[i, 0], bounds[j, 1], bounds[k, 2]] for i, j, k in itertools.product((0, 1), repeat=3)])


def rows_in_order(blocks: Iterable[Block]) -> Rows:
    """The rows of all blocks, block after block."""
    return np.concatenate([np.zeros(0, np.int32), *(block.rows for block in blocks)])


def stored(blocks: Mapping[int, Block]) -> NDArray[Any]:
    """Blocks by serial number as an array of records, whose points follow each other in the same order."""
    records = np.zeros(len(blocks), _RECORD)
    for record, (serial, block) in zip(records, blocks.items(), strict=True):
        for name, value in (("serial", serial), ("submap", block.submap), ("level", block.level)):
            record[name] = value
        record["size"], record["corners"] = len(block.rows), block.corners
        record["anchors"] = rows_of((block.anchor, block.key_anchor))
    return records


def restored(records: NDArray[Any]) -> Iterator[tuple[int, Block]]:
    """The blocks of such records by serial number; their rows count from 0 in the order of the records."""
    start = 0
    for record in records:
        rows = np.arange(start, start + record["size"], dtype=np.int32)
        anchor, key_anchor = (similarity_of(row) for row in record["anchors"])
        corners = record["corners"].copy()
        yield (
            int(record["serial"]),
            Block(int(record["submap"]), int(record["level"]), rows, corners, anchor, key_anchor),
        )
        start += len(rows)
