"""Chunks of tracked frames, as the frontend hands them to a reconstructor."""

from __future__ import annotations

from collections.abc import Sequence

from scal3r_ros.features.klt import KltConfig, KltTracker
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.reconstruction.protocol import Chunk, Frame
from scal3r_ros.simulation.simulate import SimulatedFrame


def tracked_chunks(
    rendered: Sequence[SimulatedFrame], camera: Intrinsics, size: int, shared: int, count: int
) -> list[Chunk]:
    """Every second frame, tracked, in `count` chunks of `size` frames, `shared` of them with the chunk before."""
    tracker = KltTracker(KltConfig())
    frames = [
        Frame(index, frame.stamp_ns, frame.image, camera, tracker.track(frame.image))
        for index, frame in enumerate(rendered)
    ][::2]
    step = size - shared
    return [
        Chunk(number, tuple(frames[number * step : number * step + size]), shared if number else 0)
        for number in range(count)
    ]
