"""Chunks of a picture that drifts by, and reconstructors with workers that are gone after the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import psutil
import pytest

from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.reconstruction.network_config import NetworkConfig
from scal3r_ros.reconstruction.protocol import Chunk, Frame
from scal3r_ros.sync.chunk_parallel import ChunkParallelReconstructor

TINY = NetworkConfig(preset="tiny", allow_random_weights=True, precision="fp32", device="cpu")
CAMERA = Intrinsics(100.0, 100.0, 63.5, 31.5, 128, 64)
SIZE, SHARED = 6, 2


@pytest.fixture
def tiny() -> NetworkConfig:
    """A network of no weight."""
    return TINY


@pytest.fixture(scope="session")
def chunks() -> list[Chunk]:
    """Eight chunks of six frames, two of them shared."""
    rng = np.random.default_rng(1)
    panorama = np.kron(rng.integers(0, 255, (16, 128, 3)), np.ones((4, 4, 1))).astype(np.uint8)
    frames = [Frame(i, 10**9 + i, panorama[:, 8 * i : 8 * i + 128], CAMERA) for i in range(40)]
    step = SIZE - SHARED
    return [Chunk(i, tuple(frames[i * step : i * step + SIZE]), SHARED if i else 0) for i in range(8)]


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
