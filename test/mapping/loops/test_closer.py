"""The loop work by itself: what waits is bounded, and what was remembered comes back from a snapshot."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from scal3r_ros.assembly import build_reconstructor, core_config
from scal3r_ros.geometry.sim3 import Sim3
from scal3r_ros.mapping.graph.pose_graph import SubmapGraph
from scal3r_ros.mapping.loops.closer import MAX_WAITING, LoopCloser, NewSubmap
from scal3r_ros.mapping.loops.config import LoopConfig
from scal3r_ros.mapping.loops.verification import VerifiedLoop
from scal3r_ros.mapping.submaps.alignment import AlignmentConfig
from scal3r_ros.reconstruction.protocol import Chunk, ChunkGeometry, Frame

NOWHERE = SubmapGraph().problem()


def closer(**settings: Any) -> LoopCloser:
    config = LoopConfig(min_gap_s=1.0, min_gap_submaps=2, **settings)
    return LoopCloser(config, 0.5, AlignmentConfig(), None)


@pytest.fixture
def submaps(oracle: Any, street: list[Frame]) -> list[NewSubmap]:
    """Two submaps of the start of the street, one of its end, and the start once more under later stamps."""
    made = []
    for index, start in enumerate((0, 8, 36, 0)):
        chunk = Chunk(index, tuple(street[start : start + 8]), 0)
        geometry = oracle.reconstruct(chunk, None)
        made.append(NewSubmap(index, chunk, geometry))
    later = tuple(
        Frame(100 + k, frame.stamp_ns + 60 * 10**9, frame.image, frame.intrinsics)
        for k, frame in enumerate(made[3].chunk.frames)
    )
    made[3] = NewSubmap(3, Chunk(3, later, 0), made[3].geometry)
    return made


def anchors(submaps: list[NewSubmap], oracle: Any) -> dict[int, Sim3]:
    first = [oracle.truth[submap.chunk.frames[0].stamp_ns].T_ref_cam for submap in submaps[:3]]
    return {index: Sim3.from_rigid(T) for index, T in enumerate([*first, first[0]])}


def found_in(closer: LoopCloser, submaps: list[NewSubmap], places: dict[int, Sim3]) -> list[VerifiedLoop]:
    return [loop for submap in submaps for loop in closer.find(submap, places, NOWHERE)]


def test_a_place_seen_again_gives_its_place_exactly(submaps: list[NewSubmap], oracle: Any) -> None:
    loops = found_in(closer(), submaps, anchors(submaps, oracle))
    assert [(loop.edge.i, loop.edge.j) for loop in loops] == [(0, 3)]
    np.testing.assert_allclose(loops[0].edge.S_i_j.log(), 0.0, atol=0.02)
    assert loops[0].points > 40
    assert loops[0].share > 0.8


def test_what_was_remembered_comes_back_from_a_snapshot(submaps: list[NewSubmap], oracle: Any) -> None:
    first, second = closer(), closer(memory_mb=0)
    found_in(first, submaps[:3], anchors(submaps, oracle))
    second.restore(first.snapshot(range(3)))
    places = anchors(submaps, oracle)
    ours, theirs = (c.find(submaps[3], places, NOWHERE) for c in (first, second))
    assert [(loop.new_row, loop.old_row, loop.points) for loop in ours] == [
        (loop.new_row, loop.old_row, loop.points) for loop in theirs
    ]
    np.testing.assert_array_equal(ours[0].edge.S_i_j.matrix, theirs[0].edge.S_i_j.matrix)


def test_of_submaps_that_come_too_fast_the_oldest_are_skipped(submaps: list[NewSubmap]) -> None:
    busy = closer()
    for k in range(MAX_WAITING + 2):
        busy.give(NewSubmap(k, submaps[0].chunk, submaps[0].geometry))
    assert busy.waiting == MAX_WAITING
    assert busy.counters()["loop_submaps_skipped"] == 2
    taken = busy.take()
    assert taken is not None
    assert taken.index == 2
    busy.clear()
    assert busy.take() is None


def test_switched_off_it_takes_nothing(submaps: list[NewSubmap]) -> None:
    off = closer(enabled=False)
    off.give(submaps[0])
    assert off.waiting == 0


def test_descriptors_of_another_reconstructor_are_one_warning(
    submaps: list[NewSubmap], oracle: Any, caplog: pytest.LogCaptureFixture
) -> None:
    mixed, places = closer(), anchors(submaps, oracle)
    mixed.find(submaps[0], places, NOWHERE)
    for submap in submaps[1:3]:
        foreign = replace(submap.geometry, descriptors=np.ones((8, 32), np.float32))
        assert mixed.find(NewSubmap(submap.index, submap.chunk, foreign), places, NOWHERE) == []
    assert mixed.counters()["loop_submaps_lost"] == 2
    assert mixed.counters()["loop_keyframes"] == 4
    assert len(caplog.records) == 1


class Recaller:
    """A reconstructor that looks again: as the oracle does, or not at all."""

    def __init__(self, oracle: Any, submaps: list[NewSubmap], blind: bool) -> None:
        self.oracle, self.blind, self.asked = oracle, blind, 0
        self.stamps = {
            late.stamp_ns: early.stamp_ns
            for late, early in zip(submaps[3].chunk.frames, submaps[0].chunk.frames, strict=True)
        }

    def recall(self, chunk: Chunk) -> ChunkGeometry | None:
        self.asked += 1
        if self.blind:
            return None
        frames = (replace(frame, stamp_ns=self.stamps.get(frame.stamp_ns, frame.stamp_ns)) for frame in chunk.frames)
        geometry: ChunkGeometry = self.oracle.reconstruct(Chunk(0, tuple(frames), 0), None)
        return geometry


@pytest.mark.parametrize("blind", [False, True])
def test_a_reconstructor_that_can_looks_again_and_has_the_last_word(
    submaps: list[NewSubmap], oracle: Any, blind: bool
) -> None:
    recaller = Recaller(oracle, submaps, blind)
    config = LoopConfig(min_gap_s=1.0, min_gap_submaps=2)
    loops = found_in(LoopCloser(config, 0.5, AlignmentConfig(), recaller.recall), submaps, anchors(submaps, oracle))
    assert recaller.asked == 1
    assert [(loop.edge.i, loop.edge.j) for loop in loops] == ([] if blind else [(0, 3)])
    for loop in loops:
        np.testing.assert_allclose(loop.edge.S_i_j.log(), 0.0, atol=0.02)


def test_loops_of_the_refined_network_are_jointly_refined(oracle: Any, street: list[Frame]) -> None:
    """Down the street and back in reverse gear; submaps are true, so what differs is the joint reconstruction alone."""
    rng = np.random.default_rng(0)
    seen = [*range(24), *reversed(range(24))]
    submaps, places = [], {}
    for index, start in enumerate(range(0, len(seen), 8)):
        frames = [street[number] for number in seen[start : start + 8]]
        noisy = tuple(
            replace(
                frame,
                index=start + k,
                stamp_ns=street[0].stamp_ns + (start + k) * 10**8,
                image=np.clip(frame.image.astype(int) + rng.integers(-6, 7, frame.image.shape), 0, 255).astype(
                    np.uint8
                ),
            )
            for k, frame in enumerate(frames)
        )
        geometry = oracle.reconstruct(Chunk(index, tuple(frames), 0), None)
        submaps.append(NewSubmap(index, Chunk(index, noisy, 0), geometry))
        places[index] = Sim3.from_rigid(oracle.truth[frames[0].stamp_ns].T_ref_cam)
    answers: list[ChunkGeometry | None] = []
    with closing(build_reconstructor(core_config({"reconstructor": "tiny", "network.device": "cpu"})[0])) as tiny:

        def recall(chunk: Chunk) -> ChunkGeometry | None:
            assert tiny.recall is not None
            answers.append(tiny.recall(chunk))
            return answers[-1]

        config = LoopConfig(min_gap_s=1.0, min_gap_submaps=2)
        loops = found_in(LoopCloser(config, 0.5, AlignmentConfig(), recall), submaps, places)
    assert loops
    assert all(answer is not None and answer.tracks is not None for answer in answers)  # refined by their tracks
    for loop in loops:
        error = (places[loop.edge.i].inverse() @ places[loop.edge.j]).inverse() @ loop.edge.S_i_j
        assert np.linalg.norm(error.t) < 0.3
        assert abs(error.scale - 1) < 0.05
