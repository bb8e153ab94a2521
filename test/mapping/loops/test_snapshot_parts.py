"""Places of some submaps alone are whole, in order, and those of no others."""

from __future__ import annotations

import numpy as np

from scal3r_ros.mapping.loops.snapshot_parts import places_of

CONTENTS = [b"one", b"seven", b"", b"four", b"eleven"]
PLACES = {
    "places_codes": np.arange(10, dtype=np.uint8).reshape(5, 2),
    "keyframes_bytes": np.frombuffer(b"".join(CONTENTS), np.uint8),
    "keyframes_ends": np.cumsum([0, *map(len, CONTENTS)]),
    "keyframes_submaps": np.array([0, 0, 1, 2, 2]),
    "keyframes_stamps_ns": np.arange(5) * 10**9,
}


def test_rows_of_the_submaps_asked_for_are_left() -> None:
    left = places_of(PLACES, {1, 2})
    assert set(left) == set(PLACES)
    assert left["keyframes_submaps"].tolist() == [1, 2, 2]
    assert left["keyframes_stamps_ns"].tolist() == [2 * 10**9, 3 * 10**9, 4 * 10**9]
    np.testing.assert_array_equal(left["places_codes"], PLACES["places_codes"][2:])
    ends, content = left["keyframes_ends"], left["keyframes_bytes"].tobytes()
    assert [content[ends[row] : ends[row + 1]] for row in range(3)] == CONTENTS[2:]


def test_all_and_none() -> None:
    assert places_of(PLACES, {0, 1, 2, 3}) == PLACES
    none = places_of(PLACES, {9})
    assert none["places_codes"].shape == (0, 2)
    assert none["keyframes_ends"].tolist() == [0]
    assert none["keyframes_bytes"].size == 0
