"""Candidates: a stretch seen again is found, forth and back, and goes before what looks alike by chance."""

from __future__ import annotations

import numpy as np

from scal3r_ros.mapping.loops.descriptor_index import DescriptorIndex
from scal3r_ros.mapping.loops.retrieval import CandidateFinder

SIZE = 256


def places(count: int, seed: int) -> np.ndarray:
    x = np.random.default_rng(seed).normal(size=(count, SIZE)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def seen_again(original: np.ndarray, seed: int = 9) -> np.ndarray:
    return original + 0.7 * places(len(original), seed)


def indexed(*parts: np.ndarray) -> DescriptorIndex:
    index = DescriptorIndex()
    for part in parts:
        index.add(part)
    return index


def test_a_stretch_seen_again_is_found_in_either_direction() -> None:
    old = places(60, 0)
    for again in (seen_again(old[20:24]), seen_again(old[20:24][::-1])):
        found = CandidateFinder().find(indexed(old, again), [60, 61, 62, 63], 50, 3)
        assert found
        assert found[0].new_row in range(60, 64)
        assert found[0].old_row in range(20, 24)
        best = {60: 20, 61: 21, 62: 22, 63: 23} if again[0] @ old[20] > 0.5 else {60: 23, 61: 22, 62: 21, 63: 20}
        assert best[found[0].new_row] == found[0].old_row


def test_one_place_is_given_once() -> None:
    old = places(80, 1)
    found = CandidateFinder().find(indexed(old, seen_again(old[10:14])), [80, 81, 82, 83], 60, 5)
    near = [candidate for candidate in found if 5 <= candidate.old_row <= 18]
    assert len(near) == 1


def test_a_stretch_goes_before_a_single_look_alike() -> None:
    old = places(60, 2)
    new = places(4, 3)
    new[0] = seen_again(old[30:31])[0] + 0.5 * old[30]
    new[2:] = seen_again(old[12:14])
    found = CandidateFinder().find(indexed(old, new), [60, 61, 62, 63], 40, 3)
    assert found[0].old_row in (12, 13)
    assert all(candidate.similarity < 0.8 * found[0].similarity for candidate in found[1:])


def test_support_may_come_from_the_submap_before() -> None:
    old = places(60, 4)
    index = indexed(old, seen_again(old[24:25], 7))
    finder = CandidateFinder()
    assert all(candidate.old_row != 24 for candidate in finder.find(index, [60], 50, 3))
    index.add(seen_again(old[25:26], 8))
    found = finder.find(index, [61], 50, 3)
    assert (found[0].new_row, found[0].old_row) == (61, 25)


def test_what_is_too_recent_is_no_candidate() -> None:
    old = places(30, 5)
    index = indexed(old, seen_again(old[20:24]))
    assert all(candidate.old_row < 10 for candidate in CandidateFinder().find(index, [30, 31, 32, 33], 10, 3))
    assert CandidateFinder().find(index, [30, 31], 0, 3) == []
