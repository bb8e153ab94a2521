"""Keyframes and chunks: what makes a frame one, how chunks overlap, what a busy worker costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from scal3r_ros.errors import MappingError
from scal3r_ros.geometry import se3
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.mapping.frontend.window import ChunkWindow, WindowConfig, image_motion
from scal3r_ros.reconstruction.protocol import Chunk, Features, Frame

CONFIG = WindowConfig(size=6, overlap=2, min_parallax=0.1)
IMAGE = np.zeros((10, 100, 3), np.uint8)
GRID = np.random.default_rng(0).uniform(0, 100, (50, 2)).astype(np.float32)


def frame(index: int, moved: float = 0.0, first_id: int = 0, stamp_s: float | None = None) -> Frame:
    """A frame whose points lie `moved` pixels to the right of where frame 0 saw them."""
    stamp_ns = round((index * 0.1 if stamp_s is None else stamp_s) * 1e9)
    ids = np.arange(first_id, first_id + 50)
    return Frame(index, stamp_ns, IMAGE, None, Features(ids, GRID[ids % 50] + np.float32([moved, 0])))


def filled(count: int, config: WindowConfig = CONFIG, busy_until: int = 0) -> tuple[ChunkWindow, list[Chunk]]:
    window, chunks = ChunkWindow(config), []
    for index in range(count):
        assert window.add(frame(index, moved=20.0 * index))
        chunk = window.take(busy=index < busy_until)
        if chunk is not None:
            chunks.append(chunk)
    return window, chunks


def indices(chunk: Chunk) -> list[int]:
    return [frame.index for frame in chunk.frames]


def test_the_first_frame_and_those_that_moved_are_keyframes() -> None:
    window = ChunkWindow(CONFIG)
    assert [window.add(frame(i, moved)) for i, moved in enumerate([0.0, 4.0, 9.0, 11.0, 15.0, 22.0])] == [
        True, False, False, True, False, True,
    ]  # fmt: skip


def test_a_turn_makes_a_keyframe_later_than_a_step() -> None:
    camera = Intrinsics(100.0, 100.0, 49.5, 49.5, 100, 100)
    config = replace(CONFIG, min_parallax=0.02, max_turn=0.2)
    points = np.random.default_rng(1).uniform([-1.0, -1.0, 2.0], [1.0, 1.0, 6.0], (50, 3))

    def keyframes(T_cam_ref: Callable[[int], np.ndarray], camera: Intrinsics | None, config: WindowConfig) -> list[int]:
        window, kept = ChunkWindow(config), []
        for index in range(12):
            at = points @ T_cam_ref(index)[:3, :3].T + T_cam_ref(index)[:3, 3]
            features = Features(np.arange(50), (100 * at[:, :2] / at[:, 2:] + 49.5).astype(np.float32))
            if window.add(Frame(index, index * 10**8, IMAGE, camera, features)):
                kept.append(index)
        return kept

    def turn(index: int) -> np.ndarray:
        return se3.se3(se3.rotation_exp([0.0, 0.03 * index, 0.0]), np.zeros(3))

    def step(index: int) -> np.ndarray:
        return se3.se3(np.eye(3), np.array([0.0, 0.0, -0.12 * index]))

    assert keyframes(turn, camera, config) == [0, 7]
    assert len(keyframes(turn, camera, replace(config, max_turn=0.0))) == 12
    assert len(keyframes(turn, None, config)) == 12  # without a calibration nothing says what is a turn
    assert keyframes(step, camera, config)[:3] == [0, 4, 7]  # forward: turning explains little of it


def test_a_frame_that_lost_its_tracks_is_a_keyframe() -> None:
    window = ChunkWindow(CONFIG)
    window.add(frame(0))
    assert not window.add(frame(1, first_id=20))
    assert window.add(frame(2, first_id=30))


def test_a_standing_camera_gives_a_keyframe_every_interval() -> None:
    window = ChunkWindow(replace(CONFIG, max_interval_s=1.0))
    assert sum(window.add(frame(i)) for i in range(31)) == 4


def test_chunks_overlap_and_are_counted() -> None:
    _, chunks = filled(15)
    assert [indices(chunk) for chunk in chunks] == [[*range(6)], [*range(4, 10)], [*range(8, 14)]]
    assert [chunk.index for chunk in chunks] == [0, 1, 2]
    assert [chunk.shared for chunk in chunks] == [0, 2, 2]


def test_a_busy_worker_thins_the_new_keyframes_and_keeps_the_overlap() -> None:
    window, chunks = filled(40, busy_until=33)
    assert len(chunks[0].frames) == CONFIG.size  # nothing was handed out before, so nothing was shared
    assert indices(chunks[0])[-1] >= 33
    assert window.thinned > 0
    shared = chunks[0].frames[-CONFIG.overlap :]
    assert chunks[1].frames[: chunks[1].shared] == shared
    assert np.all(np.diff(indices(chunks[0])) > 0)


def test_thinning_never_takes_a_shared_frame_nor_the_newest_and_bounds_the_window() -> None:
    window, chunks = filled(6)
    shared = chunks[0].frames[-CONFIG.overlap :]
    for index in range(6, 200):
        window.add(frame(index, moved=20.0 * index))
        assert window.take(busy=True) is None
        assert len(window) < CONFIG.size
    last = window.close()
    assert last is not None
    assert last.frames[: last.shared] == shared
    assert last.frames[-1].index == 199


def test_closing_gives_what_is_left_once() -> None:
    window, _ = filled(8)
    rest = window.close()
    assert rest is not None
    assert (indices(rest), rest.shared) == ([4, 5, 6, 7], 2)
    assert window.close() is None


def test_closing_gives_no_chunk_of_one_frame() -> None:
    assert filled(0)[0].close() is None
    assert filled(1)[0].close() is None
    assert filled(6)[0].close() is None  # only the overlap is left


def test_a_reset_forgets_the_frames_and_goes_on_counting() -> None:
    window, _ = filled(9)
    window.reset()
    assert len(window) == 0
    for index in range(6):
        window.add(frame(index, moved=20.0 * index))
    chunk = window.take()
    assert chunk is not None
    assert (chunk.index, chunk.shared) == (1, 0)


@pytest.mark.parametrize("overlap", [6, 7])
def test_an_overlap_as_long_as_the_chunk_is_refused(overlap: int) -> None:
    with pytest.raises(MappingError, match=f"share {overlap}"):
        ChunkWindow(WindowConfig(size=6, overlap=overlap))


def test_image_motion_is_that_of_the_common_tracks() -> None:
    before, after = frame(0).features, frame(1, moved=7.0, first_id=10).features
    assert before is not None
    assert after is not None
    motion, common = image_motion(before, after)
    assert motion == pytest.approx(7.0, abs=1e-4)
    assert common == pytest.approx(0.8)


def test_no_common_tracks_are_infinite_motion() -> None:
    empty = Features(np.empty(0, np.int64), np.empty((0, 2), np.float32))
    some = frame(0).features
    assert some is not None
    assert image_motion(some, empty) == (float("inf"), 0.0)
    assert image_motion(empty, some) == (float("inf"), 0.0)


def elsewhere(index: int, moved: float = 0.0) -> Frame:
    return frame(index, moved, first_id=1000)


def test_frames_that_show_nothing_are_no_keyframes() -> None:
    window = ChunkWindow(CONFIG)
    window.add(frame(0))
    dark = Frame(1, 10**8, IMAGE, None, Features(np.empty(0, np.int64), np.empty((0, 2), np.float32)))
    assert not window.add(dark)
    assert window.add(frame(2, moved=20.0))
    assert len(window) == 2


def test_a_frame_found_again_goes_on_with_the_chunk() -> None:
    window = ChunkWindow(CONFIG)
    for index in range(3):
        window.add(frame(index, moved=20.0 * index))
    assert window.add(elsewhere(3))
    assert window.add(elsewhere(4, moved=20.0))
    for index in range(5, 8):
        window.add(frame(index, moved=20.0 * index))
    chunk = window.take()
    assert chunk is not None
    assert indices(chunk) == [0, 1, 2, 5, 6, 7]
    assert window.segments == 0


def test_what_nothing_connects_begins_a_segment_once_it_fills_a_chunk() -> None:
    window, chunks = ChunkWindow(CONFIG), []
    for index in range(8):
        window.add(frame(index, moved=20.0 * index))
        chunks.append(window.take())
    for index in range(8, 14):
        assert window.add(elsewhere(index, moved=20.0 * index))
        chunks.append(window.take())
    chunks += [window.take()]
    handed_out = [chunk for chunk in chunks if chunk is not None]
    assert [indices(chunk) for chunk in handed_out] == [[0, 1, 2, 3, 4, 5], [4, 5, 6, 7], [*range(8, 14)]]
    assert [chunk.shared for chunk in handed_out] == [0, 2, 0]
    assert window.segments == 1


def test_closing_hands_out_what_is_aside_too() -> None:
    window = ChunkWindow(CONFIG)
    for index in range(4):
        window.add(frame(index, moved=20.0 * index))
    for index in range(4, 8):
        window.add(elsewhere(index, moved=20.0 * index))
    chunks = []
    while (chunk := window.close()) is not None:
        chunks.append(chunk)
    assert [indices(chunk) for chunk in chunks] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert [chunk.shared for chunk in chunks] == [0, 0]
