"""A small network, and clips of a textured floor and wall that need no renderer."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch

from scal3r_ros.geometry import se3
from scal3r_ros.model import Scal3R, random_model
from scal3r_ros.model.encoder.encoder import StemConfig
from scal3r_ros.model.weights.presets import NANO
from scal3r_ros.training.data.batches import Batch, Unit, make_batch
from scal3r_ros.training.data.clips import Clip
from scal3r_ros.training.data.sampling import NONE, ChunkShape, cut_sequence
from scal3r_ros.training.optimising import prepare_from_scratch

SEEING = dataclasses.replace(
    NANO, name="seeing", encoder=StemConfig(channels=64, patch=8, sees_previous=True), has_point_head=False
)
"""The smallest preset whose stem sees the frame before."""


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def floor_and_wall(seed: int, frames: int = 12, width: int = 48, height: int = 32) -> Clip:
    """A camera that moves ahead and turns, over a floor and towards a wall, both painted by smooth noise."""
    rng = np.random.default_rng(seed)
    K = np.array([[0.7 * width, 0, (width - 1) / 2], [0, 0.7 * width, (height - 1) / 2], [0, 0, 1.0]])
    v, u = np.mgrid[:height, :width]
    rays = np.stack([u, v, np.ones_like(u)], axis=-1) @ np.linalg.inv(K).T
    turn, speed = rng.normal(0, 0.03), rng.uniform(0.05, 0.3)
    step = se3.se3(se3.rotation_exp(np.array([0.0, turn, 0.0])), np.array([0.0, 0.0, speed]))
    waves, phases = rng.normal(0, 1.5, (3, 5, 3)), rng.uniform(0, 6, (3, 5))
    T = np.tile(np.eye(4), (frames, 1, 1))
    for i in range(1, frames):
        T[i] = T[i - 1] @ step
    images, depths = [], []
    for pose in T:
        directions = rays @ pose[:3, :3].T
        to_wall = (12.0 - pose[2, 3]) / np.maximum(directions[..., 2], 1e-6)
        to_floor = np.where(directions[..., 1] > 1e-3, 1.5 / np.maximum(directions[..., 1], 1e-3), 1e9)
        depth = np.minimum(to_wall, to_floor)
        points = pose[:3, 3] + depth[..., None] * directions
        paint = np.sin(points @ waves.transpose(0, 2, 1).reshape(-1, 3).T.reshape(3, -1) + phases.ravel())
        images.append(127 + 40 * paint.reshape(height, width, 3, 5).sum(-1))
        depths.append(depth)
    return Clip(
        np.clip(np.stack(images), 0, 255).astype(np.uint8), np.stack(depths).astype(np.float32), T, K, zero_is_far=False
    )


@pytest.fixture
def clip() -> Clip:
    return floor_and_wall(0)


@pytest.fixture
def make_clip() -> Callable[..., Clip]:
    """`floor_and_wall`."""
    return floor_and_wall


class Floors:
    """A source of clips for tests: as many floors and walls as it has."""

    def __init__(self, count: int = 6, frames: int = 12) -> None:
        self._clips = [floor_and_wall(seed, frames) for seed in range(count)]

    def usable(self, size: int, step: int) -> range:
        """All of them."""
        return range(len(self._clips))

    def clip(self, number: int) -> Clip:
        """One of them."""
        return self._clips[number]


@pytest.fixture
def floors() -> Floors:
    """Six clips."""
    return Floors()


@pytest.fixture
def model() -> Scal3R:
    """A network that sees the frame before, with layers strong enough to be heard."""
    model = random_model(SEEING, 0)
    prepare_from_scratch(model, 0.3)
    return model.train()


@pytest.fixture
def batch_of() -> Callable[..., Batch]:
    """Batches of the first frames of clips."""

    def make(sequences: int, chunks: int, frames: int, kept: range | None = None, first: int = 0) -> Batch:
        rng = np.random.default_rng(0)
        shape = ChunkShape(chunks, frames, 1)
        clips = [floor_and_wall(first + seed, frames=shape.span) for seed in range(sequences)]
        return make_batch([cut_sequence(clip, shape, rng, NONE) for clip in clips], Unit.TYPICAL_DEPTH, kept)

    return make
