"""Which pairs of keyframes might show the same place: alike, long apart, and alike in their neighbours, too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.mapping.loops.descriptor_index import DescriptorIndex

HITS = 12
"""Most similar keyframes looked at for each new one."""
REACH = 2
"""Neighbours on either side that are compared in step."""
SLACK = 3
"""Rows by which neighbouring keyframes may be off the step of their neighbours."""
SEPARATE = 8
"""Rows that lie between two places."""


@dataclass(frozen=True)
class LoopCandidate:
    """Rows of two keyframes that look alike; `similarity` is the mean cosine over their neighbours in step."""

    row: int
    place: int
    similarity: float


class CandidateFinder:
    """Compares new rows of an index with old ones. State: what the last few rows looked like."""

    def __init__(self) -> None:
        self._hits: dict[int, NDArray[np.int64]] = {}

    def clear(self) -> None:
        """Forget the last rows."""
        self._hits.clear()

    def find(self, index: DescriptorIndex, rows: Sequence[int], before: int, most: int) -> list[LoopCandidate]:
        """The best pairs of one of the new `rows` and one `before` a row, best first, at most one for each place.

        A pair counts only where another new keyframe found a place at the same distance from that place, forth or back.
        """
        if before <= 0 or not rows:
            return []
        found = index.search(index.descriptors(np.array(rows, np.int64)), HITS, before)[1]
        self._hits = {row: hits for row, hits in self._hits.items() if row >= rows[0] - SEPARATE}
        self._hits |= dict(zip(rows, found, strict=True))
        pairs = [
            LoopCandidate(row, int(place), _similarity_in_step(index, row, int(place), before))
            for row in rows
            for place in self._hits[row]
            if self._is_supported(row, int(place))
        ]
        pairs.sort(key=lambda pair: (-pair.similarity, pair.row, pair.place))
        chosen: list[LoopCandidate] = []
        for pair in pairs:
            if len(chosen) < most and all(abs(pair.place - other.place) > SEPARATE for other in chosen):
                chosen.append(pair)
        return chosen

    def _is_supported(self, row: int, place: int) -> bool:
        return any(
            other != row and len(hits) and int(np.abs(np.abs(hits - place) - abs(other - row)).min()) <= SLACK
            for other, hits in self._hits.items()
        )


def _similarity_in_step(index: DescriptorIndex, row: int, place: int, before: int) -> float:
    """Mean cosine of the neighbours of both rows, taken in the same or in opposite order, whichever is more."""
    steps = np.arange(-REACH, REACH + 1)
    best = -1.0
    for direction in (1, -1):
        rows, places = row + steps, place + direction * steps
        there = (rows >= 0) & (rows < len(index)) & (places >= 0) & (places < before)
        a, b = index.descriptors(rows[there]), index.descriptors(places[there])
        best = max(best, float((a * b).sum(axis=1).mean()))
    return best
