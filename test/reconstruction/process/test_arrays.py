"""Values whose arrays lie in a file that two sides have open."""

from __future__ import annotations

import os

import numpy as np

from scal3r_ros.reconstruction.process.arrays import ArrayFile, anonymous_file


def two_sides() -> tuple[ArrayFile, ArrayFile]:
    handle = anonymous_file()
    return ArrayFile(handle), ArrayFile(os.dup(handle))


def test_every_kind_of_array_arrives_as_it_was() -> None:
    ours, theirs = two_sides()
    rng = np.random.default_rng(0)
    values = [
        rng.integers(0, 255, (5, 7, 3), np.uint8),
        rng.random((3, 4)),
        rng.random((6, 8))[::2, 1::3],  # not contiguous
        np.asfortranarray(rng.random((3, 5))),
        np.zeros((0, 2), np.float32),
        np.array(3.5),
        "no array",
    ]
    packed = ours.pack(values)
    for sent, arrived in zip(values, theirs.unpack(packed), strict=True):
        np.testing.assert_array_equal(arrived, sent)
        assert not isinstance(sent, np.ndarray) or (arrived.dtype, arrived.shape) == (sent.dtype, sent.shape)


def test_the_file_grows_with_the_values_and_what_was_unpacked_stays() -> None:
    ours, theirs = two_sides()
    small, large = np.arange(10), np.arange(100_000)
    first = theirs.unpack(ours.pack(small))
    second = theirs.unpack(ours.pack(large))
    third = theirs.unpack(ours.pack(-small))
    np.testing.assert_array_equal(first, small)
    np.testing.assert_array_equal(second, large)
    np.testing.assert_array_equal(third, -small)
    second[0] = 7  # an own copy


def test_images_do_not_travel_in_the_message() -> None:
    ours, _ = two_sides()
    assert len(ours.pack({"image": np.zeros((480, 640, 3), np.uint8)})) < 1000


def test_the_file_has_no_name_and_goes_with_its_last_user() -> None:
    ours, theirs = two_sides()
    handles = ours.handle, theirs.handle
    assert os.fstat(ours.handle).st_nlink == 0
    del ours, theirs
    for handle in handles:
        try:
            os.fstat(handle)
        except OSError:
            continue
        raise AssertionError("the file is still open")
