"""The index of places: it finds what a plain search finds, fast, and comes back from a snapshot as it was."""

from __future__ import annotations

import time

import numpy as np
import pytest

from scal3r_ros.errors import MappingError
from scal3r_ros.mapping.loops.descriptor_index import DescriptorIndex


def unit_vectors(count: int, size: int, seed: int = 0) -> np.ndarray:
    x = np.random.default_rng(seed).normal(size=(count, size)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def test_the_index_finds_what_a_plain_search_finds() -> None:
    x = unit_vectors(300, 256)
    queries = x[[5, 100, 250]] + 0.05 * unit_vectors(3, 256, 1)
    index = DescriptorIndex()
    index.add(x[:120])
    index.add(x[120:])
    cosines, rows = index.search(queries, 4, len(index))
    plain = (queries / np.linalg.norm(queries, axis=1, keepdims=True)) @ x.T
    assert rows[:, 0].tolist() == [5, 100, 250]
    np.testing.assert_allclose(cosines, np.take_along_axis(plain, rows, 1), atol=0.01)
    np.testing.assert_allclose(np.sort(-plain, axis=1)[:, :4], -cosines, atol=0.01)


def test_only_rows_before_the_limit_are_found() -> None:
    index = DescriptorIndex()
    index.add(unit_vectors(50, 64))
    assert index.search(unit_vectors(2, 64), 10, 20)[1].max() < 20
    assert index.search(unit_vectors(2, 64), 10, 3)[1].shape == (2, 3)
    assert index.search(unit_vectors(2, 64), 10, 0)[1].shape == (2, 0)


def test_a_search_among_fifty_thousand_keyframes_takes_milliseconds() -> None:
    index = DescriptorIndex()
    for part in range(10):
        index.add(unit_vectors(5000, 2048, part))
    query = unit_vectors(1, 2048, 9)
    seconds = []
    for _ in range(5):
        start = time.thread_time()
        assert index.search(query, 10, len(index))[1][0, 0] == 45_000
        seconds.append(time.thread_time() - start)
    assert min(seconds) < 0.05


def test_a_restored_index_answers_as_the_original() -> None:
    index, restored = DescriptorIndex(), DescriptorIndex()
    index.add(unit_vectors(80, 96))
    restored.restore(index.snapshot(range(len(index))))
    query = unit_vectors(3, 96, 2)
    for mine, theirs in zip(index.search(query, 5, 80), restored.search(query, 5, 80), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    restored.add(unit_vectors(1, 96))
    assert len(restored) == 81
    restored.restore(DescriptorIndex().snapshot([]))
    assert len(restored) == 0


def test_descriptors_of_another_size_are_refused() -> None:
    index = DescriptorIndex()
    index.add(unit_vectors(3, 64))
    with pytest.raises(MappingError, match="do not fit"):
        index.add(unit_vectors(3, 32))
    with pytest.raises(MappingError, match="do not fit"):
        index.search(unit_vectors(3, 32), 1, 3)
