"""Samples come in any order and are asked for by time."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from scal3r_ros.mapping.scale.sources.sample_buffer import SampleBuffer
from scal3r_ros.mapping.values import Fix


@given(st.lists(st.integers(0, 50), max_size=60), st.integers(0, 50), st.integers(0, 50))
def test_between_gives_what_lies_there_and_a_neighbour_on_either_side(stamps, first, length):
    buffer = SampleBuffer[Fix]()
    for stamp in stamps:
        buffer.add(Fix(stamp, 0.0, 0.0, 0.0))
    given_back = [sample.stamp_ns for sample in buffer.between(first, first + length)]
    known = sorted(set(stamps))
    inside = [s for s in known if first <= s <= first + length]
    assert [s for s in given_back if first <= s <= first + length] == inside
    assert given_back == sorted(set(given_back))
    before, after = [s for s in known if s < first], [s for s in known if s > first + length]
    assert len(given_back) <= len(inside) + 2
    if before and first not in known:
        assert given_back[0] == before[-1]
    if after and first + length not in known:
        assert given_back[-1] == after[0]


def test_a_second_sample_of_one_stamp_replaces_the_first_and_old_ones_go():
    buffer = SampleBuffer[Fix]()
    for stamp in (1, 2, 3, 3):
        buffer.add(Fix(stamp, float(stamp), 0.0, 0.0, np.eye(3)))
    buffer.add(Fix(2, 9.0, 0.0, 0.0))
    assert [(s.stamp_ns, s.latitude_deg) for s in buffer.between(1, 3)] == [(1, 1.0), (2, 9.0), (3, 3.0)]
    buffer.forget_before(3)
    assert [s.stamp_ns for s in buffer.between(0, 9)] == [3]
