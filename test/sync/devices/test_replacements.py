"""Workers come back: whatever dies or hangs, when and where, no chunk and nothing that was learned is lost."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from thread_workers import Faults, SilenceClock, gradient_of, launcher, random_faults

from scal3r_ros.errors import ReconstructionError
from scal3r_ros.reconstruction.network.config import NetworkConfig
from scal3r_ros.reconstruction.protocol import Chunk, ChunkGeometry, Frame
from scal3r_ros.sync.devices import replacements, replies
from scal3r_ros.sync.devices.chunk_parallel import ChunkParallelReconstructor
from scal3r_ros.sync.devices.messages import Done, Failed, Gone, ReadGradients, Ready
from scal3r_ros.sync.devices.replacements import Replacements

SCHEDULES, SPLIT_SCHEDULES = 200, 100
FRAMES = 5
WORKERS = 3
CHUNKS = 12
SUMS_OF_A_STEP = 6


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replacements, "_FIRST_PAUSE_S", 0.0)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> SilenceClock:
    """How long workers are silent, by a clock that a busy machine does not put forward."""
    clock = SilenceClock()
    monkeypatch.setattr(replies, "time", clock)
    return clock


@pytest.fixture
def plain() -> NetworkConfig:
    return NetworkConfig(preset="nano", devices=("a", "b", "c"), step_timeout_s=0.3)


def drive(reconstructor: ChunkParallelReconstructor, chunks: list[Chunk]) -> Iterator[ChunkGeometry]:
    for index, chunk in enumerate(chunks):
        yield reconstructor.reconstruct(chunk, None, chunks[index + 1 :])


def plain_chunks(count: int, frames: int = 0) -> list[Chunk]:
    image = np.zeros((1, 1, 3), np.uint8)
    return [Chunk(index, tuple(Frame(i, i, image, None) for i in range(frames)), 0) for index in range(count)]


def learned_by_all(reconstructor: ChunkParallelReconstructor) -> list[dict[int, list[torch.Tensor]]]:
    replies = reconstructor._pool.send_all(ReadGradients())
    assert all(isinstance(reply, Done) for reply in replies)
    return [
        {layer: [torch.from_numpy(w) for w in arrays] for layer, arrays in (reply.gradients or {}).items()}
        for reply in replies
        if isinstance(reply, Done)
    ]


@pytest.mark.parametrize(
    ("split", "tens"),
    [
        *(("chunks", tens) for tens in range(SCHEDULES // 10)),
        *(("frames", tens) for tens in range(SPLIT_SCHEDULES // 10)),
    ],
)
def test_no_schedule_of_faults_loses_a_chunk_or_anything_learned_while_one_worker_lives(
    plain: NetworkConfig, clock: SilenceClock, split: str, tens: int
) -> None:
    chunks = plain_chunks(CHUNKS, FRAMES)
    plain = replace(plain, split=split)
    for seed in range(10 * tens, 10 * tens + 10):
        rng = random.Random(seed)
        faults = random_faults(rng, WORKERS, CHUNKS // WORKERS * SUMS_OF_A_STEP, survivor=rng.randrange(WORKERS))
        made = launcher(faults, clock)
        reconstructor = ChunkParallelReconstructor(plain, launch=made.launch)
        geometries = list(drive(reconstructor, chunks))
        assert [int(geometry.depth[0, 0, 0]) for geometry in geometries] == list(range(CHUNKS)), seed
        more = list(chunks)
        faults.dies_at.clear()
        faults.hangs_at.clear()
        while len(reconstructor.pids) < WORKERS:
            more.append(replace(chunks[0], index=len(more)))
            assert len(more) < 2000, (seed, reconstructor._pool.news())
            reconstructor.reconstruct(more[-1], None)
        for learned in learned_by_all(reconstructor):
            for layer in (1, 3):
                for index, w in enumerate(learned[layer]):
                    assert torch.equal(w, sum(gradient_of(chunk)[layer][index] for chunk in more)), (seed, layer)
        assert len(learned_by_all(reconstructor)) == WORKERS
        assert reconstructor.metrics()["memory_chunks"] == len(more), seed
        reconstructor.close()


@pytest.mark.parametrize("seed", range(20))
def test_where_all_workers_may_die_every_chunk_still_has_an_answer_or_one_clear_error(
    plain: NetworkConfig, clock: SilenceClock, seed: int
) -> None:
    rng = random.Random(seed)
    made = launcher(random_faults(rng, WORKERS, 2 * SUMS_OF_A_STEP, survivor=None), clock)
    reconstructor = ChunkParallelReconstructor(plain, launch=made.launch)
    for chunk in plain_chunks(CHUNKS):
        try:
            answered = str(int(reconstructor.reconstruct(chunk, None).depth[0, 0, 0]))
        except ReconstructionError as error:
            answered = str(error)
        assert answered == str(chunk.index) or f"chunk {chunk.index} has cost all workers" in answered
    reconstructor.close()


def test_a_device_that_is_gone_is_left_out_and_the_others_go_on(plain: NetworkConfig, clock: SilenceClock) -> None:
    faults = Faults(dies_at={1: SUMS_OF_A_STEP + 2})
    made = launcher(faults, clock)
    reconstructor = ChunkParallelReconstructor(plain, launch=made.launch)
    chunks = plain_chunks(60)
    notes = []
    for index, geometry in enumerate(drive(reconstructor, chunks)):
        if index == 0:
            faults.devices_gone.add("b")
        notes.append(geometry.note)
    assert len(reconstructor.pids) == WORKERS - 1
    assert sum("b is left out: 3 workers could not be started there" in note for note in notes) == 1
    learned = learned_by_all(reconstructor)
    assert torch.equal(learned[0][1][0], sum(gradient_of(chunk)[1].w0 for chunk in chunks))
    reconstructor.close()


def test_restarting_can_be_switched_off(plain: NetworkConfig, clock: SilenceClock) -> None:
    made = launcher(Faults(dies_at={1: 3}), clock)
    reconstructor = ChunkParallelReconstructor(replace(plain, restart_workers=False), launch=made.launch)
    list(drive(reconstructor, plain_chunks(30)))
    assert len(made.workers) == WORKERS
    assert len(reconstructor.pids) == WORKERS - 1
    reconstructor.close()


class _Worker:
    def __init__(self, device: str) -> None:
        self.device = device

    def kill(self) -> None:
        pass


def test_pauses_grow_with_every_loss_of_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replacements, "_FIRST_PAUSE_S", 10.0)
    clock = [0.0]
    started: list[float] = []

    def start(device: str) -> _Worker:
        started.append(clock[0])
        return _Worker(device)

    places = Replacements(start, lambda sentence: None, lambda: clock[0])
    for _ in range(4):
        places.lost("a")
        while not places.starting:
            places.start_due()
            clock[0] += 1.0
        worker = places.starting[0]
        assert places.ready == []
        places.received(worker, Ready("a"))
        assert places.ready == [worker]
        places.joined(worker)
    pauses = [later - earlier for earlier, later in itertools.pairwise(started)]
    assert started[0] == 0.0
    assert [round(pause / 10) for pause in pauses] == [1, 2, 4]


@pytest.mark.parametrize("reply", [Gone(), Failed(ReconstructionError("device 'a' cannot be used here"))])
def test_a_device_is_tried_three_times(monkeypatch: pytest.MonkeyPatch, reply: Gone | Failed) -> None:
    notes: list[str] = []
    clock = [0.0]
    places = Replacements(_Worker, notes.append, lambda: clock[0])
    places.lost("a")
    for _ in range(3):
        places.start_due()
        places.received(places.starting[0], reply)
        clock[0] += 1e4
    places.start_due()
    assert places.starting == []
    assert len(notes) == 1
