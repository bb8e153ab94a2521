"""Writes the folder of a run: trajectory, map, timings, settings and, if asked, depth maps. See
docs/architecture.md.
"""

from __future__ import annotations

import csv
import importlib.metadata
import io
import platform
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import psutil
import yaml

from scal3r_ros.errors import MappingError
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.io.atomic_write import os_errors_as, write_atomically
from scal3r_ros.io.export import ply_bytes, tum_bytes
from scal3r_ros.mapping.values import MapUpdate, PointCloud

VERSIONS_OF = ("scal3r_ros", "numpy", "opencv-python-headless", "torch", "gtsam", "open3d-cpu", "open3d")
FILES = ("trajectory.tum", "map.ply", "timings.csv", "memory.csv", "run.yaml")
"""What a run writes, and removes of the run before; nothing else in the folder is touched."""
NORM, CHANGE = "memory_norm_", "memory_change_"
"""How a reconstructor's figures about its memory begin; the layer follows."""
COLUMNS = ("chunk", "first_stamp_ns", "last_stamp_ns", "frames", "keyframes", "health")


class ResultWriter:
    """Writes chunk by chunk, so that a run that is cut off leaves its timings, and whole files at the end.

    Every method raises `MappingError` with one sentence where the disk does not take what is written; what was written
    before stays.
    """

    def __init__(self, folder: Path, save_depth: bool = False) -> None:
        self._folder = folder
        self._save_depth = save_depth
        self._stages: tuple[str, ...] | None = None
        self._memory_columns: tuple[str, ...] = ()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if save_depth:
                (folder / "depth").mkdir(exist_ok=True)
            for stale in (*(folder / name for name in FILES), *folder.glob(f"depth/{'[0-9]' * 19}.npz")):
                stale.unlink(missing_ok=True)
        except OSError as error:
            raise MappingError(f"result folder {folder} can not be written: {error.strerror}") from error

    def add(self, update: MapUpdate) -> None:
        """Appends the chunk of an update to the timings and what a memory learnt with it; stores depth, if asked."""
        if update.chunk is None or update.geometry is None:
            return
        chunk, geometry = update.chunk, update.geometry
        if self._stages is None:
            self._stages = (*geometry.timings, "align_s", "map_s")
            write_atomically(
                self._folder / "timings.csv", (",".join((*COLUMNS, *self._stages, "rss_mb")) + "\n").encode()
            )
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
        self._append("timings.csv", row.getvalue().encode())
        self._add_memory(chunk.index, update.metrics)
        if self._save_depth and update.submap is not None:
            self._store_depth(update)

    def finish(self, trajectory: Trajectory, cloud: PointCloud, run: Mapping[str, object]) -> None:
        """Writes trajectory, map and `run.yaml`; `run` holds settings, counts and times."""
        write_atomically(self._folder / "trajectory.tum", tum_bytes(trajectory))
        content = {"versions": _versions(), **run}
        write_atomically(self._folder / "run.yaml", yaml.safe_dump(content, sort_keys=False).encode())
        write_atomically(self._folder / "map.ply", ply_bytes(cloud))

    def _add_memory(self, chunk: int, figures: Mapping[str, int | float]) -> None:
        """Begins with the first chunk that the memory learns from: its layers are the columns."""
        layers = [name.removeprefix(NORM) for name in figures if name.startswith(NORM)]
        if not self._memory_columns and layers:
            self._memory_columns = ("memory_chunks", *(kind + layer for layer in layers for kind in (NORM, CHANGE)))
            write_atomically(self._folder / "memory.csv", (",".join(("chunk", *self._memory_columns)) + "\n").encode())
        if self._memory_columns:
            cells = [figures.get(name, "") for name in self._memory_columns]
            row = (f"{cell:.6g}" if isinstance(cell, float) else str(cell) for cell in (chunk, *cells))
            self._append("memory.csv", (",".join(row) + "\n").encode())

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
            write_atomically(self._folder / f"depth/{chunk.frames[number].stamp_ns:019d}.npz", buffer.getvalue())

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
