"""A chunk whose frames are split over workers: answer and memory are those of one process that has all frames."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch

from scal3r_ros.errors import ReconstructionError
from scal3r_ros.model import preset_named
from scal3r_ros.reconstruction.network.config import NetworkConfig
from scal3r_ros.reconstruction.network.crop import crop_of
from scal3r_ros.reconstruction.network.plan import plan_memory
from scal3r_ros.reconstruction.network.reconstructor import NetworkReconstructor
from scal3r_ros.reconstruction.protocol import Chunk, ChunkGeometry, ChunkHealth
from scal3r_ros.sync.devices.chunk_parallel import ChunkParallelReconstructor
from scal3r_ros.sync.devices.division import Division
from scal3r_ros.sync.devices.messages import Done, ReadGradients, Space

Maker = Callable[[NetworkConfig], ChunkParallelReconstructor]

pytestmark = pytest.mark.timeout(300)

SOON_S = 120.0
# A memory's bfloat16 step turns a last bit into 2^-9 of a weight, which the next unit and the next chunk see.
ROUNDING = {"rtol": 2e-3, "atol": 2e-3}


def first(chunk: Chunk, frames: int) -> Chunk:
    return replace(chunk, frames=chunk.frames[:frames])


def painted(chunk: Chunk, value: int) -> Chunk:
    """The chunk with its last frame in a single colour."""
    frame = chunk.frames[-1]
    return replace(chunk, frames=(*chunk.frames[:-1], replace(frame, image=np.full_like(frame.image, value))))


def uncalibrated(chunk: Chunk) -> Chunk:
    return replace(chunk, frames=tuple(replace(frame, intrinsics=None) for frame in chunk.frames))


def run(reconstructor: ChunkParallelReconstructor | NetworkReconstructor, chunks: list[Chunk]) -> list[ChunkGeometry]:
    return [reconstructor.reconstruct(chunk, None, chunks[i + 1 :]) for i, chunk in enumerate(chunks)]


def assert_same(one: ChunkGeometry, other: ChunkGeometry) -> None:
    for name in ("T_chunk_cam", "depth", "confidence"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), **ROUNDING, err_msg=name)
    assert (one.descriptors is None) == (other.descriptors is None)
    if one.descriptors is not None:
        np.testing.assert_allclose(one.descriptors, other.descriptors, **ROUNDING)
    for ours, theirs in zip(one.intrinsics, other.intrinsics, strict=True):
        np.testing.assert_allclose(ours.K, theirs.K, rtol=1e-4)


def assert_learned_the_same(split: ChunkParallelReconstructor, alone: NetworkReconstructor) -> None:
    """All workers have the same gradient bit for bit, equal up to rounding to that of one process."""
    replies = split._pool.send_all(ReadGradients())
    gradients = [reply.gradients for reply in replies if isinstance(reply, Done)]
    assert len(gradients) == len(split.pids)
    assert gradients[0]
    for other in gradients[1:]:
        assert other is not None
        for layer, arrays in other.items():
            assert all(map(np.array_equal, arrays, gradients[0][layer]))
    expected = alone.accumulated_gradient()
    assert gradients[0].keys() == expected.keys()
    for layer, G in expected.items():
        tolerance = 1e-5 if layer == min(expected) else 5e-3
        for ours, theirs in zip(gradients[0][layer], G, strict=True):
            assert (torch.from_numpy(ours) - theirs).norm() <= tolerance * theirs.norm(), layer


@pytest.mark.parametrize(("preset", "workers"), [("nano", 2), ("nano", 3), ("tiny", 2)])
def test_a_split_chunk_is_answered_and_learned_from_as_by_one_process(
    on_workers: Maker, tiny: NetworkConfig, chunks: list[Chunk], preset: str, workers: int
) -> None:
    """Even and odd numbers of frames, with calibrations and without; also a network that solves for its poses."""
    config = replace(tiny, preset=preset, keep_shared_tokens=False)
    given = [chunks[0], first(chunks[1], 5), uncalibrated(first(chunks[2], 3))]
    split = on_workers(replace(config, devices=("cpu",) * workers, split="frames"))
    alone = NetworkReconstructor(config)
    assert split.max_parallel_chunks == 1
    for ours, theirs in zip(run(split, given), run(alone, given), strict=True):
        assert (ours.note, ours.health) == ("", ChunkHealth.OK)
        assert_same(ours, theirs)
    assert_learned_the_same(split, alone)
    assert split.metrics()["memory_chunks"] == 3


def test_a_chunk_of_fewer_frames_than_workers_is_not_split(
    on_workers: Maker, tiny: NetworkConfig, chunks: list[Chunk]
) -> None:
    split = on_workers(replace(tiny, devices=("cpu",) * 3, split="frames"))
    given = [first(chunks[0], 2), chunks[1]]
    alone = NetworkReconstructor(replace(tiny, keep_shared_tokens=False))
    for ours, theirs in zip(run(split, given), run(alone, given), strict=True):
        assert_same(ours, theirs)
    assert_learned_the_same(split, alone)


def test_a_worker_lost_in_a_split_chunk_costs_nothing(
    on_workers: Maker, tiny: NetworkConfig, chunks: list[Chunk]
) -> None:
    """The others take its frames: first three workers, then two, then one that has all of them."""
    split = on_workers(replace(tiny, devices=("cpu",) * 3, split="frames"))
    alone = NetworkReconstructor(replace(tiny, keep_shared_tokens=False))
    with ThreadPoolExecutor(1) as aside:
        for chunk, left in zip(chunks, (2, 1), strict=False):
            workers = list(split._pool._workers)
            os.kill(workers[0].pid, signal.SIGSTOP)  # so that the other cannot come further than the first exchange
            done = aside.submit(split.reconstruct, chunk, None)
            end = time.monotonic() + SOON_S
            while workers[-1].sums == 0:
                assert time.monotonic() < end
                time.sleep(0.01)
            os.kill(workers[-1].pid, signal.SIGKILL)
            os.kill(workers[0].pid, signal.SIGCONT)
            geometry = done.result(SOON_S)
            assert geometry.health is ChunkHealth.OK
            assert f"was killed by SIGKILL; {left} left" in geometry.note
            assert_same(geometry, alone.reconstruct(chunk, None))
    assert_learned_the_same(split, alone)
    assert split.metrics()["memory_chunks"] == 2


@pytest.mark.usefixtures("faults")
def test_a_share_that_fails_fails_its_chunk_and_no_other(
    on_workers: Maker, tiny: NetworkConfig, chunks: list[Chunk]
) -> None:
    """One that is not finite, and one whose worker meets images of another size."""
    split = on_workers(replace(tiny, devices=("cpu", "cpu"), split="frames"))
    alone = NetworkReconstructor(replace(tiny, keep_shared_tokens=False))
    cut = replace(chunks[1].frames[-1], image=chunks[1].frames[-1].image[:32])
    odd = replace(chunks[1], frames=(*chunks[1].frames[:-1], cut))
    assert split.reconstruct(painted(chunks[0], 0), None).health is ChunkHealth.NOT_FINITE
    with pytest.raises(ReconstructionError, match="128 × 32 and 128 × 64"):
        split.reconstruct(odd, None)
    assert_same(split.reconstruct(chunks[2], None), alone.reconstruct(chunks[2], None))
    assert_learned_the_same(split, alone)
    assert (split.metrics()["memory_chunks"], split.metrics()["workers_lost"]) == (1, 0)


@pytest.mark.usefixtures("faults")
def test_chunks_that_do_not_fit_are_split_by_frames_before_they_go_in_parts(
    on_workers: Maker, tiny: NetworkConfig, chunks: list[Chunk], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One worker has no memory for more than three frames, so six fit only when they are split."""
    monkeypatch.setenv("TEST_FRAMES_OF_1", "3")
    split = on_workers(replace(tiny, devices=("cpu", "cpu"), split="auto"))
    alone = NetworkReconstructor(replace(tiny, keep_shared_tokens=False))
    geometries = run(split, chunks[:2])
    assert [geometry.note for geometry in geometries] == [
        "out of memory on a worker: the frames of a chunk are now split over 2 devices", ""
    ]  # fmt: skip
    for ours, theirs in zip(geometries, run(alone, chunks[:2]), strict=True):
        assert_same(ours, theirs)
    assert_learned_the_same(split, alone)


