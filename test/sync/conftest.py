"""Chunks of a picture that drifts by, the sums of steps done by hand, and workers that are gone after the test."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.model import FastWeights, Scal3R
from scal3r_ros.model.memory.unit import fast_weights, gradient, step
from scal3r_ros.reconstruction.network.config import NetworkConfig
from scal3r_ros.reconstruction.network.crop import crop_of
from scal3r_ros.reconstruction.network.dividing.chunk_parts import FrameOrder, frames_with_depth
from scal3r_ros.reconstruction.network.geometry import Answer, geometry_of
from scal3r_ros.reconstruction.network.setup import build_network
from scal3r_ros.reconstruction.protocol import Chunk, ChunkGeometry, Frame
from scal3r_ros.sync.devices.chunk_parallel import ChunkParallelReconstructor

NANO = NetworkConfig(preset="nano", allow_random_weights=True, precision="fp32", device="cpu", restart_workers=False)
CAMERA = Intrinsics(100.0, 100.0, 63.5, 31.5, 128, 64)
SIZE, SHARED = 6, 2
FAULTS = """
import os
import torch
import torch.distributed as dist
from scal3r_ros.model.aggregator import Aggregator
from scal3r_ros.model.scal3r import Scal3R

encode, layer = Scal3R.encode, Aggregator.layer

def faulty_encode(self, images, *rest):
    if bool((images.flatten(1).amin(1) > 0.99).any()):
        os.kill(os.getpid(), 9)
    encoding = encode(self, images, *rest)
    black = images.flatten(1).amax(1) == 0
    encoding.patches[black] = torch.nan
    return encoding

def faulty_layer(self, index, x, tables, *rest, **named):
    rank = dist.get_rank() if dist.is_initialized() else 0
    if index == 2 and len(x) > int(os.environ.get(f"TEST_FRAMES_OF_{rank}", 1000)):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate much.\\nmore lines")
    return layer(self, index, x, tables, *rest, **named)

Scal3R.encode, Aggregator.layer = faulty_encode, faulty_layer
"""


@pytest.fixture
def tiny() -> NetworkConfig:
    """A network of no weight."""
    return NANO


@pytest.fixture(scope="session")
def chunks() -> list[Chunk]:
    """Eight chunks of six frames, two of them shared."""
    rng = np.random.default_rng(1)
    panorama = np.kron(rng.integers(0, 255, (16, 128, 3)), np.ones((4, 4, 1))).astype(np.uint8)
    frames = [Frame(i, 10**9 + i, panorama[:, 8 * i : 8 * i + 128], CAMERA) for i in range(40)]
    step = SIZE - SHARED
    return [Chunk(i, tuple(frames[i * step : i * step + SIZE]), SHARED if i else 0) for i in range(8)]


@dataclass
class _ByHand:
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
        framings = [crop_of(chunk.frames, model.preset.image_width, model.preset.patch) for chunk in chunks]
        orders = [FrameOrder.of(len(chunk.frames)) for chunk in chunks]
        codes = [model.encode(f.images(range(len(c.frames)))) for f, c in zip(framings, chunks, strict=True)]
        tokens = [aggregator.embed(code.patches[order.positions]) for code, order in zip(codes, orders, strict=True)]
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
            asked = frames_with_depth(len(order.places), chunk.shared, self.config.overlap_depth_frames)
            maps = model.depth([x[order.places_of(asked)] for x in of_chunk], framing.grid)
            pose_encoding = model.camera_head(of_chunk[-1])[order.places]
            geometries.append(geometry_of(framing, Answer(pose_encoding, asked, maps, code.descriptor), self.config))
        return geometries


ByHand = Callable[[NetworkConfig, Sequence[Sequence[Chunk]]], tuple[list[ChunkGeometry | None], dict[int, FastWeights]]]


@pytest.fixture(scope="session")
def by_hand() -> ByHand:
    """What comes out of chunks that go in the steps given, and what was learnt, by memory unit."""

    def go(
        config: NetworkConfig, steps: Sequence[Sequence[Chunk]]
    ) -> tuple[list[ChunkGeometry | None], dict[int, FastWeights]]:
        oracle = _ByHand(config, build_network(replace(config, devices=())))
        return [geometry for step in steps for geometry in oracle.step(step)], oracle.learnt

    return go


@pytest.fixture
def on_workers() -> Iterator[Callable[[NetworkConfig], ChunkParallelReconstructor]]:
    """Makes reconstructors with workers, ends them after the test, and sees that none is left."""
    made: list[tuple[ChunkParallelReconstructor, tuple[int, ...]]] = []

    def make(config: NetworkConfig) -> ChunkParallelReconstructor:
        reconstructor = ChunkParallelReconstructor(config)
        made.append((reconstructor, reconstructor.pids))
        return reconstructor

    yield make
    for reconstructor, pids in made:
        reconstructor.close()
        assert not [pid for pid in (*pids, *reconstructor.pids) if psutil.pid_exists(pid)]


@pytest.fixture(scope="module")
def _pair() -> Iterator[ChunkParallelReconstructor]:
    reconstructor = ChunkParallelReconstructor(replace(NANO, devices=("cpu", "cpu")))
    yield reconstructor
    reconstructor.close()


@pytest.fixture
def two_workers(_pair: ChunkParallelReconstructor) -> ChunkParallelReconstructor:
    """Two workers with an empty memory, for tests that lose none: starting some takes seconds."""
    assert _pair.metrics()["workers_lost"] == 0
    _pair.reset()
    return _pair


@pytest.fixture
def faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers die of a white image, make NaN of a black one, and have no memory for as many frames as is said."""
    (tmp_path / "sitecustomize.py").write_text(FAULTS)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH", "")])))
