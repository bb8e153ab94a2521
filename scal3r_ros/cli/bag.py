"""`scal3r bag`: a folder of images becomes a rosbag2."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from scal3r_ros.errors import SequenceError
from scal3r_ros.geometry.trajectory import Trajectory, nearest_in_time
from scal3r_ros.io.bags.topics import FIRST_STAMP_NS
from scal3r_ros.io.bags.writer import BagWriter
from scal3r_ros.io.calibration import CameraCalibration, read_calibration
from scal3r_ros.io.images.folder import (
    find_images,
    frame_number,
    read_depth,
    read_image,
    stamps_of_names,
    upright_camera,
    upright_turns,
)
from scal3r_ros.io.images.grey_range import GreyRange
from scal3r_ros.io.sources import SourceOptions, open_source
from scal3r_ros.io.trajectories import even_stamps, read_times, read_trajectory

ASSUMED_FOV_DEG = 70.0
"""Horizontal field of view of a camera that nothing is known of: that of a usual lens."""


def bag(
    images: Annotated[Path, typer.Argument(help="Folder of images, taken in the order of their numbers.")],
    calib: Annotated[
        Path, typer.Option(help="Calibration: of KITTI, ROS, OpenCV, Kalibr, EuRoC or ORB-SLAM, or a 3×3 matrix.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The bag to write; it must not exist yet.")],
    rate: Annotated[
        float | None,
        typer.Option(min=0.001, help="Images per second, where neither --times nor their names tell."),
    ] = None,
    truth: Annotated[
        Path | None, typer.Option(help="True camera poses in metres: KITTI 3×4 rows, 4×4 rows or TUM.")
    ] = None,
    times: Annotated[
        Path | None, typer.Option(help="Seconds of each image, one a line, as KITTI's times.txt; replaces --rate.")
    ] = None,
    depth: Annotated[
        Path | None, typer.Option(help="Folder of 16-bit depth images in mm, numbered as their images.")
    ] = None,
    storage: Annotated[Literal["sqlite3", "mcap"], typer.Option(help="File format of the bag.")] = "sqlite3",
    max_frames: Annotated[int | None, typer.Option(min=1, help="Stop after so many images.")] = None,
) -> None:
    """Turn a folder of images into a rosbag2 with Image, CameraInfo and, where known, true poses and depth.

    Example: scal3r bag kitti/image_0 --calib kitti/calib.txt --rate 10 --truth kitti/poses.txt -o kitti.bag
    """
    console = Console(stderr=True)
    folder = find_images(images)
    if folder.folder != images:
        console.print(f"images are taken from {folder.folder}", soft_wrap=True, markup=False)
    paths = folder.paths[:max_frames]
    stamps_ns = _stamps(folder.paths, rate, times)
    poses = _poses(read_trajectory(truth, stamps_ns), stamps_ns) if truth is not None else {}
    depths = _depths(depth, folder.paths)

    grey_range = GreyRange()
    first = read_image(paths[0], grey_range)
    turns, calibration = upright_camera(
        upright_turns(paths[0]),
        first.shape[0],
        first.shape[1],
        lambda height, width: read_calibration(calib, width, height),
    )
    if turns and poses:
        raise SequenceError(
            f"the images in {folder.folder} are marked to be turned upright, and nothing tells whether the poses of "
            f"{truth} are those of the camera before or after; turn the files themselves, and leave out the mark"
        )
    with BagWriter(out, storage) as writer:
        for path, stamp_ns in track(
            list(zip(paths, stamps_ns.tolist(), strict=False)), "writing", console=console, transient=True
        ):
            image = read_image(path, grey_range)
            if image.shape[:2] != first.shape[:2]:
                raise SequenceError(
                    f"image {path} has {image.shape[1]}×{image.shape[0]} pixels, but the first has "
                    f"{first.shape[1]}×{first.shape[0]}; a bag holds one camera"
                )
            writer.write_camera_info(stamp_ns, calibration)
            writer.write_image(stamp_ns, np.rot90(image, turns))
            if stamp_ns in poses:
                writer.write_pose(stamp_ns, poses[stamp_ns])
            if path in depths:
                writer.write_depth(stamp_ns, np.rot90(read_depth(depths[path]), turns))
    written = set(stamps_ns[: len(paths)].tolist())
    console.print(
        f"{out}: {len(paths)} images, {len(written & set(poses))} true poses, "
        f"{sum(path in depths for path in paths)} true depth images",
        soft_wrap=True,
        markup=False,
    )


def _stamps(paths: tuple[Path, ...], rate: float | None, times: Path | None) -> NDArray[np.int64]:
    if times is not None:
        stamps_ns = _dated(read_times(times))
        if len(stamps_ns) < len(paths):
            raise SequenceError(f"times file {times} has {len(stamps_ns)} times for {len(paths)} images")
        return stamps_ns[: len(paths)]
    if rate is not None:
        return even_stamps(len(paths), rate)
    named = stamps_of_names(paths)
    if named is None:
        raise SequenceError("nothing tells when the images were taken; give --rate or --times")
    return named


def _dated(stamps_ns: NDArray[np.int64]) -> NDArray[np.int64]:
    """Stamps that count from the start of a recording, moved to where bags without a clock of their own begin."""
    return stamps_ns if stamps_ns[0] >= FIRST_STAMP_NS else stamps_ns + FIRST_STAMP_NS


def _poses(trajectory: Trajectory, stamps_ns: NDArray[np.int64]) -> dict[int, NDArray[np.float64]]:
    """True poses by the stamp of their image; those of a file with its own clock go to the nearest image."""
    half_gap_ns = int(np.diff(stamps_ns).min()) // 2 if len(stamps_ns) > 1 else 0
    true_ns = _dated(trajectory.stamps_ns)
    nearest = nearest_in_time(true_ns, stamps_ns)
    near = np.abs(true_ns[nearest] - stamps_ns) <= half_gap_ns
    poses = {int(stamps_ns[image]): trajectory.T_ref_cam[nearest[image]] for image in np.flatnonzero(near)}
    if not poses:
        raise SequenceError("no true pose has the time of an image; check that --truth and --times use the same clock")
    return poses


def _depths(folder: Path | None, images: tuple[Path, ...]) -> dict[Path, Path]:
    """The depth image of each image that has one: both have the same last number in their name."""
    if folder is None:
        return {}
    by_number = {frame_number(path): path for path in find_images(folder).paths}
    by_number.pop(None, None)
    found = {path: by_number[number] for path in images if (number := frame_number(path)) in by_number}
    if not found:
        raise SequenceError(f"depth folder {folder} has no image whose number is that of one of the images")
    return found


def write_bag_of(source: Path, options: SourceOptions, out: Path) -> None:
    """Writes the rectified images of a source, their camera and, where they are known, true poses.

    Raises:
        SequenceError: the source cannot be read or holds no readable image, or the bag cannot be written.
        GeometryError: the calibration cannot be used.
    """
    with closing(open_source(source, options)) as images, BagWriter(out) as writer:
        poses = _poses_by_stamp(images.ground_truth())
        written = 0
        for frame in options.select(images.frames()):
            if frame.intrinsics is not None:
                camera = frame.intrinsics
                calibration = CameraCalibration.pinhole(camera.width, camera.height, camera.K.ravel().tolist())
                writer.write_camera_info(frame.stamp_ns, calibration)
            writer.write_image(frame.stamp_ns, frame.image)
            if frame.stamp_ns in poses:
                writer.write_pose(frame.stamp_ns, poses[frame.stamp_ns])
            written += 1
        if not written:
            raise SequenceError(f"{source} holds no image that can be read")


def _poses_by_stamp(truth: Trajectory | None) -> dict[int, NDArray[np.float64]]:
    return {} if truth is None else dict(zip(truth.stamps_ns.tolist(), truth.T_ref_cam, strict=True))
