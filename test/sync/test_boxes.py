"""Two boxes of two workers each: all four answer with one memory, equal to that of one process that saw all chunks."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence

import psutil
import pytest
import torch

from scal3r_ros.assembly import build_reconstructor, core_config
from scal3r_ros.model import FastWeights
from scal3r_ros.reconstruction.network.config import NetworkConfig
from scal3r_ros.reconstruction.protocol import Chunk, ChunkGeometry, ChunkHealth
from scal3r_ros.sync.devices.chunk_parallel import ChunkParallelReconstructor
from scal3r_ros.sync.devices.messages import Done, ReadGradients

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

PATIENCE_S = 120.0
ByHand = Callable[[NetworkConfig, Sequence[Sequence[Chunk]]], tuple[list[ChunkGeometry | None], dict[int, FastWeights]]]
Total = dict[int, tuple[torch.Tensor, ...]]


@pytest.fixture
def box() -> Iterator[Callable[..., ChunkParallelReconstructor]]:
    """Makes boxes that share their memory, as the node and `scal3r replay` do; all are closed with the test."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    made: list[ChunkParallelReconstructor] = []

    def make(name: str, backend: str = "auto") -> ChunkParallelReconstructor:
        values = {
            "reconstructor": "scal3r",
            "network.preset": "nano",
            "network.allow_random_weights": True,
            "network.precision": "fp32",
            "network.devices": ["cpu", "cpu"],
            "memory_peers.rendezvous": address,
            "memory_peers.name": name,
            "memory_peers.period_s": 0.1,
            "memory_peers.deadline_s": 5.0,
            "memory_peers.backend": backend,
        }
        reconstructor = build_reconstructor(core_config(values)[0])
        assert isinstance(reconstructor, ChunkParallelReconstructor)
        made.append(reconstructor)
        return reconstructor

    yield make
    for reconstructor in made:
        pids = reconstructor.pids
        reconstructor.close()
        assert not [pid for pid in pids if psutil.pid_exists(pid)]


def within(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def totals(box: ChunkParallelReconstructor) -> list[Total]:
    """The gradient that each worker answers with: of its own box and of the peers."""
    replies = box._pool.send_all(ReadGradients(box._pool.peer_sum))
    read = []
    for reply in replies:
        assert isinstance(reply, Done)
        assert reply.gradients is not None
        read.append({layer: tuple(map(torch.from_numpy, arrays)) for layer, arrays in reply.gradients.items()})
    return read


def equal(one: Total, two: Total) -> bool:
    return one.keys() == two.keys() and all(
        torch.equal(a, b) for layer in one for a, b in zip(one[layer], two[layer], strict=True)
    )


def agree(*boxes: ChunkParallelReconstructor) -> bool:
    """Whether all workers of all boxes have the same gradient, bit for bit, and have any."""
    read = [total for one in boxes for total in totals(one)]
    return bool(read[0]) and all(equal(read[0], other) for other in read[1:])


def off(one: Total, other: dict[int, FastWeights], layer: int) -> float:
    pairs = list(zip(one[layer], other[layer], strict=True))
    return (sum(float((a - b).norm() ** 2) for a, b in pairs) / sum(float(b.norm() ** 2) for _, b in pairs)) ** 0.5


def step(box: ChunkParallelReconstructor, chunks: list[Chunk]) -> list[ChunkGeometry]:
    return [box.reconstruct(chunk, None, chunks[i + 1 :]) for i, chunk in enumerate(chunks)]


@pytest.mark.parametrize("backend", ["auto", "gloo"])
def test_four_workers_in_two_boxes_hold_what_one_process_that_saw_all_chunks_has_learned(
    box: Callable[..., ChunkParallelReconstructor],
    by_hand: ByHand,
    tiny: NetworkConfig,
    chunks: list[Chunk],
    backend: str,
) -> None:
    """The boxes map in turn, each after it has the other's gradient: so one process would have seen the chunks."""
    a, b = box("a", backend), box("b", backend)
    assert within(lambda: a.metrics()["peers"] == b.metrics()["peers"] == 1)
    geometries = []
    for turn in range(4):
        geometries += step((a, b)[turn % 2], chunks[2 * turn : 2 * turn + 2])
        assert within(lambda: agree(a, b)), turn
    assert all(geometry.health is ChunkHealth.OK and geometry.note == "" for geometry in geometries)
    learned = totals(a) + totals(b)
    assert len(learned) == 4
    theirs, expected = by_hand(tiny, [chunks[2 * turn : 2 * turn + 2] for turn in range(4)])
    for layer in expected:
        # A memory's bfloat16 step turns a last bit into 2^-9 of a weight, which the next unit sees.
        assert off(learned[0], expected, layer) < (1e-5 if layer == min(expected) else 2e-3)
    for one, other in zip(geometries, theirs, strict=True):
        assert other is not None
        torch.testing.assert_close(torch.from_numpy(one.depth), torch.from_numpy(other.depth), rtol=2e-3, atol=2e-3)
    own_a, own_b = a.accumulated_gradient(), b.accumulated_gradient()
    for layer, total in learned[0].items():
        for index, w in enumerate(total):
            assert torch.equal(w, own_a[layer][index] + own_b[layer][index])


def test_what_a_box_learns_last_reaches_the_other_when_it_closes_and_a_reset_empties_only_its_own(
    box: Callable[..., ChunkParallelReconstructor], chunks: list[Chunk]
) -> None:
    a, b = box("a"), box("b")
    step(a, chunks[:2])
    step(b, chunks[2:4])
    assert within(lambda: agree(a, b))
    own_b = {layer: tuple(G) for layer, G in b.accumulated_gradient().items()}
    a.reset()
    assert within(lambda: equal(totals(b)[0], own_b))
    step(a, chunks[4:6])
    last = a.accumulated_gradient()
    a.close()
    assert within(lambda: all(off(total, _sum(own_b, last), layer) < 1e-6 for total in totals(b) for layer in last))
    assert b.metrics()["peers"] == 0


def test_a_worker_that_is_killed_costs_its_box_nothing_that_was_learned_here_or_there(
    box: Callable[..., ChunkParallelReconstructor], chunks: list[Chunk]
) -> None:
    a, b = box("a"), box("b")
    step(a, chunks[:2])
    step(b, chunks[2:4])
    assert within(lambda: agree(a, b))
    before = totals(a)[0]
    os.kill(a.pids[0], signal.SIGKILL)
    after = step(a, chunks[4:6])
    assert [geometry.health for geometry in after] == [ChunkHealth.OK] * 2
    assert a.metrics()["workers_lost"] == 1
    assert within(lambda: agree(a, b))
    assert a.metrics()["workers_lost"] == 1, a._pool.news()
    first = min(before)
    assert not equal({first: before[first]}, {first: totals(a)[0][first]})


def _sum(one: Total, other: dict[int, FastWeights]) -> dict[int, FastWeights]:
    return {layer: FastWeights(*(a + b for a, b in zip(one[layer], other[layer], strict=True))) for layer in one}
