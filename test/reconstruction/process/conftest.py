"""Chunks of a rendered street, and reconstructors in processes that are gone after the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import pytest
from tracked import tracked_chunks

from scal3r_ros.assembly import CoreConfig, build_reconstructor, core_config
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.reconstruction.process.reconstructor import SeparateReconstructor
from scal3r_ros.reconstruction.protocol import Chunk
from scal3r_ros.simulation.simulate import SimulatedFrame

SIZE, SHARED = 8, 4

GEOMETRIC = core_config({"geometric.sweep.width": 64, "geometric.sweep.planes": 16})[0]
NETWORK = core_config(
    {
        "reconstructor": "scal3r",
        "network.preset": "nano",
        "network.allow_random_weights": True,
        "network.device": "cpu",
        "network.precision": "fp32",
        "refine": "bundle_adjustment",
    }
)[0]


@pytest.fixture(scope="session")
def chunks(street_frames: list[SimulatedFrame], street_camera: Intrinsics) -> list[Chunk]:
    """Four chunks of tracked frames that overlap."""
    return tracked_chunks(street_frames, street_camera, SIZE, SHARED, 4)


@pytest.fixture
def separate() -> Iterator[Callable[[CoreConfig], SeparateReconstructor]]:
    """Makes reconstructors in a process of their own."""
    made: list[SeparateReconstructor] = []

    def make(config: CoreConfig) -> SeparateReconstructor:
        made.append(SeparateReconstructor(partial(build_reconstructor, config)))
        return made[-1]

    yield make
    for reconstructor in made:
        reconstructor.close()
