"""A saved map keeps what its reconstructor has learned, whichever that is; a mapper continues from it bit for bit."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from scal3r_ros.assembly import CoreConfig, build_reconstructor, core_config
from scal3r_ros.errors import ModelError
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.mapping import MapUpdate, OnlineMapper
from scal3r_ros.mapping.storage.map_store import StoredMap
from scal3r_ros.model.memory.snapshot import read_snapshot
from scal3r_ros.reconstruction.protocol import Chunk, Frame

CAMERA = Intrinsics(100.0, 100.0, 63.5, 31.5, 128, 64)
COMMON = {"window.size": 5, "window.overlap": 2, "loops.enabled": False}
NANO = {
    "reconstructor": "scal3r",
    "network.preset": "nano",
    "network.allow_random_weights": True,
    "network.device": "cpu",
    "network.precision": "fp32",
    "network.confidence_half": 1.5,
}
REFINED = {"refine": "bundle_adjustment"}
TWO_DEVICES = {"network.devices": ["cpu", "cpu"]}
LEARNING: dict[str, dict[str, Any]] = {
    "nano": NANO,
    "nano sequential": {**NANO, "network.memory.rule": "sequential"},
    "nano refined": {**NANO, **REFINED},
    "nano on two devices, refined": {**NANO, **TWO_DEVICES, **REFINED},
    "nano with peers, refined": {**NANO, "memory_peers.rendezvous": "127.0.0.1:PORT", **REFINED},
    "tiny": {"reconstructor": "tiny", "network.device": "cpu", "network.precision": "fp32"},
}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    """A smooth picture that drifts by, as a camera's would."""
    panorama = np.kron(np.random.default_rng(1).integers(0, 255, (16, 96, 3)), np.ones((4, 4, 1))).astype(np.uint8)
    return [Frame(i, 10**9 + 10**8 * i, panorama[:, 8 * i : 8 * i + 128], CAMERA) for i in range(24)]


def config_of(values: dict[str, Any]) -> CoreConfig:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    given = {name: value.replace("PORT", port) if isinstance(value, str) else value for name, value in values.items()}
    return core_config({**COMMON, **given})[0]


def drive(mapper: OnlineMapper, frames: list[Frame]) -> list[MapUpdate]:
    updates = [update for frame in frames for update in mapper.push(frame)]
    return [update for update in updates + mapper.flush() if update.geometry is not None]


@pytest.mark.parametrize("name", LEARNING)
def test_every_memory_continues_bit_for_bit(name: str, frames: list[Frame], tmp_path: Path) -> None:
    config = config_of(LEARNING[name])
    with closing(build_reconstructor(config)) as reconstructor:
        mapper = OnlineMapper(config, reconstructor)
        learned = drive(mapper, frames[:14])[-1].metrics["memory_chunks"]
        assert learned > 1
        mapper.save(tmp_path)
        chunk = Chunk(7, tuple(frames[14:19]), 0)
        expected = reconstructor.reconstruct(chunk, None)
    with closing(build_reconstructor(config_of(LEARNING[name]))) as other:
        mapper = OnlineMapper(config, other)
        mapper.load(StoredMap(tmp_path))
        continued = other.reconstruct(chunk, None)
        assert other.metrics()["memory_chunks"] == learned + 1
        later = [Frame(f.index, f.stamp_ns + 10**11, f.image, f.intrinsics) for f in frames[:6]]
        assert drive(mapper, later)[0].metrics["memory_chunks"] > learned + 1
    assert continued.depth.tobytes() == expected.depth.tobytes()
    assert continued.T_chunk_cam.tobytes() == expected.T_chunk_cam.tobytes()


def test_geometry_without_a_memory_saves_and_loads_none(frames: list[Frame], tmp_path: Path) -> None:
    config = core_config({**COMMON, "geometric.sweep.width": 64, "geometric.sweep.planes": 8})[0]
    with closing(build_reconstructor(config)) as reconstructor:
        mapper = OnlineMapper(config, reconstructor)
        assert drive(mapper, frames[:14])
        assert reconstructor.memory is None
        mapper.save(tmp_path)
        assert "memory" not in StoredMap(tmp_path)
        mapper.load(StoredMap(tmp_path))
        assert drive(mapper, frames[:8])


def test_what_peers_have_taught_is_theirs_and_not_saved(frames: list[Frame], tmp_path: Path) -> None:
    values = {**NANO, "memory_peers.rendezvous": "127.0.0.1:PORT", "memory_peers.period_s": 0.05}
    config = config_of(values)
    chunks = [Chunk(0, tuple(frames[:5]), 0), Chunk(0, tuple(frames[10:15]), 0)]
    with closing(build_reconstructor(config, "one")) as one, closing(build_reconstructor(config, "other")) as other:
        other.reconstruct(chunks[1], None)
        end = time.monotonic() + 30
        while not any(name.startswith("peer_rounds_") for name in one.metrics()) and time.monotonic() < end:
            time.sleep(0.02)
        one.reconstruct(chunks[0], None)
        assert one.memory is not None
        one.memory.snapshot(tmp_path / "shared")
        assert one.metrics()["peers"] == 1
    with closing(build_reconstructor(core_config({**COMMON, **NANO})[0])) as alone:
        alone.reconstruct(chunks[0], None)
        assert alone.memory is not None
        alone.memory.snapshot(tmp_path / "alone")
    shared, own = (read_snapshot(tmp_path / name) for name in ("shared", "alone"))
    first = min(own.layers)  # the layers below it have seen no memory, so no peer, either
    assert shared.chunks == own.chunks == 1
    for ours, theirs in zip(shared.layers[first], own.layers[first], strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        ({"network.preset": "small"}, "belongs to another preset than small"),
        ({"network.memory.rule": "sequential"}, "was made by the rule running"),
    ],
)
def test_the_memory_of_another_network_is_refused_in_one_sentence(
    frames: list[Frame], tmp_path: Path, other: dict[str, Any], sentence: str
) -> None:
    config = core_config({**COMMON, **NANO})[0]
    mapper = OnlineMapper(config, build_reconstructor(config))
    drive(mapper, frames[:10])
    mapper.save(tmp_path)
    unlike = core_config({**COMMON, **NANO, **other})[0]
    with pytest.raises(ModelError, match=sentence) as caught:
        OnlineMapper(unlike, build_reconstructor(unlike)).load(StoredMap(tmp_path))
    assert "\n" not in str(caught.value)
