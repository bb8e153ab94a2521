"""A reconstructor that knows the truth of simulated frames."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.reconstruction.protocol import Chunk, ChunkGeometry, Previous
from scal3r_ros.simulation.simulate import SimulatedFrame

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
