"""The offline pass: every chunk answered by a memory that has seen all of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from scal3r_ros.errors import ReconstructionError
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.model import OnDisk, preset_named, random_model
from scal3r_ros.reconstruction.network.config import NetworkConfig
from scal3r_ros.reconstruction.network.crop import crop_of
from scal3r_ros.reconstruction.network.offline import OfflineReconstructor
from scal3r_ros.reconstruction.network.reconstructor import NetworkReconstructor
from scal3r_ros.reconstruction.protocol import Chunk, ChunkHealth, Frame

NANO = NetworkConfig(preset="nano", allow_random_weights=True, device="cpu", precision="fp32")
CAMERA = Intrinsics(100.0, 100.0, 60.0, 33.0, 128, 64)


@pytest.fixture(scope="module")
def chunks() -> list[Chunk]:
    rng = np.random.default_rng(1)
    frames = [Frame(i, i, rng.integers(0, 255, (64, 128, 3), dtype=np.uint8), CAMERA) for i in range(13)]
    return [Chunk(i, tuple(frames[4 * i : 4 * i + 5]), 1 if i else 0) for i in range(3)]


def test_one_chunk_offline_is_that_chunk_online(chunks: list[Chunk], tmp_path: Path) -> None:
    """With a single chunk there is nothing that the offline memory could know before the online one."""
    offline = OfflineReconstructor(NANO, tmp_path)
    offline.learn(chunks[:1])
    ours = offline.reconstruct(chunks[0], None)
    theirs = NetworkReconstructor(NANO).reconstruct(chunks[0], None)
    for name in ("T_chunk_cam", "depth", "confidence", "descriptors"):
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=1e-4, atol=1e-5)
    assert ours.intrinsics == theirs.intrinsics
    assert ours.health is ChunkHealth.OK


def test_the_first_chunk_already_knows_the_last(chunks: list[Chunk], tmp_path: Path) -> None:
    depths = []
    for number, last in enumerate((chunks[1], replace(chunks[2], index=1))):
        folder = tmp_path / str(number)
        folder.mkdir()
        offline = OfflineReconstructor(NANO, folder)
        offline.learn([chunks[0], last])
        depths.append(offline.reconstruct(chunks[0], None).depth)
    assert np.abs(depths[0] - depths[1]).max() > 1e-4


def test_all_chunks_come_in_order_and_only_once(chunks: list[Chunk], tmp_path: Path) -> None:
    offline = OfflineReconstructor(NANO, tmp_path)
    offline.learn(iter(chunks))
    for waiting, chunk in zip((3, 2, 1), chunks, strict=True):
        assert offline.metrics() == {"offline_chunks": waiting}
        assert offline.reconstruct(chunk, None).depth.shape == (5, 32, 64)
    with pytest.raises(ReconstructionError, match="not the one that was learned from"):
        offline.reconstruct(chunks[2], None)


def test_another_chunk_than_the_learnt_one_is_an_error(chunks: list[Chunk], tmp_path: Path) -> None:
    offline = OfflineReconstructor(NANO, tmp_path)
    offline.learn(chunks)
    with pytest.raises(ReconstructionError, match="chunk 1 is not the one"):
        offline.reconstruct(chunks[1], None)


def test_a_full_disk_is_one_sentence(chunks: list[Chunk], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(store: OnDisk, key: str, tensor: torch.Tensor) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(OnDisk, "put", full)
    with pytest.raises(ReconstructionError, match=r"No space left on device.*more room"):
        OfflineReconstructor(NANO, tmp_path).learn(chunks)


def test_numbers_that_are_none_leave_a_chunk_unmeasured(chunks: list[Chunk], tmp_path: Path) -> None:
    model = random_model(preset_named("nano"), 0).requires_grad_(False)
    model.camera_head.pose_mlp.fc2.bias.fill_(torch.nan)
    offline = OfflineReconstructor(NANO, tmp_path, model)
    offline.learn(chunks)
    geometry = offline.reconstruct(chunks[0], None)
    assert geometry.health is ChunkHealth.NOT_FINITE
    assert geometry.depth.shape == (5, *crop_of(chunks[0].frames, 64, 8).size)
