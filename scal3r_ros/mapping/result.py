"""Writes the folder of a run: trajectory, map, timings, settings and, if asked, depth maps. See
docs/architecture.md.
"""

from __future__ import annotations

import csv
import importlib.metadata
import io
import os
import platform
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import open3d as o3d
import psutil
import yaml

from scal3r_ros.errors import MappingError
from scal3r_ros.geometry import se3
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.mapping.values import MapUpdate, PointCloud

VERSIONS_OF = ("scal3r_ros", "numpy", "opencv-python-headless", "torch", "gtsam", "open3d-cpu", "open3d")
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
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if save_depth:
                (folder / "depth").mkdir(exist_ok=True)
            for stale in [
                *folder.glob("depth/*.npz"),
                *folder.glob("*.tum"),
                *folder.glob("*.csv"),
                *folder.glob("*.ply"),
            ]:
                stale.unlink()
        except OSError as error:
            raise MappingError(f"result folder {folder} can not be written: {error.strerror}") from error

    def add(self, update: MapUpdate) -> None:
        """Appends the chunk of an update to the timings and, if asked, stores its new keyframes' depth."""
        if update.chunk is None or update.geometry is None:
            return
        chunk, geometry = update.chunk, update.geometry
        if self._stages is None:
            self._stages = (*geometry.timings, "align_s", "map_s")
            self._write("timings.csv", (",".join((*COLUMNS, *self._stages, "rss_mb")) + "\n").encode())
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
        self._write("timings.csv", row.getvalue().encode(), append=True)
        if self._save_depth and update.submap is not None:
            self._store_depth(update)

    def finish(self, trajectory: Trajectory, cloud: PointCloud, run: Mapping[str, object]) -> None:
        """Writes trajectory, map and `run.yaml`; `run` holds settings, counts and times."""
        self._write("trajectory.tum", _tum(trajectory).encode())
        self._write_cloud(cloud)
        content = {"versions": _versions(), **run}
        self._write("run.yaml", yaml.safe_dump(content, sort_keys=False).encode())

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
            self._write(f"depth/{chunk.frames[number].stamp_ns:019d}.npz", buffer.getvalue())

    def _write(self, name: str, content: bytes, append: bool = False) -> None:
        path = self._folder / name
        try:
            with path.open("ab" if append else "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise MappingError(
                f"{path} can not be written: {error.strerror}; free some space or choose another folder"
            ) from error

    def _write_cloud(self, cloud: PointCloud) -> None:
        path = self._folder / "map.ply"
        if len(cloud.points) == 0:
            return
        tensors = o3d.t.geometry.PointCloud(o3d.core.Tensor.from_numpy(np.ascontiguousarray(cloud.points)))
        tensors.point.colors = o3d.core.Tensor.from_numpy(np.ascontiguousarray(cloud.colours))
        needed = len(cloud.points) * 15
        with o3d.utility.VerbosityContextManager(o3d.utility.VerbosityLevel.Error):
            written = o3d.t.io.write_point_cloud(path, tensors)
        if not written or path.stat().st_size < needed:
            raise MappingError(f"{path} can not be written; free some space or choose another folder")


def _tum(trajectory: Trajectory) -> str:
    lines = []
    quaternions = se3.quat_xyzw(trajectory.T_ref_cam[:, :3, :3]) if len(trajectory) else np.empty((0, 4))
    for stamp, T, quat_xyzw in zip(trajectory.stamps_ns.tolist(), trajectory.T_ref_cam, quaternions, strict=True):
        numbers = " ".join(f"{value:.9f}" for value in (*T[:3, 3], *quat_xyzw))
        lines.append(f"{stamp // 10**9}.{stamp % 10**9:09d} {numbers}\n")
    return "".join(lines)


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in VERSIONS_OF:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
