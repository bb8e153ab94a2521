"""A stem that sees the frame before is shown it, also where chunks meet, and in the order of time."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from scal3r_ros.geometry import se3
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.model import Scal3R, decode_pose, frozen, random_model
from scal3r_ros.model.encoder.encoder import Encoding, StemConfig
from scal3r_ros.model.layers.blocks import LayerScale
from scal3r_ros.model.weights.presets import NANO
from scal3r_ros.reconstruction.network.config import NetworkConfig, NetworkMemoryConfig
from scal3r_ros.reconstruction.network.dividing.chunk_parts import FrameOrder
from scal3r_ros.reconstruction.network.offline import OfflineReconstructor
from scal3r_ros.reconstruction.network.reconstructor import NetworkReconstructor
from scal3r_ros.reconstruction.protocol import Chunk, Frame

SEEING = dataclasses.replace(NANO, encoder=StemConfig(channels=64, patch=8, sees_previous=True))
CONFIG = NetworkConfig(preset="nano", device="cpu", precision="fp32", memory=NetworkMemoryConfig(rule="frozen"))
CAMERA = Intrinsics(60.0, 60.0, 31.5, 15.5, 64, 32)


@pytest.fixture(scope="module")
def model() -> Scal3R:
    model = random_model(SEEING, 0).requires_grad_(False)
    for module in model.modules():
        if isinstance(module, LayerScale):
            module.gamma.fill_(0.5)
    # Of random weights, which depth along a ray scores best hangs on the last bit.
    model.camera_head.sweep.out.weight.zero_()
    model.camera_head.sweep.out.bias.copy_(torch.tensor([0.0, 0.0, 0.0, -30.0]))
    return model


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (32, 120, 3), np.uint8)
    return [Frame(i, i * 10**8, picture[:, 5 * i : 5 * i + 64].copy(), CAMERA) for i in range(8)]


def expected(model: Scal3R, frames: list[Frame], start: int, stop: int, known: int) -> np.ndarray:
    """Poses of frames start … stop, encoded in one go with all from `known` on."""
    images = torch.stack([torch.from_numpy(frame.image).permute(2, 0, 1) / 255 for frame in frames[known:stop]])
    order = FrameOrder.of(stop - start)
    encoding = Encoding(*(rows[start - known :][order.positions] for rows in model.encode(images)))
    features = model.aggregate(encoding.patches, model.grid(images), frozen)
    predicted = model.decode(features, model.grid(images), encoding, previous=order.previous, focal=60 / 64)
    encodings = predicted.pose_encoding
    T = decode_pose(encodings[order.places].double(), 32, 64)[0].numpy()
    return se3.invert(se3.se3(T[:, :, :3], T[:, :, 3]))


def test_the_first_new_frame_is_compared_with_the_last_shared_one(model: Scal3R, frames: list[Frame]) -> None:
    reconstructor = NetworkReconstructor(CONFIG, model)
    first = reconstructor.reconstruct(Chunk(0, tuple(frames[:5]), 0), None)
    second = reconstructor.reconstruct(Chunk(1, tuple(frames[3:8]), 2), None)
    np.testing.assert_allclose(first.T_chunk_cam, expected(model, frames, 0, 5, 0), atol=1e-4)
    aware = expected(model, frames, 3, 8, 0)
    np.testing.assert_allclose(second.T_chunk_cam, aware, atol=1e-5)
    unaware = expected(model, frames, 3, 8, 3)
    assert np.abs(unaware - second.T_chunk_cam).max() > 3e-5


def test_offline_chunks_are_encoded_in_order_of_time(model: Scal3R, frames: list[Frame], tmp_path: Path) -> None:
    chunk = Chunk(0, tuple(frames[:5]), 0)
    unremembering = random_model(SEEING.without_memory(), 0).requires_grad_(False)
    unremembering.load_state_dict(model.state_dict(), strict=False)
    reconstructor = OfflineReconstructor(CONFIG, tmp_path, unremembering)
    reconstructor.learn([chunk])
    T_chunk_cam = reconstructor.reconstruct(chunk, None).T_chunk_cam
    np.testing.assert_allclose(T_chunk_cam, expected(unremembering, frames, 0, 5, 0), atol=1e-4)


def test_the_first_frame_has_itself_before_it() -> None:
    order = FrameOrder.of(5)
    assert order.positions == [2, 0, 1, 3, 4]
    assert order.previous == [2, 1, 1, 0, 3]
