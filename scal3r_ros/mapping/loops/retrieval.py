"""Loop candidates: pairs of keyframes that look alike, and whose neighbours look alike, too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.mapping.loops.descriptor_index import DescriptorIndex

HITS = 12
"""Most similar keyframes considered for each new one."""
REACH = 2
"""Neighbours on either side that are compared in step."""
SLACK = 3
"""Rows by which the match of a neighbouring keyframe may be shifted."""
SEPARATE = 8
"""Rows between two candidates for different places."""


@dataclass(frozen=True)
class LoopCandidate:
    """Rows of two keyframes that look alike; `similarity` is the mean cosine over their neighbours in step."""

    new_row: int
    old_row: int
    similarity: float


class CandidateFinder:
    """Compares new rows of an index with old ones. State: the matches of the last few rows."""

    def __init__(self) -> None:
        self._hits: dict[int, NDArray[np.int64]] = {}

    def clear(self) -> None:
        """Forget the last rows."""
        self._hits.clear()

    def find(self, index: DescriptorIndex, rows: Sequence[int], before: int, most: int) -> list[LoopCandidate]:
        """The best pairs of one of the new `rows` with a row below `before`: at most `most`, one a place, best first.

        A pair counts only if another recent keyframe has a match at the same distance along the old drive, in either
        direction.
        """
        if before <= 0 or not rows:
            return []
        found = index.search(index.descriptors(np.array(rows, np.int64)), HITS, before)[1]
        self._hits = {row: hits for row, hits in self._hits.items() if row >= rows[0] - SEPARATE}
        self._hits |= dict(zip(rows, found, strict=True))
        pairs = [
            LoopCandidate(row, int(old), _similarity_in_step(index, row, int(old), before))
            for row in rows
            for old in self._hits[row]
            if self._is_supported(row, int(old))
        ]
        pairs.sort(key=lambda pair: (-pair.similarity, pair.new_row, pair.old_row))
        chosen: list[LoopCandidate] = []
        for pair in pairs:
            if len(chosen) < most and all(abs(pair.old_row - other.old_row) > SEPARATE for other in chosen):
                chosen.append(pair)
        return chosen

    def find_each(self, index: DescriptorIndex, rows: Sequence[int], olds: NDArray[np.int64]) -> list[LoopCandidate]:
        """For each of the new `rows` the row among `olds` (n,) that looks most alike, best first; all are verified."""
        if not len(olds) or not rows:
            return []
        similarity = index.descriptors(np.array(rows, np.int64)) @ index.descriptors(olds).T
        best = similarity.argmax(axis=1)
        pairs = [
            LoopCandidate(row, int(olds[place]), float(similarity[number, place]))
            for number, (row, place) in enumerate(zip(rows, best, strict=True))
        ]
        return sorted(pairs, key=lambda pair: (-pair.similarity, pair.new_row))

    def _is_supported(self, row: int, old: int) -> bool:
        return any(
            other != row and len(hits) and int(np.abs(np.abs(hits - old) - abs(other - row)).min()) <= SLACK
            for other, hits in self._hits.items()
        )


def _similarity_in_step(index: DescriptorIndex, row: int, old: int, before: int) -> float:
    """Mean cosine of the neighbours of both rows, in the same or in opposite order, whichever is larger."""
    steps = np.arange(-REACH, REACH + 1)
    best = -1.0
    for direction in (1, -1):
        rows, olds = row + steps, old + direction * steps
        inside = (rows >= 0) & (rows < len(index)) & (olds >= 0) & (olds < before)
        a, b = index.descriptors(rows[inside]), index.descriptors(olds[inside])
        best = max(best, float((a * b).sum(axis=1).mean()))
    return best
