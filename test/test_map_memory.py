"""A saved map takes the network's memory along: it goes on bit for bit, or is refused where it does not fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from scal3r_ros.errors import ModelError
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.mapping import MapperConfig, OnlineMapper
from scal3r_ros.mapping.frontend.window import WindowConfig
from scal3r_ros.mapping.storage.map_store import StoredMap
from scal3r_ros.reconstruction.network.config import NetworkConfig, NetworkMemoryConfig
from scal3r_ros.reconstruction.network.reconstructor import NetworkReconstructor
from scal3r_ros.reconstruction.protocol import Chunk, Frame

NANO = NetworkConfig(preset="nano", allow_random_weights=True, device="cpu", precision="fp32", confidence_half=1.5)
CONFIG = MapperConfig(window=WindowConfig(size=5, overlap=2))
CAMERA = Intrinsics(100.0, 100.0, 63.5, 31.5, 128, 64)


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    """A smooth picture that drifts by, as a camera's would."""
    panorama = np.kron(np.random.default_rng(1).integers(0, 255, (16, 96, 3)), np.ones((4, 4, 1))).astype(np.uint8)
    return [Frame(i, 10**9 + 10**8 * i, panorama[:, 8 * i : 8 * i + 128], CAMERA) for i in range(24)]


def test_the_memory_goes_on_bit_for_bit(frames: list[Frame], tmp_path: Path) -> None:
    first, second = NetworkReconstructor(NANO), NetworkReconstructor(NANO)
    mapper, other = OnlineMapper(CONFIG, first), OnlineMapper(CONFIG, second)
    for frame in frames[:14]:
        mapper.push(frame)
    mapper.save(tmp_path)
    other.load(StoredMap(tmp_path))
    assert first.evidence()
    for layer, weights in first.evidence().items():
        for ours, theirs in zip(weights, second.evidence()[layer], strict=True):
            assert torch.equal(ours, theirs)
    chunk = Chunk(7, tuple(frames[14:19]), 0)
    ours, theirs = (network.reconstruct(chunk, None) for network in (first, second))
    assert ours.depth.tobytes() == theirs.depth.tobytes()
    assert ours.T_chunk_cam.tobytes() == theirs.T_chunk_cam.tobytes()
    assert first.metrics()["memory_chunks"] == second.metrics()["memory_chunks"] > 2


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (replace(NANO, preset="small"), "belongs to another preset than small"),
        (replace(NANO, memory=NetworkMemoryConfig(rule="sequential")), "was made by the rule running"),
    ],
)
def test_the_memory_of_another_network_is_refused_in_one_sentence(
    frames: list[Frame], tmp_path: Path, config: NetworkConfig, sentence: str
) -> None:
    mapper = OnlineMapper(CONFIG, NetworkReconstructor(NANO))
    for frame in frames[:10]:
        mapper.push(frame)
    mapper.save(tmp_path)
    with pytest.raises(ModelError, match=sentence) as caught:
        OnlineMapper(CONFIG, NetworkReconstructor(config)).load(StoredMap(tmp_path))
    assert "\n" not in str(caught.value)
