"""Writes the folder of a run: trajectory, map, timings, settings and, if asked, depth maps. See
docs/architecture.md.
"""

from __future__ import annotations

import csv
import importlib.metadata
import io
import platform
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import yaml
from numpy.typing import NDArray

from scal3r_ros.errors import MappingError
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.io.atomic_write import os_errors_as, write_atomically
from scal3r_ros.io.clouds.length_unit import LengthUnit
from scal3r_ros.io.clouds.ply import ply_bytes
from scal3r_ros.io.results.layout import (
    CHUNK_COLUMN,
    CLOUD_FILE,
    DEPTH_FOLDER,
    FILES,
    MEMORY_CHANGE,
    MEMORY_CHUNKS,
    MEMORY_FILE,
    MEMORY_NORM,
    OCCUPANCY_FILE,
    RSS_COLUMN,
    RUN_FILE,
    SCALE_FILE,
    TIMINGS_COLUMNS,
    TIMINGS_FILE,
    TRAJECTORY_FILE,
    depth_file,
)
from scal3r_ros.io.results.scale import scale_csv
from scal3r_ros.io.trajectories import tum_bytes
from scal3r_ros.mapping.values import MapUpdate, PointCloud, ScaleHistory

VERSIONS_OF = ("scal3r_ros", "numpy", "opencv-python-headless", "torch", "gtsam", "open3d-cpu", "open3d")


@dataclass(frozen=True)
class RunTotals:
    """What `run.yaml` says of a run.

    `frames_in` counts the images that came, `frames_dropped` those lost by reason, `frames_mapped` those given to the
    mapper, whose own `counters` follow. `seconds` is the time that the run took, `recorded_s` that of its images.
    `source` names what was mapped, `parameters` how; `metres` is what is known of scale and of the place on earth.
    """

    frames_in: int
    frames_dropped: Mapping[str, int]
    frames_mapped: int
    counters: Mapping[str, int | float]
    seconds: float
    recorded_s: float
    parameters: Mapping[str, object]
    source: Mapping[str, str] = field(default_factory=dict)
    metres: Mapping[str, object] = field(default_factory=dict)