@pytest.mark.usefixtures("faults")
def test_shares_that_do_not_fit_make_chunks_go_in_parts(
    on_workers: Maker, tiny: NetworkConfig, chunks: list[Chunk], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_FRAMES_OF_1", "2")
    split = on_workers(replace(tiny, devices=("cpu", "cpu"), split="frames"))
    geometries = run(split, chunks[:2])
    assert all(geometry.health is ChunkHealth.OK for geometry in geometries)
    assert "out of memory with frames split over 2 devices: chunks now go in parts of 3 frames" in geometries[0].note
    assert [len(geometry.depth) for geometry in geometries] == [6, 6]
    assert split.metrics()["workers_lost"] == 0


def test_auto_splits_what_the_plan_says_does_not_fit(chunks: list[Chunk]) -> None:
    config = NetworkConfig(preset="nano", devices=("cuda:0", "cuda:1"))
    preset = preset_named("nano")
    height, width = crop_of(chunks[0].frames, preset.image_width, preset.patch).plans[0].target
    need = plan_memory(preset, 6, width, height, compute=torch.bfloat16, head_frames=config.head_frames).device

    def splits(capacity: float | None, workers: int = 2, split: str = "auto") -> bool:
        space = None if capacity is None else Space(int(capacity), torch.bfloat16)
        return Division(replace(config, split=split), False, lambda: space).splits(chunks[0], workers)

    assert splits(need - 1)
    assert not splits(need + 1)
    assert not splits(None)
    assert not splits(need - 1, workers=1)
    assert not splits(need - 1, split="chunks")
    assert splits(need + 1, split="frames")
