"""A mapper on the simulated street, with the real reconstructor at a small size or one that knows the truth."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from oracle import Oracle

from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.io.trajectories import even_stamps
from scal3r_ros.mapping import MapperConfig, MapUpdate, OnlineMapper
from scal3r_ros.reconstruction.protocol import Frame
from scal3r_ros.simulation.simulate import SimulatedFrame, render_frames
from scal3r_ros.simulation.town.town import Town


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
