"""Writes the folder of a live run: the same files as `scal3r replay`."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from scal3r_ros.configuration import Value
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.io.results.writer import ResultWriter
from scal3r_ros.mapping.values import MapUpdate, PointCloud


class RunRecorder:
    """Gathers a run's chunks as they come and finishes the folder at its end.

    Raises:
        MappingError: the folder can not be written; so do its methods.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer = ResultWriter(folder)
        self._health: Counter[str] = Counter()
        self._started_s: float | None = None

    def begin(self) -> None:
        """The first image is here: the clock of the run starts, unless it runs already."""
        if self._started_s is None:
            self._started_s = time.monotonic()

    def add(self, update: MapUpdate) -> None:
        """Appends the chunk of an update to the timings."""
        if update.geometry is not None:
            self._health[update.geometry.health.value] += 1
        self._writer.add(update)

    def finish(
        self,
        trajectory: Trajectory,
        cloud: PointCloud,
        images: int,
        drops: Mapping[str, int],
        counters: Mapping[str, int | float],
        parameters: Mapping[str, Value],
    ) -> str:
        """Writes trajectory, map and run.yaml; one sentence on what was written where.

        `images` counts those received, `drops` those lost by reason, `counters` are the mapper's own.
        """
        seconds = time.monotonic() - self._started_s if self._started_s is not None else 0.0
        recorded_s = float(trajectory.stamps_ns[-1] - trajectory.stamps_ns[0]) * 1e-9 if len(trajectory) > 1 else 0.0
        own = {name: value for name, value in counters.items() if name not in ("frames_in", "frames_posed")}
        self._writer.finish(
            trajectory,
            cloud,
            {
                "counts": {
                    "frames_in": images,
                    "frames_posed": len(trajectory),
                    "frames_dropped": dict(drops),
                    "chunks_by_health": dict(self._health),
                    **own,
                },
                "seconds": round(seconds, 3),
                "images_per_second": round(images / seconds, 2) if seconds else 0.0,
                "real_time_factor": round(recorded_s / seconds, 3) if seconds else 0.0,
                "parameters": dict(parameters),
            },
        )
        return f"{len(trajectory)} of {images} images posed, {len(cloud.points)} points; result in {self._folder}"
