"""Workers that die, stop or fail in the middle of a step: no chunk is lost, nobody waits for ever, none is left."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from scal3r_ros.errors import ReconstructionError
from scal3r_ros.model import FastWeights
from scal3r_ros.reconstruction.network.config import NetworkConfig
from scal3r_ros.reconstruction.network.reconstructor import NetworkReconstructor
from scal3r_ros.reconstruction.protocol import Chunk, ChunkGeometry, ChunkHealth, Previous
from scal3r_ros.sync.devices.chunk_parallel import ChunkParallelReconstructor

Maker = Callable[[NetworkConfig], ChunkParallelReconstructor]
ByHand = Callable[[NetworkConfig, Sequence[Sequence[Chunk]]], tuple[list[ChunkGeometry | None], dict[int, FastWeights]]]

pytestmark = pytest.mark.timeout(300)

SOON_S = 120.0


@pytest.fixture
def aside() -> Iterator[Callable[..., Future]]:
    """Runs something on another thread."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit


def run(reconstructor: ChunkParallelReconstructor, chunks: list[Chunk]) -> list[ChunkGeometry]:
    return [reconstructor.reconstruct(chunk, None, chunks[i + 1 :]) for i, chunk in enumerate(chunks)]


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def painted(chunk: Chunk, value: int) -> Chunk:
    """The chunk with one of the frames that no other chunk has in a single colour."""
    image = np.full_like(chunk.frames[2].image, value)
    return replace(chunk, frames=(*chunk.frames[:2], replace(chunk.frames[2], image=image), *chunk.frames[3:]))


def assert_close(ours: FastWeights, theirs: FastWeights, tolerance: float = 1e-4) -> None:
    for one, other in zip(ours, theirs, strict=True):
        assert (one - other).norm() <= tolerance * other.norm()


