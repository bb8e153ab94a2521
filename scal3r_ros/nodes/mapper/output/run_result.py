"""The result folder of a live run: the same files as those of `scal3r replay`."""

from __future__ import annotations

import time
from pathlib import Path

from scal3r_ros.configuration import to_parameters
from scal3r_ros.io.results.writer import ResultWriter, RunTotals
from scal3r_ros.mapping import OnlineMapper
from scal3r_ros.nodes.mapper.statistics import Statistics
from scal3r_ros.nodes.ros.parameters import NodeConfig


class RunResult:
    """The result of a run, whose clock starts with its first image; `writer` takes its chunks as they come.

    Raises:
        MappingError: the folder cannot be written; so does `finish`.
    """

    def __init__(self, folder: Path, config: NodeConfig, statistics: Statistics) -> None:
        self.writer = ResultWriter(folder)
        self._folder = folder
        self._config = config
        self._statistics = statistics
        self._started_s: float | None = None

    def begin(self) -> None:
        """The first image is here: the clock of the run starts, unless it runs already."""
        if self._started_s is None:
            self._started_s = time.monotonic()

    def finish(self, mapper: OnlineMapper) -> str:
        """Writes trajectory, map and run.yaml; one sentence on what was written where."""
        trajectory, cloud = mapper.trajectory(), mapper.cloud()
        stamps = trajectory.stamps_ns
        images = self._statistics.activity.images
        self.writer.finish(
            trajectory,
            cloud,
            RunTotals(
                frames_in=images,
                frames_dropped=self._statistics.drops.counts(),
                frames_mapped=images,
                counters=mapper.counters(),
                seconds=time.monotonic() - self._started_s if self._started_s is not None else 0.0,
                recorded_s=float(stamps[-1] - stamps[0]) * 1e-9 if len(stamps) > 1 else 0.0,
                parameters=to_parameters(self._config),
                metres=mapper.scale.summary(),
            ),
            mapper.scale.history(),
            mapper.occupancy.placed(),
        )
        since = self._statistics.activity.images_since_reset
        counted = f"{len(trajectory)} of {since} images posed"
        if since != images:
            counted += f" since the last reset ({images} in all)"
        return f"{counted}, {len(cloud.points)} points; result in {self._folder}"
