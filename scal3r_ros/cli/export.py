"""`scal3r export`: a saved map as files that other programs open."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console

from scal3r_ros.errors import MappingError
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.io.atomic_write import os_errors_as, write_atomically
from scal3r_ros.io.clouds.pcd import pcd_bytes
from scal3r_ros.io.clouds.ply import ply_bytes
from scal3r_ros.io.colmap import colmap_bytes
from scal3r_ros.io.trajectories import tum_bytes
from scal3r_ros.mapping.storage.contents import SavedMap
from scal3r_ros.mapping.values import PointCloud

COLMAP_POINTS = 500_000
"""Points of a COLMAP model at most: its text takes 60 bytes each, and what reads it takes them for a start."""


def export(
    map_folder: Annotated[Path, typer.Argument(metavar="MAP", help="A map saved by `scal3r replay` or the node.")],
    ply: Annotated[Path | None, typer.Option(help="Write the points to this PLY file.")] = None,
    pcd: Annotated[Path | None, typer.Option(help="Write the points to this PCD file.")] = None,
    tum: Annotated[Path | None, typer.Option(help="Write the trajectory to this file, as TUM.")] = None,
    colmap: Annotated[Path | None, typer.Option(help="Write a COLMAP text model to this folder.")] = None,
    drive: Annotated[
        int | None, typer.Option(min=0, help="Only this drive's poses, counted from 0; all drives by default.")
    ] = None,
) -> None:
    """Write points and poses of a saved map for CloudCompare, Open3D, evo, COLMAP and other programs.

    Example: scal3r export maps/town --ply town.ply --tum town.tum
    """
    if ply is pcd is tum is colmap is None:
        raise MappingError("nothing to export; give --ply, --pcd, --tum or --colmap, each with where to write to")
    saved = SavedMap(map_folder)
    console = Console(stderr=True, highlight=False)
    if ply is not None or pcd is not None or colmap is not None:
        cloud = saved.cloud()
        for path, content in ((ply, ply_bytes), (pcd, pcd_bytes)):
            if path is not None:
                _write(path, content(cloud))
                console.print(f"{path}: {len(cloud.points)} points", markup=False)
    if tum is not None or colmap is not None:
        poses, cameras, drives = _frames(saved, drive, map_folder)
        if tum is not None:
            alone = _without_repeated_stamps(poses)
            _write(tum, tum_bytes(alone))
            left = len(poses) - len(alone)
            console.print(f"{tum}: {len(alone)} poses{_left_out(left)}", markup=False)
        if colmap is not None:
            number = _write_colmap(colmap, poses, cameras, drives, cloud)
            console.print(f"{colmap}: {number} images in COLMAP's text model", markup=False)


def _frames(
    saved: SavedMap, drive: int | None, folder: Path
) -> tuple[Trajectory, Sequence[Intrinsics | None], Sequence[int]]:
    """Poses by stamp, and camera and drive of each."""
    drives = saved.drives()
    if drive is not None and drive >= len(drives):
        raise MappingError(f"the map in {folder} has {len(drives)} drives, counted from 0, but no drive {drive}")
    chosen = range(len(drives)) if drive is None else [drive]
    stamps = np.concatenate([drives[number].stamps_ns for number in chosen])
    poses = np.concatenate([drives[number].T_ref_cam for number in chosen])
    cameras = [camera for number in chosen for camera in saved.cameras()[number]]
    numbers = [number for number in chosen for _ in range(len(drives[number]))]
    order = np.argsort(stamps, kind="stable")
    return Trajectory(stamps[order], poses[order]), [cameras[row] for row in order], [numbers[row] for row in order]


def _without_repeated_stamps(poses: Trajectory) -> Trajectory:
    """Of poses with one stamp, as where drives overlap, the newest drive's: the last."""
    last = np.append(np.diff(poses.stamps_ns) > 0, True)[: len(poses)]
    return Trajectory(poses.stamps_ns[last], poses.T_ref_cam[last])


def _left_out(number: int) -> str:
    return f", {number} of older drives with the same stamps left out; --drive picks one" if number else ""


def _write_colmap(
    folder: Path, poses: Trajectory, cameras: Sequence[Intrinsics | None], drives: Sequence[int], cloud: PointCloud
) -> int:
    known = [(row, camera) for row, camera in enumerate(cameras) if camera is not None]
    if not known:
        raise MappingError("no COLMAP model can be written: no camera of this map is calibrated")
    rows = [row for row, _ in known]
    names = [f"drive_{drives[row]}/{poses.stamps_ns[row]:019d}.png" for row in rows]
    chosen = np.linspace(0, len(cloud.points) - 1, min(len(cloud.points), COLMAP_POINTS)).astype(np.int64)
    thinned = PointCloud(cloud.points[chosen], cloud.colours[chosen])
    model = colmap_bytes(poses.T_ref_cam[rows], [camera for _, camera in known], names, thinned)
    for name, content in model.items():
        _write(folder / name, content)
    return len(rows)


def _write(path: Path, content: bytes) -> None:
    with os_errors_as(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content)
