"""Writes the folder of a run: trajectory, map, timings, settings and, if asked, depth maps. See
docs/architecture.md.
"""

from __future__ import annotations

import csv
import importlib.metadata
import io
import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import yaml

from scal3r_ros.errors import MappingError
from scal3r_ros.geometry import se3
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.mapping.values import MapUpdate, PointCloud

VERSIONS_OF = ("scal3r_ros", "numpy", "opencv-python-headless", "torch", "gtsam", "open3d-cpu", "open3d")
FILES = ("trajectory.tum", "map.ply", "timings.csv", "run.yaml")
"""What a run writes, and removes of the run before; nothing else in the folder is touched."""
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
            for stale in (*(folder / name for name in FILES), *folder.glob(f"depth/{'[0-9]' * 19}.npz")):
                stale.unlink(missing_ok=True)
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
        self._append("timings.csv", row.getvalue().encode())
        if self._save_depth and update.submap is not None:
            self._store_depth(update)

    def finish(self, trajectory: Trajectory, cloud: PointCloud, run: Mapping[str, object]) -> None:
        """Writes trajectory, map and `run.yaml`; `run` holds settings, counts and times."""
        self._write("trajectory.tum", _tum(trajectory).encode())
        content = {"versions": _versions(), **run}
        self._write("run.yaml", yaml.safe_dump(content, sort_keys=False).encode())
        self._write("map.ply", _ply(cloud))

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

    def _append(self, name: str, content: bytes) -> None:
        with _told(self._folder / name), (self._folder / name).open("ab") as file:
            file.write(content)

    def _write(self, name: str, content: bytes) -> None:
        """Writes a whole file beside its place and puts it there at the end, so that no half file bears its name."""
        path = self._folder / name
        part = path.with_name(path.name + ".part")
        with _told(path):
            try:
                with part.open("wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                part.replace(path)
            finally:
                part.unlink(missing_ok=True)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turns an error of the disk into one sentence."""
    try:
        yield
    except OSError as error:
        raise MappingError(
            f"{path} can not be written: {error.strerror}; free some space or choose another folder"
        ) from error


def _ply(cloud: PointCloud) -> bytes:
    """A binary PLY of position and colour. Open3D's writer would print a line per point onto a full disk's terminal."""
    columns = [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("red", "u1"), ("green", "u1"), ("blue", "u1")]
    vertices = np.empty(len(cloud.points), columns)
    for axis, (name, _) in enumerate(columns):
        vertices[name] = cloud.points[:, axis] if axis < 3 else cloud.colours[:, axis - 3]
    properties = "".join(f"property {'float' if kind == '<f4' else 'uchar'} {name}\n" for name, kind in columns)
    header = f"ply\nformat binary_little_endian 1.0\nelement vertex {len(vertices)}\n{properties}end_header\n"
    return header.encode("ascii") + vertices.tobytes()


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
