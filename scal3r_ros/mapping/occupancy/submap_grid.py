"""The occupancy grid of one submap, on the ground under its cameras, as compressed bytes."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Votes = NDArray[np.int8]
"""(rows, columns): below 0 rays passed, above 0 they ended at an obstacle, 0 where nothing is known."""


@dataclass(frozen=True, eq=False)
class SubmapGrid:
    """Votes on a level grid: `M_submap_cell` (3, 3) takes (column, row, 1) to the point of the ground in the submap.

    Whole numbers are centres of cells. `shape` is (rows, columns), `packed` their votes, compressed.
    """

    M_submap_cell: Array
    shape: tuple[int, int]
    packed: bytes

    @classmethod
    def of(cls, M_submap_cell: Array, votes: Votes) -> SubmapGrid | None:
        """The part of a grid that anything is known of; None where that is nothing."""
        rows, columns = np.flatnonzero(votes.any(axis=1)), np.flatnonzero(votes.any(axis=0))
        if not len(rows):
            return None
        known = votes[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        shift = np.array([[1.0, 0.0, columns[0]], [0.0, 1.0, rows[0]], [0.0, 0.0, 1.0]])
        return cls(M_submap_cell @ shift, known.shape, zlib.compress(known.tobytes(), 6))

    @property
    def votes(self) -> Votes:
        """The votes of every cell."""
        return np.frombuffer(zlib.decompress(self.packed), np.int8).reshape(self.shape)
