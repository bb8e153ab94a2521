"""`scal3r export`: a saved map or a result as files that other programs open."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console

from scal3r_ros.cli.bag import ASSUMED_FOV_DEG
from scal3r_ros.cli.export.mapped import Mapped, PosedFrames
from scal3r_ros.cli.export.views import IMAGES_FOLDER, Views, write_views
from scal3r_ros.errors import MappingError
from scal3r_ros.evaluation.ground_truth import read_truth
from scal3r_ros.evaluation.metrics.alignment import align_cameras, associate
from scal3r_ros.io.atomic_write import os_errors_as, write_atomically
from scal3r_ros.io.clouds.las import las_bytes
from scal3r_ros.io.clouds.pcd import pcd_bytes
from scal3r_ros.io.clouds.ply import ply_bytes
from scal3r_ros.io.exports.colmap import colmap_bytes
from scal3r_ros.io.exports.mesh import mesh_glb_bytes, mesh_ply_bytes
from scal3r_ros.io.exports.nav2 import nav2_bytes
from scal3r_ros.io.exports.nerfstudio import transforms_bytes
from scal3r_ros.io.exports.results_bag import write_results_bag
from scal3r_ros.io.sources import SourceOptions
from scal3r_ros.io.trajectories import kitti_bytes, times_bytes, tum_bytes
from scal3r_ros.mapping.cloud.meshing import surface_mesh
from scal3r_ros.mapping.values import FREE, OCCUPIED, PointCloud

COLMAP_POINTS = 500_000
"""Points of a COLMAP model at most: its text takes 60 bytes each, and what reads it takes them for a start."""
SPARSE_FOLDER = "sparse/0"
TRANSFORMS_FILE, POINTS_FILE = "transforms.json", "points.ply"
TIME_DIFFERENCE_S = 0.02
MESH_FORMATS = {".ply": mesh_ply_bytes, ".glb": mesh_glb_bytes}


def export(
    map_folder: Annotated[
        Path, typer.Argument(metavar="MAP", help="A saved map (--save-map), or the result folder of a run.")
    ],
    ply: Annotated[Path | None, typer.Option(help="Write the points to this PLY file.")] = None,
    pcd: Annotated[Path | None, typer.Option(help="Write the points to this PCD file.")] = None,
    las: Annotated[Path | None, typer.Option(help="Write the points to this .las or, compressed, .laz file.")] = None,
    mesh: Annotated[
        Path | None, typer.Option(help="Write a coloured surface through the points to this .ply or .glb file.")
    ] = None,
    mesh_cell: Annotated[
        float | None,
        typer.Option(min=1e-6, help="Finest detail of --mesh, in the map's unit; by the points' spacing if not given."),
    ] = None,
    tum: Annotated[Path | None, typer.Option(help="Write the trajectory to this file, as TUM.")] = None,
    kitti: Annotated[
        Path | None, typer.Option(help="Write the trajectory to this file as KITTI rows, the times beside it.")
    ] = None,
    bag: Annotated[
        Path | None, typer.Option(help="Write a rosbag2 of /tf, /odometry, /path, /points and /map to this folder.")
    ] = None,
    colmap: Annotated[
        Path | None,
        typer.Option(help="Write a COLMAP text model to this folder; with --images, images and tracked points too."),
    ] = None,
    nerfstudio: Annotated[
        Path | None, typer.Option(help="Write transforms.json, images and points to this folder; needs --images.")
    ] = None,
    nav2: Annotated[
        Path | None, typer.Option(help="Write the occupancy grid to this .yaml file of Nav2, its .pgm beside it.")
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="The source that was mapped: bag, video, folder or data set, for its images.")
    ] = None,
    every: Annotated[int, typer.Option(min=1, help="Of the posed images, write only every n-th.")] = 1,
    calib: Annotated[Path | None, typer.Option(help="A calibration file for --images, as given to replay.")] = None,
    image_topic: Annotated[str | None, typer.Option(help="The camera, where a bag of images has several.")] = None,
    camera_info_topic: Annotated[str | None, typer.Option(help="Its calibration, as given to replay.")] = None,
    rectified: Annotated[
        bool | None, typer.Option("--rectified/--raw", help="Whether the images are rectified, as given to replay.")
    ] = None,
    rate: Annotated[float | None, typer.Option(min=0.001, help="Images per second, as given to replay.")] = None,
    times: Annotated[Path | None, typer.Option(help="Times of the images, as given to replay.")] = None,
    align: Annotated[
        Path | None,
        typer.Option(help="Move everything into the frame and metres of this trajectory: TUM, bag or data set."),
    ] = None,
    drive: Annotated[
        int | None, typer.Option(min=0, help="Only this drive's poses, counted from 0; all drives by default.")
    ] = None,
) -> None:
    """Write what was mapped for CloudCompare, QGIS, Open3D, evo, RViz, Nav2, COLMAP, nerfstudio and other programs.

    Example: scal3r export maps/town --las town.laz --tum town.tum

    For Gaussian splatting: scal3r export maps/town --images town.bag --colmap town_colmap
    """
    if ply is pcd is las is mesh is tum is kitti is bag is colmap is nerfstudio is nav2 is None:
        raise MappingError(
            "nothing to export; give --ply, --pcd, --las, --mesh, --tum, --kitti, --bag, --colmap, --nerfstudio or "
            "--nav2, each with where to write to"
        )
    if nerfstudio is not None and images is None:
        raise MappingError("--nerfstudio writes images: give the source that was mapped with --images")
    if las is not None and las.suffix.lower() not in (".las", ".laz"):
        raise MappingError(f"{las} is neither .las nor .laz; name the file so")
    if mesh is not None and mesh.suffix.lower() not in MESH_FORMATS:
        raise MappingError(f"{mesh} is neither .ply nor .glb; name the file so")
    if nav2 is not None and nav2.suffix.lower() not in (".yaml", ".yml"):
        raise MappingError(f"{nav2} is no .yaml file; Nav2 finds the map by that, and its picture beside it")
    console = Console(stderr=True, highlight=False, markup=False)
    mapped = Mapped(map_folder)
    if align is not None:
        mapped = _aligned(mapped, align, drive, console)
    frames, unit = mapped.frames(drive), mapped.unit
    if ply is not None:
        _write_points(ply, ply_bytes(mapped.cloud, unit), mapped, console)
    if pcd is not None:
        _write_points(pcd, pcd_bytes(mapped.cloud, unit), mapped, console)
    if las is not None:
        _write_points(las, las_bytes(mapped.cloud, las.suffix.lower() == ".laz", unit), mapped, console)
    if mesh is not None:
        surface = surface_mesh(mapped.cloud, mesh_cell)
        _write(mesh, MESH_FORMATS[mesh.suffix.lower()](surface, unit))
        console.print(f"{mesh}: {len(surface.triangles)} triangles; {unit}", soft_wrap=True)
    _write_trajectories(frames, tum, kitti, console)
    if bag is not None:
        write_results_bag(bag, frames.without_repeated_stamps().poses, mapped.submap_clouds())
        console.print(f"{bag}: {len(frames.poses)} poses and the clouds, for `ros2 bag play`", soft_wrap=True)
    if nav2 is not None:
        _write_nav2(nav2, mapped, console)
    folders = [folder for folder in (colmap, nerfstudio) if folder is not None]
    if not folders:
        return
    if images is None and colmap is not None:
        number = _write_poses_alone(colmap, frames, mapped)
        console.print(f"{colmap}: {number} images in COLMAP's text model; {mapped.unit}", soft_wrap=True)
        return
    if images is not None:
        options = SourceOptions(
            image_topic, camera_info_topic, calib, rectified, times, rate, assumed_fov_deg=ASSUMED_FOV_DEG
        )
        views = write_views(images, options, every, frames.without_repeated_stamps(), folders)
        _write_models(views, mapped, colmap, nerfstudio, console)


def _aligned(mapped: Mapped, path: Path, drive: int | None, console: Console) -> Mapped:
    """The map over a trajectory in metres, by camera centres and viewing directions."""
    poses = mapped.frames(drive).without_repeated_stamps().poses
    S_truth_map = align_cameras(*associate(read_truth(path, poses).trajectory, poses, TIME_DIFFERENCE_S))
    console.print(f"1 unit of the map is {S_truth_map.scale:.6g} m by {path}", soft_wrap=True)
    return mapped.moved(S_truth_map, path.name.encode("ascii", "replace").decode())


def _write_points(path: Path, content: bytes, mapped: Mapped, console: Console) -> None:
    _write(path, content)
    console.print(f"{path}: {len(mapped.cloud.points)} points; {mapped.unit}", soft_wrap=True)


def _write_trajectories(frames: PosedFrames, tum: Path | None, kitti: Path | None, console: Console) -> None:
    alone = frames.without_repeated_stamps().poses
    note = _left_out(len(frames.poses) - len(alone))
    if tum is not None:
        _write(tum, tum_bytes(alone))
        console.print(f"{tum}: {len(alone)} poses{note}", soft_wrap=True)
    if kitti is not None:
        beside = kitti.with_name(kitti.stem + "_times.txt")
        _write(kitti, kitti_bytes(alone))
        _write(beside, times_bytes(alone.stamps_ns))
        console.print(f"{kitti}: {len(alone)} poses, their times in {beside}{note}", soft_wrap=True)


def _write_nav2(path: Path, mapped: Mapped, console: Console) -> None:
    grid, picture = mapped.occupancy(), path.with_suffix(".pgm")
    content, header = nav2_bytes(grid, picture.name)
    _write(picture, content)
    _write(path, header)
    rows, columns = grid.cells.shape
    free, occupied = (int(np.count_nonzero(grid.cells == state)) for state in (FREE, OCCUPIED))
    size = f"{columns} × {rows} cells of {grid.resolution:g} m"
    console.print(f"{path}: {size} in {picture.name}, {free} free, {occupied} occupied", soft_wrap=True)


def _left_out(number: int) -> str:
    return f", {number} of older drives with the same stamps left out; --drive picks one" if number else ""


def _write_poses_alone(folder: Path, frames: PosedFrames, mapped: Mapped) -> int:
    """A model without images: its poses, and points of the map that no image is named for."""
    rows = [row for row, camera in enumerate(frames.cameras) if camera is not None]
    if not rows:
        raise MappingError(
            "no COLMAP model can be written: no camera is known; give the source that was mapped with --images"
        )
    known = frames.select(rows)
    names = [
        f"drive_{drive}/{stamp:019d}.png"
        for drive, stamp in zip(known.drives, known.poses.stamps_ns.tolist(), strict=True)
    ]
    cameras = [camera for camera in known.cameras if camera is not None]
    model = colmap_bytes(known.poses.T_ref_cam, cameras, names, _thinned(mapped.cloud), mapped.unit)
    for name, content in model.items():
        _write(folder / name, content)
    return len(rows)


def _write_models(views: Views, mapped: Mapped, colmap: Path | None, nerfstudio: Path | None, console: Console) -> None:
    count, cloud, unit = len(views.names), mapped.cloud, mapped.unit
    if colmap is not None:
        model = colmap_bytes(views.T_map_cam, views.cameras, views.names, views.points, unit)
        for name, content in model.items():
            _write(colmap / SPARSE_FOLDER / name, content)
        _write(colmap / POINTS_FILE, ply_bytes(cloud, unit))
        error = f", {views.points.error_px.mean():.2f} pixels mean error" if len(views.points.points) else ""
        console.print(
            f"{colmap}: {count} images and {len(views.points.points)} points with tracks{error}; the map's "
            f"{len(cloud.points)} points are in {POINTS_FILE}; {unit}",
            markup=False,
            soft_wrap=True,
        )
    if nerfstudio is not None:
        _write(nerfstudio / POINTS_FILE, ply_bytes(cloud, unit))
        files = [f"{IMAGES_FOLDER}/{name}" for name in views.names]
        content = transforms_bytes(views.T_map_cam, views.cameras, files, POINTS_FILE, unit)
        _write(nerfstudio / TRANSFORMS_FILE, content)
        console.print(f"{nerfstudio}: {count} images, {TRANSFORMS_FILE} and {POINTS_FILE}; {unit}", soft_wrap=True)


def _thinned(cloud: PointCloud) -> PointCloud:
    chosen = np.linspace(0, len(cloud.points) - 1, min(len(cloud.points), COLMAP_POINTS)).astype(np.int64)
    return PointCloud(cloud.points[chosen], cloud.colours[chosen])


def _write(path: Path, content: bytes) -> None:
    with os_errors_as(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content)
