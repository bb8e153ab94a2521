"""Chunks that go through the network in step on several processes, against the sums done by hand in one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from scal3r_ros.assembly import build_reconstructor, core_config
from scal3r_ros.errors import ModelError, ReconstructionError
from scal3r_ros.model import FastWeights
from scal3r_ros.model.memory.snapshot import read_snapshot
from scal3r_ros.reconstruction.network.config import NetworkConfig, NetworkMemoryConfig
from scal3r_ros.reconstruction.network.reconstructor import NetworkReconstructor
from scal3r_ros.reconstruction.protocol import Chunk, ChunkGeometry, ChunkHealth
from scal3r_ros.sync.devices.chunk_parallel import ChunkParallelReconstructor
from scal3r_ros.sync.devices.messages import Done, ReadGradients

Maker = Callable[[NetworkConfig], ChunkParallelReconstructor]
ByHand = Callable[[NetworkConfig, Sequence[Sequence[Chunk]]], tuple[list[ChunkGeometry | None], dict[int, FastWeights]]]

pytestmark = pytest.mark.timeout(300)

# Were the gradients of a step not summed before its first answer, depths would differ by 2e-4 and gradients by 1e-2.
ROUNDING = {"rtol": 1e-5, "atol": 1e-5}
EVIDENCE = 1e-4


def run(reconstructor: ChunkParallelReconstructor | NetworkReconstructor, chunks: list[Chunk]) -> list[ChunkGeometry]:
    """As replay does it with a mapper that holds many chunks."""
    return [reconstructor.reconstruct(chunk, None, chunks[i + 1 :]) for i, chunk in enumerate(chunks)]


def assert_same(ours: Sequence[ChunkGeometry], theirs: Sequence[ChunkGeometry | None], tolerance: dict) -> None:
    for one, other in zip(ours, theirs, strict=True):
        assert other is not None
        for name in ("T_chunk_cam", "depth", "confidence", "descriptors"):
            np.testing.assert_allclose(getattr(one, name), getattr(other, name), **tolerance, err_msg=name)


def assert_close(ours: Mapping[int, FastWeights], theirs: Mapping[int, FastWeights]) -> None:
    assert ours.keys() == theirs.keys()
    for layer in ours:
        for one, other in zip(ours[layer], theirs[layer], strict=True):
            assert (one - other).norm() <= EVIDENCE * other.norm(), layer


@pytest.mark.parametrize(("workers", "decay"), [(2, 1.0), (3, 0.9)])
def test_workers_in_step_equal_one_process_that_sums_their_gradients(
    on_workers: Maker, by_hand: ByHand, tiny: NetworkConfig, chunks: list[Chunk], workers: int, decay: float
) -> None:
    """Five chunks do not go up in either number: in the last step, somebody stands by."""
    config = replace(tiny, devices=("cpu",) * workers, memory=NetworkMemoryConfig(decay=decay))
    reconstructor, given = on_workers(config), chunks[:5]
    ours = run(reconstructor, given)
    theirs, evidence = by_hand(config, [given[i : i + workers] for i in range(0, 5, workers)])
    assert_same(ours, theirs, ROUNDING)
    assert all(geometry.note == "" and geometry.health is ChunkHealth.OK for geometry in ours)
    assert_close(reconstructor.accumulated_gradient(), evidence)
    figures = reconstructor.metrics()
    assert figures["memory_chunks"] == 5
    assert (figures["workers"], figures["workers_lost"]) == (workers, 0)
    told = reconstructor._pool.send_all(ReadGradients())
    assert len(told) == workers
    for reply in told:
        assert isinstance(reply, Done)
        assert isinstance(told[0], Done)
        assert reply.gradients is not None
        assert told[0].gradients is not None
        for layer, arrays in reply.gradients.items():
            assert [w.tobytes() for w in arrays] == [w.tobytes() for w in told[0].gradients[layer]]


def test_a_memory_that_never_learns_needs_no_sums(on_workers: Maker, tiny: NetworkConfig, chunks: list[Chunk]) -> None:
    config = replace(tiny, memory=NetworkMemoryConfig(rule="frozen"))
    reconstructor = on_workers(replace(config, devices=("cpu", "cpu")))
    assert_same(run(reconstructor, chunks[:3]), run(NetworkReconstructor(config), chunks[:3]), ROUNDING)
    assert reconstructor.metrics()["memory_chunks"] == 3
    assert reconstructor.accumulated_gradient() == {}


def test_sequential_weights_take_one_step_for_all_chunks_of_a_step(
    on_workers: Maker, by_hand: ByHand, tiny: NetworkConfig, chunks: list[Chunk], tmp_path: Path
) -> None:
    config = replace(tiny, devices=("cpu", "cpu"), memory=NetworkMemoryConfig(rule="sequential"))
    reconstructor = on_workers(config)
    ours = run(reconstructor, chunks[:3])
    theirs, weights = by_hand(config, [chunks[:2], chunks[2:3]])
    assert_same(ours, theirs, ROUNDING)
    reconstructor.snapshot(tmp_path / "memory.safetensors")
    snapshot = read_snapshot(tmp_path / "memory.safetensors")
    assert snapshot.chunks == 3
    for layer, W in snapshot.layers.items():
        for one, other in zip(W, weights[layer], strict=True):
            assert (one - other).norm() <= EVIDENCE * other.norm()


def test_equal_runs_give_equal_bytes_and_a_snapshot_goes_on(
    two_workers: ChunkParallelReconstructor, chunks: list[Chunk], tmp_path: Path
) -> None:
    """After a reset everything is as at the start; a memory that was written and read back is the same one."""
    whole = run(two_workers, chunks[:6])
    two_workers.reset()
    assert "memory_chunks" not in two_workers.metrics()
    begun = run(two_workers, chunks[:4])
    two_workers.snapshot(tmp_path / "memory.safetensors")
    two_workers.reset()
    assert two_workers.accumulated_gradient() == {}
    two_workers.restore(tmp_path / "memory.safetensors")
    ended = run(two_workers, chunks[4:6])
    for one, other in zip([*begun, *ended], whole, strict=True):
        assert one.depth.tobytes() == other.depth.tobytes()
        assert one.T_chunk_cam.tobytes() == other.T_chunk_cam.tobytes()
    assert two_workers.metrics()["memory_chunks"] == 6
    with pytest.raises(ModelError, match=r"gone\.safetensors cannot be read"):
        two_workers.restore(tmp_path / "gone.safetensors")
    assert run(two_workers, chunks[6:7])[0].health is ChunkHealth.OK
    assert two_workers.metrics()["memory_chunks"] == 7


def test_a_memory_of_workers_goes_on_in_one_process(
    two_workers: ChunkParallelReconstructor, tiny: NetworkConfig, chunks: list[Chunk], tmp_path: Path
) -> None:
    run(two_workers, chunks[:2])
    two_workers.snapshot(tmp_path / "memory.safetensors")
    alone = NetworkReconstructor(tiny)
    alone.restore(tmp_path / "memory.safetensors")
    assert_same(run(alone, chunks[2:3]), run(two_workers, chunks[2:3]), ROUNDING)


def test_a_step_takes_what_there_is_and_keeps_what_was_not_asked_for_yet(
    two_workers: ChunkParallelReconstructor, tiny: NetworkConfig, chunks: list[Chunk]
) -> None:
    assert two_workers.max_parallel_chunks == 2
    alone = two_workers.reconstruct(chunks[0], None)
    assert two_workers.metrics()["memory_chunks"] == 1
    assert_same([alone], run(NetworkReconstructor(tiny), chunks[:1]), ROUNDING)
    two_workers.reconstruct(chunks[1], None, chunks[2:6])
    assert two_workers.metrics()["memory_chunks"] == 3
    two_workers.reconstruct(chunks[2], None, chunks[3:])  # was kept
    assert two_workers.metrics()["memory_chunks"] == 3
    two_workers.reconstruct(chunks[3], None, chunks[4:5])
    other = replace(chunks[4], frames=chunks[5].frames)  # the same index, other frames: what was kept does not match
    assert two_workers.reconstruct(other, None).health is ChunkHealth.OK
    assert two_workers.metrics()["memory_chunks"] == 6


def test_a_device_that_is_none_is_one_clear_error() -> None:
    config, _ = core_config(
        {
            "reconstructor": "scal3r",
            "network.preset": "nano",
            "network.allow_random_weights": True,
            "network.devices": ["cpu", "nonsense"],
        }
    )
    with pytest.raises(ReconstructionError, match=r"^device 'nonsense' cannot be used here: [^\n]*$"):
        build_reconstructor(config)


def test_missing_weights_are_said_as_by_one_process() -> None:
    config, _ = core_config({"reconstructor": "scal3r", "network.devices": ["cpu", "cpu"]})
    with pytest.raises(ReconstructionError, match=r"needs weights, but network\.checkpoint is empty"):
        build_reconstructor(config)


@pytest.mark.parametrize("devices", [[], [""], ["cpu"]])
def test_fewer_than_two_devices_need_no_workers(devices: list[str]) -> None:
    config, _ = core_config(
        {
            "reconstructor": "scal3r",
            "network.preset": "nano",
            "network.allow_random_weights": True,
            "network.device": "cpu",
            "network.devices": devices,
        }
    )
    assert isinstance(build_reconstructor(config), NetworkReconstructor)
