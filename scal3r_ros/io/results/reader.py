"""Reads the folder that `scal3r replay` and the live demo write."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from scal3r_ros.errors import EvaluationError
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.io.clouds.ply import Cloud, read_ply
from scal3r_ros.io.results.layout import (
    CHUNK_COLUMN,
    CLOUD_FILE,
    DEPTH_FOLDER,
    MEMORY_FILE,
    OCCUPANCY_ARRAYS,
    OCCUPANCY_FILE,
    RSS_COLUMN,
    RUN_FILE,
    SCALE_FILE,
    TIMINGS_FILE,
    TRAJECTORY_FILE,
)
from scal3r_ros.io.results.memory import MemoryMetrics, read_memory
from scal3r_ros.io.results.scale import ScaleCurves, read_scale
from scal3r_ros.io.results.tables import read_table
from scal3r_ros.io.trajectories import read_trajectory


@dataclass(frozen=True)
class Timings:
    """One row per chunk: its number `chunk`, `first_stamp_ns` and `last_stamp_ns` (n,) int64, `rss_mb` (n,) and
    `stages_s`, name → (n,) seconds.
    """

    chunk: NDArray[np.int64]
    first_stamp_ns: NDArray[np.int64]
    last_stamp_ns: NDArray[np.int64]
    stages_s: Mapping[str, NDArray[np.float64]]
    rss_mb: NDArray[np.float64]

    @property
    def seconds(self) -> NDArray[np.float64]:
        """Seconds (n,) of all stages of each chunk."""
        return np.sum([*self.stages_s.values(), np.zeros(len(self.rss_mb))], axis=0)

    @property
    def camera_s(self) -> NDArray[np.float64]:
        """Camera time (n,) in seconds that each chunk adds to those before it; the rest it shares with them."""
        ends = self.last_stamp_ns / 1e9
        return np.diff(ends, prepend=self.first_stamp_ns[0] / 1e9)


@dataclass(frozen=True)
class KeyframeDepth:
    """A stored depth map: `depth` (h, w) float32 z-depth in map units, 0 where unknown; `confidence` (h, w) float32 in
    0..1.
    """

    stamp_ns: int
    depth: NDArray[np.float32]
    confidence: NDArray[np.float32]
    intrinsics: Intrinsics
    T_map_cam: NDArray[np.float64]


@dataclass(frozen=True)
class Result:
    """What a run left behind. `run` is the content of `run.yaml`; absent parts are None.

    `memory` is that of its network, `scale` what was observed of metres; `depth_files` are by stamp, ascending.
    `occupancy` are the occupancy grids of its submaps as arrays, `anchor` (n, 13) where they lie.
    """

    folder: Path
    trajectory: Trajectory
    cloud: Cloud | None
    timings: Timings | None
    memory: MemoryMetrics | None
    scale: ScaleCurves | None
    run: Mapping[str, Any]
    depth_files: Mapping[int, Path]
    occupancy: Mapping[str, NDArray[Any]] | None = None


def read_result(folder: Path) -> Result:
    """The result in `folder`; everything but its trajectory may be missing.

    Raises:
        EvaluationError: the folder is no result, or one of its files is damaged.
        SequenceError: its trajectory is damaged or empty.
    """
    if not folder.is_dir() or not (folder / TRAJECTORY_FILE).is_file():
        raise EvaluationError(
            f"{folder} is no result folder: it has no {TRAJECTORY_FILE}; give the folder that `scal3r replay -o` wrote"
        )
    return Result(
        folder=folder,
        trajectory=read_trajectory(folder / TRAJECTORY_FILE),
        cloud=_read_cloud(folder / CLOUD_FILE),
        timings=read_table(folder / TIMINGS_FILE, "timings", _timings),
        memory=read_memory(folder / MEMORY_FILE),
        scale=read_scale(folder / SCALE_FILE),
        occupancy=_read_occupancy(folder / OCCUPANCY_FILE),
        run=_read_run(folder / RUN_FILE),
        depth_files=_find_depths(folder / DEPTH_FOLDER),
    )


def read_keyframe_depth(stamp_ns: int, path: Path) -> KeyframeDepth:
    """The depth map of one keyframe.

    Raises:
        EvaluationError: the file is damaged or lacks one of its arrays.
    """
    try:
        with np.load(path) as arrays:
            depth = arrays["depth"].astype(np.float32)
            confidence = arrays["confidence"].astype(np.float32)
            K = arrays["K"].astype(np.float64)
            T_map_cam = arrays["T_map_cam"].astype(np.float64)
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise EvaluationError(
            f"depth map {path} cannot be read ({error}); run `scal3r replay --save-depth` again"
        ) from error
    if depth.ndim != 2 or confidence.shape != depth.shape or K.shape != (3, 3) or T_map_cam.shape != (4, 4):
        raise EvaluationError(f"depth map {path} has arrays of the wrong shape; run `scal3r replay --save-depth` again")
    height, width = depth.shape
    intrinsics = Intrinsics(K[0, 0], K[1, 1], K[0, 2], K[1, 2], width, height)
    return KeyframeDepth(stamp_ns, depth, confidence, intrinsics, T_map_cam)


def _read_cloud(path: Path) -> Cloud | None:
    cloud = read_ply(path) if path.is_file() else None
    return cloud if cloud is not None and len(cloud.points) else None


def _read_occupancy(path: Path) -> Mapping[str, NDArray[Any]] | None:
    if not path.is_file():
        return None
    try:
        with np.load(path) as arrays:
            return {name: arrays[name] for name in ("anchor", *OCCUPANCY_ARRAYS)}
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise EvaluationError(f"occupancy grids {path} cannot be read ({error}); run `scal3r replay` again") from error


def _timings(rows: list[dict[str, str]]) -> Timings | None:
    if not rows:
        return None
    stages = [name for name in rows[0] if name.endswith("_s")]
    return Timings(
        chunk=np.array([int(row[CHUNK_COLUMN]) for row in rows], np.int64),
        first_stamp_ns=np.array([int(row["first_stamp_ns"]) for row in rows], np.int64),
        last_stamp_ns=np.array([int(row["last_stamp_ns"]) for row in rows], np.int64),
        stages_s={name[:-2]: np.array([float(row[name] or 0.0) for row in rows]) for name in stages},
        rss_mb=np.array([float(row[RSS_COLUMN]) for row in rows]),
    )


def _read_run(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise EvaluationError(f"run file {path} is no valid YAML; run `scal3r replay` again") from error
    if not isinstance(content, dict):
        raise EvaluationError(f"run file {path} holds no settings; run `scal3r replay` again")
    return content


def _find_depths(folder: Path) -> Mapping[int, Path]:
    files = folder.glob("*.npz") if folder.is_dir() else ()
    return dict(sorted((int(path.stem), path) for path in files if path.stem.isdigit()))
