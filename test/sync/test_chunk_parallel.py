"""Chunks that go through the network in step on several processes, against the sums done by hand in one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from scal3r_ros.assembly import build_reconstructor, core_config
from scal3r_ros.errors import ModelError, ReconstructionError
from scal3r_ros.model import FastWeights, Scal3R
from scal3r_ros.model.memory import fast_weights, gradient, step
from scal3r_ros.model.snapshot import read_snapshot
from scal3r_ros.reconstruction.chunk_parts import frames_with_depth, reference_first
from scal3r_ros.reconstruction.framing import framing_of
from scal3r_ros.reconstruction.network import NetworkReconstructor
from scal3r_ros.reconstruction.network_config import NetworkConfig, NetworkMemoryConfig
from scal3r_ros.reconstruction.network_geometry import Answer, geometry_of
from scal3r_ros.reconstruction.network_setup import build_network
from scal3r_ros.reconstruction.protocol import Chunk, ChunkGeometry, ChunkHealth
from scal3r_ros.sync.chunk_parallel import ChunkParallelReconstructor
from scal3r_ros.sync.orders import Done, TellEvidence

Maker = Callable[[NetworkConfig], ChunkParallelReconstructor]

pytestmark = pytest.mark.timeout(60)

# Were the gradients of a step not summed before its first answer, depths would differ by 2e-4 and evidence by 1e-2.
ROUNDING = {"rtol": 1e-5, "atol": 1e-5}
EVIDENCE = 1e-4


@dataclass
class ByHand:
    """The chunks of a step taken through the network layer by layer in one process, their gradients summed in a loop.

    Knows nothing of `MemoryState`: it has its own two lines for either rule.
    """

    config: NetworkConfig
    model: Scal3R
    learnt: dict[int, FastWeights] = field(default_factory=dict)

    def step(self, chunks: Sequence[Chunk]) -> list[ChunkGeometry | None]:
        with torch.inference_mode():
            return self._step(chunks)

    def _step(self, chunks: Sequence[Chunk]) -> list[ChunkGeometry | None]:
        model, aggregator = self.model, self.model.aggregator
        framings = [framing_of(chunk.frames, model.preset.image_width, model.preset.patch) for chunk in chunks]
        orders = [reference_first(len(chunk.frames)) for chunk in chunks]
        codes = [model.encode(f.images(range(len(c.frames)))) for f, c in zip(framings, chunks, strict=True)]
        tokens = [aggregator.embed(code.patches[order]) for code, order in zip(codes, orders, strict=True)]
        features: list[list[torch.Tensor]] = [[] for _ in chunks]
        tables = aggregator.tables(framings[0].grid, torch.device("cpu"))
        for layer in range(aggregator.config.depth):
            frame_tokens, tokens = map(list, zip(*(aggregator.layer(layer, x, tables) for x in tokens), strict=True))
            unit = aggregator.unit(layer)
            if unit is not None:
                told = [aggregator.project(unit, x, tables) for x in tokens]
                sequential = self.config.memory.rule == "sequential"
                at = self.learnt.get(layer, unit.initial) if sequential else unit.initial
                g = gradient(told[0], at)
                for one in told[1:]:
                    g = g.plus(gradient(one, at))
                if sequential:
                    W = self.learnt[layer] = step(at, g, unit.initial, 5)
                else:
                    before = self.learnt.get(layer)
                    self.learnt[layer] = g if before is None else before.times(self.config.memory.decay).plus(g)
                    W = fast_weights(unit.initial, self.learnt[layer])
                tokens = [aggregator.remember(unit, x, p.q, W) for x, p in zip(tokens, told, strict=True)]
            if layer in aggregator.config.head_layers:
                for kept, frame, x in zip(features, frame_tokens, tokens, strict=True):
                    kept.append(torch.cat((frame, x), dim=-1))
        geometries = []
        for chunk, framing, order, code, of_chunk in zip(chunks, framings, orders, codes, features, strict=True):
            place = [order.index(position) for position in range(len(order))]
            asked = frames_with_depth(len(order), chunk.shared, self.config.shared_depth_frames)
            maps = model.depth([x[[place[position] for position in asked]] for x in of_chunk], framing.grid)
            pose_encoding = model.camera_head(of_chunk[-1])[place]
            geometries.append(geometry_of(framing, Answer(pose_encoding, asked, maps, code.descriptor), self.config))
        return geometries


def run(reconstructor: ChunkParallelReconstructor | NetworkReconstructor, chunks: list[Chunk]) -> list[ChunkGeometry]:
    """As replay does it with a mapper that holds many chunks."""
    return [reconstructor.reconstruct(chunk, None, chunks[i + 1 :]) for i, chunk in enumerate(chunks)]


def by_hand(
    config: NetworkConfig, steps: Sequence[Sequence[Chunk]]
) -> tuple[list[ChunkGeometry | None], dict[int, FastWeights]]:
    oracle = ByHand(config, build_network(replace(config, devices=())))
    return [geometry for step in steps for geometry in oracle.step(step)], oracle.learnt


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
    on_workers: Maker, tiny: NetworkConfig, chunks: list[Chunk], workers: int, decay: float
) -> None:
    """Five chunks do not go up in either number: in the last step, somebody stands by."""
    config = replace(tiny, devices=("cpu",) * workers, memory=NetworkMemoryConfig(decay=decay))
    reconstructor, given = on_workers(config), chunks[:5]
    ours = run(reconstructor, given)
    theirs, evidence = by_hand(config, [given[i : i + workers] for i in range(0, 5, workers)])
    assert_same(ours, theirs, ROUNDING)
    assert all(geometry.note == "" and geometry.health is ChunkHealth.OK for geometry in ours)
    assert_close(reconstructor.evidence(), evidence)
    figures = reconstructor.figures()
    assert figures["memory_chunks"] == 5
    assert (figures["workers"], figures["workers_lost"]) == (workers, 0)
    told = reconstructor._crew.everybody(TellEvidence())
    assert len(told) == workers
    for reply in told:
        assert isinstance(reply, Done)
        assert isinstance(told[0], Done)
        assert reply.evidence is not None
        assert told[0].evidence is not None
        for layer, arrays in reply.evidence.items():
            assert [w.tobytes() for w in arrays] == [w.tobytes() for w in told[0].evidence[layer]]


def test_a_memory_that_never_learns_needs_no_sums(on_workers: Maker, tiny: NetworkConfig, chunks: list[Chunk]) -> None:
    config = replace(tiny, memory=NetworkMemoryConfig(rule="frozen"))
    reconstructor = on_workers(replace(config, devices=("cpu", "cpu")))
    assert_same(run(reconstructor, chunks[:3]), run(NetworkReconstructor(config), chunks[:3]), ROUNDING)
    assert reconstructor.figures()["memory_chunks"] == 3
    assert reconstructor.evidence() == {}


def test_sequential_weights_take_one_step_for_all_chunks_of_a_step(
    on_workers: Maker, tiny: NetworkConfig, chunks: list[Chunk], tmp_path: Path
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
    on_workers: Maker, tiny: NetworkConfig, chunks: list[Chunk], tmp_path: Path
) -> None:
    """After a reset everything is as at the start; a memory that was written and read back is the same one."""
    reconstructor = on_workers(replace(tiny, devices=("cpu", "cpu")))
    whole = run(reconstructor, chunks[:6])
    reconstructor.reset()
    assert "memory_chunks" not in reconstructor.figures()
    begun = run(reconstructor, chunks[:4])
    reconstructor.snapshot(tmp_path / "memory.safetensors")
    reconstructor.reset()
    assert reconstructor.evidence() == {}
    reconstructor.restore(tmp_path / "memory.safetensors")
    ended = run(reconstructor, chunks[4:6])
    for one, other in zip([*begun, *ended], whole, strict=True):
        assert one.depth.tobytes() == other.depth.tobytes()
        assert one.T_chunk_cam.tobytes() == other.T_chunk_cam.tobytes()
    assert reconstructor.figures()["memory_chunks"] == 6
    with pytest.raises(ModelError, match=r"gone\.safetensors can not be read"):
        reconstructor.restore(tmp_path / "gone.safetensors")
    assert run(reconstructor, chunks[6:7])[0].health is ChunkHealth.OK
    assert reconstructor.figures()["memory_chunks"] == 7


def test_a_memory_of_workers_goes_on_in_one_process(
    on_workers: Maker, tiny: NetworkConfig, chunks: list[Chunk], tmp_path: Path
) -> None:
    reconstructor = on_workers(replace(tiny, devices=("cpu", "cpu")))
    run(reconstructor, chunks[:2])
    reconstructor.snapshot(tmp_path / "memory.safetensors")
    alone = NetworkReconstructor(tiny)
    alone.restore(tmp_path / "memory.safetensors")
    assert_same(run(alone, chunks[2:3]), run(reconstructor, chunks[2:3]), ROUNDING)


def test_a_step_takes_what_there_is_and_keeps_what_was_not_asked_for_yet(
    on_workers: Maker, tiny: NetworkConfig, chunks: list[Chunk]
) -> None:
    reconstructor = on_workers(replace(tiny, devices=("cpu", "cpu")))
    assert reconstructor.width == 2
    alone = reconstructor.reconstruct(chunks[0], None)
    assert reconstructor.figures()["memory_chunks"] == 1
    assert_same([alone], run(NetworkReconstructor(tiny), chunks[:1]), ROUNDING)
    reconstructor.reconstruct(chunks[1], None, chunks[2:6])
    assert reconstructor.figures()["memory_chunks"] == 3
    reconstructor.reconstruct(chunks[2], None, chunks[3:])  # was kept
    assert reconstructor.figures()["memory_chunks"] == 3
    reconstructor.reconstruct(chunks[3], None, chunks[4:5])
    other = replace(chunks[4], frames=chunks[5].frames)  # the same index, other frames: what was kept does not match
    assert reconstructor.reconstruct(other, None).health is ChunkHealth.OK
    assert reconstructor.figures()["memory_chunks"] == 6


def test_a_device_that_is_none_is_one_clear_error() -> None:
    config, _ = core_config(
        {
            "reconstructor": "scal3r",
            "network.preset": "tiny",
            "network.allow_random_weights": True,
            "network.devices": ["cpu", "nonsense"],
        }
    )
    with pytest.raises(ReconstructionError, match=r"^device 'nonsense' can not be used here: [^\n]*$"):
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
            "network.preset": "tiny",
            "network.allow_random_weights": True,
            "network.device": "cpu",
            "network.devices": devices,
        }
    )
    assert isinstance(build_reconstructor(config), NetworkReconstructor)