class ResultWriter:
    """Writes chunk by chunk, so that a run that is cut off leaves its timings, and whole files at the end.

    Every method raises `MappingError` with one sentence where the disk does not take what is written; what was written
    before stays.
    """

    def __init__(self, folder: Path, save_depth: bool = False) -> None:
        self._folder = folder
        self._save_depth = save_depth
        self._health: Counter[str] = Counter()
        self._stages: tuple[str, ...] | None = None
        self._memory_columns: tuple[str, ...] = ()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if save_depth:
                (folder / DEPTH_FOLDER).mkdir(exist_ok=True)
            for stale in (*(folder / name for name in FILES), *folder.glob(f"{DEPTH_FOLDER}/{'[0-9]' * 19}.npz")):
                stale.unlink(missing_ok=True)
        except OSError as error:
            raise MappingError(f"result folder {folder} cannot be written: {error.strerror}") from error

    def add(self, update: MapUpdate) -> None:
        """Appends the chunk of an update to the timings and what a memory learnt with it; stores depth, if asked."""
        if update.chunk is None or update.geometry is None:
            return
        chunk, geometry = update.chunk, update.geometry
        self._health[geometry.health.value] += 1
        if self._stages is None:
            self._stages = (*geometry.timings, "align_s", "map_s")
            header = ",".join((*TIMINGS_COLUMNS, *self._stages, RSS_COLUMN)) + "\n"
            write_atomically(self._folder / TIMINGS_FILE, header.encode())
        row = io.StringIO()
        csv.writer(row, lineterminator="\n").writerow(
            [
                chunk.index,
                chunk.frames[0].stamp_ns,
                chunk.frames[-1].stamp_ns,
                chunk.frames[-1].index - chunk.frames[0].index + 1,
                len(chunk.frames) - chunk.shared,
                geometry.health.value,
                *(f"{update.timings.get(stage, geometry.timings.get(stage, 0.0)):.4f}" for stage in self._stages),
                f"{psutil.Process().memory_info().rss / 2**20:.1f}",
            ]
        )
        self._append(TIMINGS_FILE, row.getvalue().encode())
        self._add_memory(chunk.index, update.metrics)
        if self._save_depth and update.submap is not None:
            self._store_depth(update)

    def finish(
        self,
        trajectory: Trajectory,
        cloud: PointCloud,
        run: RunTotals,
        scale: ScaleHistory | None = None,
        occupancy: Mapping[str, NDArray[Any]] | None = None,
    ) -> None:
        """Writes trajectory, map and `run.yaml`; `scale.csv`, too, where anything was observed of scale.

        `occupancy` are the arrays of the occupancy grids, where there are any.
        """
        if occupancy is not None:
            buffer = io.BytesIO()
            np.savez(buffer, allow_pickle=False, **occupancy)
            write_atomically(self._folder / OCCUPANCY_FILE, buffer.getvalue())
        if scale is not None and scale.observations:
            write_atomically(self._folder / SCALE_FILE, scale_csv(scale))
        write_atomically(self._folder / TRAJECTORY_FILE, tum_bytes(trajectory))
        counted = {
            "frames_in": run.frames_in,
            "frames_posed": len(trajectory),
            "frames_dropped": dict(run.frames_dropped),
            "chunks_by_health": dict(self._health),
        }
        content = {
            "versions": _versions(),
            **run.source,
            "counts": {**counted, **{name: run.counters[name] for name in run.counters if name not in counted}},
            "seconds": round(run.seconds, 3),
            "images_per_second": round(run.frames_mapped / run.seconds, 2) if run.seconds else 0.0,
            "real_time_factor": round(run.recorded_s / run.seconds, 3) if run.seconds else 0.0,
            **run.metres,
            "parameters": dict(run.parameters),
        }
        write_atomically(self._folder / RUN_FILE, yaml.safe_dump(content, sort_keys=False).encode())
        write_atomically(self._folder / CLOUD_FILE, ply_bytes(cloud, LengthUnit.of_run(content)))

    def _add_memory(self, chunk: int, metrics: Mapping[str, int | float]) -> None:
        """Begins with the first chunk that the memory learns from: its layers are the columns."""
        layers = [name.removeprefix(MEMORY_NORM) for name in metrics if name.startswith(MEMORY_NORM)]
        if not self._memory_columns and layers:
            self._memory_columns = (
                MEMORY_CHUNKS,
                *(kind + layer for layer in layers for kind in (MEMORY_NORM, MEMORY_CHANGE)),
            )
            write_atomically(
                self._folder / MEMORY_FILE, (",".join((CHUNK_COLUMN, *self._memory_columns)) + "\n").encode()
            )
        if self._memory_columns:
            cells = [metrics.get(name, "") for name in self._memory_columns]
            row = (f"{cell:.6g}" if isinstance(cell, float) else str(cell) for cell in (chunk, *cells))
            self._append(MEMORY_FILE, (",".join(row) + "\n").encode())

    def _store_depth(self, update: MapUpdate) -> None:
        chunk, geometry, submap = update.chunk, update.geometry, update.submap
        if chunk is None or geometry is None or submap is None:
            return
        T_map_cam = submap.S_map_submap.apply_pose(geometry.T_chunk_cam)
        for number in range(chunk.shared, len(chunk.frames)):
            buffer = io.BytesIO()
            np.savez_compressed(
                buffer,
                depth=(geometry.depth[number] * submap.S_map_submap.scale).astype(np.float16),
                confidence=geometry.confidence[number].astype(np.float16),
                K=geometry.intrinsics[number].K,
                T_map_cam=T_map_cam[number],
            )
            write_atomically(self._folder / depth_file(chunk.frames[number].stamp_ns), buffer.getvalue())

    def _append(self, name: str, content: bytes) -> None:
        with os_errors_as(self._folder / name), (self._folder / name).open("ab") as file:
            file.write(content)


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in VERSIONS_OF:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
