"""A mapper on the simulated street, with the real reconstructor at a small size or one that knows the truth."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.io.trajectories import even_stamps
from scal3r_ros.mapping import MapperConfig, MapUpdate, OnlineMapper
from scal3r_ros.reconstruction.protocol import Chunk, ChunkGeometry, Frame, Previous
from scal3r_ros.simulation.simulate import SimulatedFrame, render_frames
from scal3r_ros.simulation.town.town import Town

SMALL = (40, 80)


@dataclass
class Oracle:
    """A reconstructor that looks the truth up by stamp; where `gate` is given it waits for it in every chunk.

    `camera` is what it says of frames that come without intrinsics.
    """

    truth: Mapping[int, SimulatedFrame]
    gate: threading.Event | None = None
    camera: Intrinsics | None = None
    started: threading.Event = field(default_factory=threading.Event)

    name = "oracle"
    max_parallel_chunks = 1
    memory = None
    recall = None

    def reset(self) -> None:
        """Nothing is kept."""

    def metrics(self) -> dict[str, int | float]:
        return {}

    def close(self) -> None:
        """Nothing to end."""

    def reconstruct(self, chunk: Chunk, previous: Previous | None, following: Sequence[Chunk] = ()) -> ChunkGeometry:
        self.started.set()
        if self.gate is not None:
            assert self.gate.wait(30)
        seen = [self.truth[frame.stamp_ns] for frame in chunk.frames]
        T = np.stack([frame.T_ref_cam for frame in seen])
        height, width = SMALL
        camera = chunk.frames[0].intrinsics or self.camera
        assert camera is not None
        rows = np.linspace(0, camera.height - 1, height).round().astype(int)
        columns = np.linspace(0, camera.width - 1, width).round().astype(int)
        depth = np.stack([frame.depth_m[np.ix_(rows, columns)] for frame in seen])
        return ChunkGeometry(
            T_chunk_cam=np.linalg.inv(T[0]) @ T,
            intrinsics=(camera.scaled(width, height),) * len(seen),
            depth=depth,
            confidence=((depth > 0) & (depth < 60)).astype(np.float32),
            timings={"depth_s": 0.0},
        )


@pytest.fixture
def oracle(street_frames: list[SimulatedFrame]) -> Oracle:
    return Oracle({frame.stamp_ns: frame for frame in street_frames})


@pytest.fixture
def oracle_mapper(oracle: Oracle) -> OnlineMapper:
    return OnlineMapper(MapperConfig(), oracle)


@pytest.fixture(scope="session")
def street(street_frames: list[SimulatedFrame], street_camera: Intrinsics) -> list[Frame]:
    """The first 40 m of the street as they enter the mapper."""
    return [Frame(i, frame.stamp_ns, frame.image, street_camera) for i, frame in enumerate(street_frames)]


@pytest.fixture(scope="session")
def film(street_camera: Intrinsics, street_town: Town) -> Callable[[Sequence[np.ndarray]], list[Frame]]:
    """Renders what a camera sees at the poses given, ten times a second; a pose met again is drawn only once.

    The images' noise depends on the poses of a call alone, so that no test depends on those before it.
    """

    def shoot(poses: Sequence[np.ndarray]) -> list[Frame]:
        new = {pose.tobytes(): pose for pose in poses}
        way = Trajectory(even_stamps(len(new), 10.0), np.stack(list(new.values())))
        images = render_frames(way, street_camera, town=street_town, workers=2)
        drawn = dict(zip(new, (frame.image for frame in images), strict=True))
        stamps = even_stamps(len(poses), 10.0)
        return [Frame(i, int(stamps[i]), drawn[pose.tobytes()], street_camera) for i, pose in enumerate(poses)]

    return shoot


@pytest.fixture(scope="session")
def drain() -> Callable[[OnlineMapper, Sequence[Frame]], list[MapUpdate]]:
    """Pushes all frames, flushes, and gives every update."""

    def run(mapper: OnlineMapper, frames: Sequence[Frame]) -> list[MapUpdate]:
        updates = [update for frame in frames for update in mapper.push(frame)]
        return updates + mapper.flush()

    return run