def assert_same(ours: Sequence[ChunkGeometry], theirs: Sequence[ChunkGeometry | None], tolerance: float = 1e-5) -> None:
    for one, other in zip(ours, theirs, strict=True):
        assert other is not None
        np.testing.assert_allclose(one.T_chunk_cam, other.T_chunk_cam, rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(one.depth, other.depth, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("victim", [0, 2])
def test_a_worker_killed_in_the_middle_of_a_step_costs_nothing(
    on_workers: Maker,
    by_hand: ByHand,
    tiny: NetworkConfig,
    chunks: list[Chunk],
    aside: Callable[..., Future],
    victim: int,
) -> None:
    """Its step is done again as two steps of two workers; nothing of the first attempt stays in the memory."""
    reconstructor = on_workers(replace(tiny, devices=("cpu",) * 3))
    workers = list(reconstructor._pool._workers)
    geometries = run(reconstructor, chunks[:3])
    os.kill(workers[1].pid, signal.SIGSTOP)  # so that the others cannot come further than the first sum
    rest = aside(run, reconstructor, chunks[3:6])
    until(lambda: workers[victim].sums == 1)
    os.kill(workers[victim].pid, signal.SIGKILL)
    os.kill(workers[1].pid, signal.SIGCONT)
    geometries += rest.result(SOON_S)
    assert [geometry.health for geometry in geometries] == [ChunkHealth.OK] * 6
    assert [geometry.note for geometry in geometries] == [
        *[""] * 3,
        f"worker {victim} on cpu was killed by SIGKILL; 2 left",
        *[""] * 2,
    ]
    figures = reconstructor.metrics()
    assert (figures["memory_chunks"], figures["workers"], figures["workers_lost"]) == (6, 2, 1)
    evidence = reconstructor.accumulated_gradient()
    expected, learnt = by_hand(tiny, [chunks[:3], chunks[3:5], chunks[5:6]])
    # Three workers sum in an order of their own, and a memory's bfloat16 step turns a last bit into 2^-9 of a weight.
    assert_same(geometries, expected, tolerance=2e-3)
    for layer, G in learnt.items():
        assert_close(evidence[layer], G, tolerance=2e-3)
    # At the first memory unit it makes no difference at all in which steps chunks were seen.
    _, uninterrupted = by_hand(tiny, [chunks[:3], chunks[3:6]])
    assert_close(evidence[min(evidence)], uninterrupted[min(evidence)])


def test_with_the_last_worker_the_memory_is_lost_and_a_new_one_begins(
    on_workers: Maker, tiny: NetworkConfig, chunks: list[Chunk]
) -> None:
    reconstructor = on_workers(replace(tiny, devices=("cpu", "cpu")))
    run(reconstructor, chunks[:2])
    for pid in reconstructor.pids:
        os.kill(pid, signal.SIGKILL)
    after = run(reconstructor, chunks[2:4])
    for sentence in ("; none left", "a new worker was started, with an empty memory"):
        assert after[0].note.count(sentence) == 1
    assert after[0].note.count("was killed by SIGKILL") == 2
    assert after[1].note == ""
    figures = reconstructor.metrics()
    assert (figures["memory_chunks"], figures["workers"], figures["workers_lost"]) == (2, 1, 2)
    assert_same(after, [NetworkReconstructor(tiny).reconstruct(chunks[2], None), after[1]])


def test_where_no_new_worker_can_be_had_the_chunk_is_an_error_and_the_next_tries_again(
    on_workers: Maker, tiny: NetworkConfig, chunks: list[Chunk]
) -> None:
    reconstructor = on_workers(replace(tiny, devices=("cpu", "cpu")))
    config = reconstructor._pool._config
    for pid in reconstructor.pids:
        os.kill(pid, signal.SIGKILL)
    reconstructor._pool._config = replace(config, devices=("nonsense",))
    with pytest.raises(ReconstructionError, match="device 'nonsense' cannot be used here"):
        reconstructor.reconstruct(chunks[0], None)
    reconstructor._pool._config = config
    assert reconstructor.reconstruct(chunks[1], None).health is ChunkHealth.OK


@pytest.mark.usefixtures("faults")
def test_a_chunk_that_kills_every_worker_is_an_error_and_the_others_are_mapped(
    on_workers: Maker, tiny: NetworkConfig, chunks: list[Chunk]
) -> None:
    reconstructor = on_workers(replace(tiny, devices=("cpu", "cpu")))
    deadly = painted(chunks[1], 255)
    following = [deadly, chunks[2]]
    assert reconstructor.reconstruct(chunks[0], None, following).health is ChunkHealth.OK
    with pytest.raises(ReconstructionError, match="chunk 1 has cost all workers"):
        reconstructor.reconstruct(deadly, None, [chunks[2]])
    after = reconstructor.reconstruct(chunks[2], None)
    assert after.health is ChunkHealth.OK
    assert "a new worker was started" in after.note


def test_a_stopped_worker_is_given_up_after_the_timeout(
    on_workers: Maker, tiny: NetworkConfig, chunks: list[Chunk], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="scal3r_ros")
    reconstructor = on_workers(replace(tiny, devices=("cpu", "cpu")))
    run(reconstructor, chunks[:2])
    reconstructor._pool._timeout_s = 4.0
    os.kill(reconstructor.pids[0], signal.SIGSTOP)
    started = time.monotonic()
    after = run(reconstructor, chunks[2:4])
    assert time.monotonic() - started >= 4.0
    sentence = "worker 0 on cpu gave no sign of life for 4 s (network.step_timeout_s) and was ended; 1 left"
    assert [geometry.note for geometry in after] == [sentence, ""]
    assert [record.message for record in caplog.records] == [sentence]
    assert reconstructor.metrics()["memory_chunks"] == 4


def test_a_worker_stopped_for_less_than_the_timeout_only_costs_time(
    two_workers: ChunkParallelReconstructor, chunks: list[Chunk], aside: Callable[..., Future]
) -> None:
    os.kill(two_workers.pids[1], signal.SIGSTOP)
    done = aside(run, two_workers, chunks[:2])
    time.sleep(0.5)
    assert not done.done()
    os.kill(two_workers.pids[1], signal.SIGCONT)
    assert [geometry.note for geometry in done.result(SOON_S)] == ["", ""]
    assert two_workers.metrics()["workers_lost"] == 0


@pytest.mark.usefixtures("faults")
def test_a_chunk_of_which_nothing_finite_comes_teaches_nothing_and_spoils_no_other(
    on_workers: Maker, tiny: NetworkConfig, chunks: list[Chunk]
) -> None:
    reconstructor = on_workers(replace(tiny, devices=("cpu",) * 3))
    sick = painted(chunks[1], 0)
    given = [chunks[0], sick, chunks[2]]
    first = reconstructor.reconstruct(given[0], None, given[1:])
    second = reconstructor.reconstruct(sick, Previous(given[0], first), given[2:])
    third = reconstructor.reconstruct(given[2], Previous(sick, second))
    assert [one.health for one in (first, second, third)] == [ChunkHealth.OK, ChunkHealth.NOT_FINITE, ChunkHealth.OK]
    assert "not finite" in second.note
    np.testing.assert_array_equal(second.T_chunk_cam[: sick.shared], first.T_chunk_cam[-sick.shared :])
    assert reconstructor.metrics()["memory_chunks"] == 2
    alone = NetworkReconstructor(tiny)
    assert_same([first, third], [alone.reconstruct(chunks[0], None), alone.reconstruct(chunks[2], None)])
    evidence = reconstructor.accumulated_gradient()
    for layer, G in alone.accumulated_gradient().items():
        assert_close(evidence[layer], G)


def test_images_that_change_size_are_an_error_for_their_chunk_only(
    two_workers: ChunkParallelReconstructor, chunks: list[Chunk]
) -> None:
    cut = replace(chunks[1].frames[3], image=chunks[1].frames[3].image[:32])
    odd = replace(chunks[1], frames=(*chunks[1].frames[:3], cut, *chunks[1].frames[4:]))
    assert two_workers.reconstruct(chunks[0], None, [odd]).health is ChunkHealth.OK
    with pytest.raises(ReconstructionError, match="128 × 32 and 128 × 64"):
        two_workers.reconstruct(odd, None, [chunks[2]])
    assert two_workers.reconstruct(chunks[2], None).note == ""
    assert two_workers.metrics()["memory_chunks"] == 2


@pytest.mark.usefixtures("faults")
def test_a_worker_out_of_memory_makes_all_go_in_smaller_parts(
    on_workers: Maker, tiny: NetworkConfig, chunks: list[Chunk], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It fails between the first and the second memory unit, where the others already wait for it."""
    monkeypatch.setenv("TEST_FRAMES_OF_1", "3")
    reconstructor = on_workers(replace(tiny, devices=("cpu", "cpu"), split="chunks"))
    tight = run(reconstructor, [*chunks[:2], replace(chunks[2], frames=chunks[2].frames[:4])])
    assert [geometry.health for geometry in tight] == [ChunkHealth.OK] * 3
    assert [geometry.note for geometry in tight] == [
        "out of memory on a worker: chunks now go in parts of 3 frames", "", ""
    ]  # fmt: skip
    assert [len(geometry.depth) for geometry in tight] == [6, 6, 4]
    # Six frames in three parts, four in two; the attempt that failed left nothing behind.
    assert reconstructor.metrics()["memory_chunks"] == 3 + 3 + 2


@pytest.mark.usefixtures("faults")
def test_devices_too_small_for_two_frames_are_an_error(
    on_workers: Maker, tiny: NetworkConfig, chunks: list[Chunk], monkeypatch: pytest.MonkeyPatch
) -> None:
    for rank in (0, 1):
        monkeypatch.setenv(f"TEST_FRAMES_OF_{rank}", "1")
    reconstructor = on_workers(replace(tiny, devices=("cpu", "cpu")))
    with pytest.raises(
        ReconstructionError, match=r"chunk 0: preset nano does not fit on cpu even with 2 frames \(CUDA out[^\n]*$"
    ):
        reconstructor.reconstruct(chunks[0], None, chunks[1:])
    assert reconstructor.metrics()["workers"] == 2


def test_a_reset_does_not_wait_for_the_step(
    two_workers: ChunkParallelReconstructor, tiny: NetworkConfig, chunks: list[Chunk], aside: Callable[..., Future]
) -> None:
    run(two_workers, chunks[:2])
    os.kill(two_workers.pids[1], signal.SIGSTOP)
    workers = list(two_workers._pool._workers)
    done = aside(two_workers.reconstruct, chunks[2], None, chunks[3:4])
    until(lambda: workers[0].sums == 1)
    started = time.monotonic()
    two_workers.reset()
    assert time.monotonic() - started < SOON_S
    assert "memory_chunks" not in two_workers.metrics()
    os.kill(two_workers.pids[1], signal.SIGCONT)
    done.result(SOON_S)
    assert_same([two_workers.reconstruct(chunks[3], None)], [NetworkReconstructor(tiny).reconstruct(chunks[3], None)])
    assert two_workers.metrics()["memory_chunks"] == 1


def test_closing_ends_a_step_and_all_workers_at_once(
    on_workers: Maker, tiny: NetworkConfig, chunks: list[Chunk], aside: Callable[..., Future]
) -> None:
    reconstructor = on_workers(replace(tiny, devices=("cpu", "cpu")))
    pids = reconstructor.pids
    os.kill(pids[1], signal.SIGSTOP)
    done = aside(run, reconstructor, chunks[:2])
    workers = list(reconstructor._pool._workers)
    until(lambda: workers[0].sums == 1)
    started = time.monotonic()
    reconstructor.close()
    assert time.monotonic() - started < SOON_S
    assert not any(psutil.pid_exists(pid) for pid in pids)
    with pytest.raises(ReconstructionError, match="closed during a chunk"):
        done.result(SOON_S)


def test_the_signals_of_a_terminal_are_not_for_workers(
    two_workers: ChunkParallelReconstructor, chunks: list[Chunk]
) -> None:
    for pid in two_workers.pids:
        assert os.getpgid(pid) != os.getpgid(0)
        os.kill(pid, signal.SIGINT)
    assert run(two_workers, chunks[:2])[0].note == ""


def test_workers_end_with_the_main_process(tmp_path: Path) -> None:
    script = """
import sys, time
from scal3r_ros.reconstruction.network.config import NetworkConfig
from scal3r_ros.sync.devices.chunk_parallel import ChunkParallelReconstructor
tiny = NetworkConfig(preset="nano", allow_random_weights=True, devices=("cpu", "cpu"))
print(*ChunkParallelReconstructor(tiny).pids, flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as main:
        assert main.stdout is not None
        pids = [int(word) for word in main.stdout.readline().split()]
        main.kill()
    assert len(pids) == 2
    until(lambda: not any(_runs(pid) for pid in pids))


def _runs(pid: int) -> bool:
    """Whether a process is there and more than a remainder that nobody has asked about."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
