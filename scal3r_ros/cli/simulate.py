"""`scal3r simulate`: a drive through a made-up town becomes a rosbag2 with true poses and depth."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from scal3r_ros.errors import SimulationError
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.io.trajectories import read_trajectory
from scal3r_ros.simulation.drives.circuits import CIRCUITS, circuit_drive
from scal3r_ros.simulation.drives.levelling import levelled
from scal3r_ros.simulation.drives.street import street_drive
from scal3r_ros.simulation.sensors.suite import simulate_sensors
from scal3r_ros.simulation.simulate import pinhole, write_frames
from scal3r_ros.simulation.simulate import simulate as simulate_drive
from scal3r_ros.simulation.town.renderer import RenderOptions
from scal3r_ros.simulation.worlds.clips import KINDS, SequenceSpec, render_sequence, simulated_frames

TOWN = "town"
CLIP_FRAMES = 200


def simulate(
    out: Annotated[Path, typer.Option("--out", "-o", help="The bag to write; it must not exist yet.")],
    length: Annotated[float, typer.Option(min=1.0, help="Metres to drive, where no --trajectory is given.")] = 300.0,
    speed: Annotated[float, typer.Option(min=0.1, help="Metres per second, where no --trajectory is given.")] = 8.0,
    rate: Annotated[float, typer.Option(min=0.1, help="Images per second.")] = 10.0,
    width: Annotated[int, typer.Option(min=16, help="Pixels of a row.")] = 640,
    height: Annotated[int, typer.Option(min=16, help="Pixels of a column.")] = 192,
    fov: Annotated[float, typer.Option(min=1.0, max=170.0, help="Degrees from the left to the right edge.")] = 83.0,
    seed: Annotated[int, typer.Option(min=0, help="Makes another drive, town and noise.")] = 0,
    circuit: Annotated[
        str | None,
        typer.Option(help=f"A closed circuit instead of a street: {', '.join(CIRCUITS)}."),
    ] = None,
    trajectory: Annotated[
        Path | None, typer.Option(help="Camera poses to drive along (KITTI 3×4 rows, 4×4 rows or TUM), in metres.")
    ] = None,
    level: Annotated[
        bool,
        typer.Option("--level", help="Put the given poses on one ground: raise or lower them where they disagree."),
    ] = False,
    max_frames: Annotated[int | None, typer.Option(min=2, help="Stop after so many images.")] = None,
    depth_every: Annotated[int, typer.Option(min=0, help="True depth with every n-th image; 0: with none.")] = 5,
    exposure: Annotated[float, typer.Option(min=0.05, help="Brightness, as a factor.")] = 1.0,
    noise: Annotated[float, typer.Option(min=0.0, help="Standard deviation of a pixel in grey levels.")] = 1.5,
    sensors: Annotated[
        bool, typer.Option("--sensors", help="Wheel odometry, an IMU and satellite fixes, too, with realistic errors.")
    ] = False,
    outage: Annotated[
        list[float] | None, typer.Option(help="With --sensors: a second from which on there are no fixes for 30 s.")
    ] = None,
    storage: Annotated[Literal["sqlite3", "mcap"], typer.Option(help="File format of the bag.")] = "sqlite3",
    kind: Annotated[
        str,
        typer.Option(help=f"Town, or a clip as networks are trained with: {', '.join(KINDS)}.", metavar="KIND"),
    ] = TOWN,
    split: Annotated[
        Literal["train", "held_out"], typer.Option(help="Of a --kind but town: worlds that are trained in, or never.")
    ] = "train",
    textures: Annotated[
        Path | None, typer.Option(help="Of a --kind but town: a folder of images to use as textures too.")
    ] = None,
) -> None:
    """Simulate a drive through a street and write it as a rosbag2 with images, CameraInfo, true poses and true depth.

    Example: scal3r simulate --length 300 --seed 1 -o street.bag
    Or: scal3r simulate --circuit eight -o eight.bag
    Or: scal3r simulate --kind handheld_rooms --width 224 --height 112 --max-frames 64 -o rooms.bag
    """
    console = Console(stderr=True)
    if kind != TOWN:
        frames = max_frames or CLIP_FRAMES
        clip = render_sequence(SequenceSpec(seed, frames, width, height, split, kind, fov), textures)
        write_frames(simulated_frames(clip, rate), out, clip.intrinsics, storage, depth_every)
        _say(console, out, clip.T_world_cam)
        return
    drive = _drive(length, speed, rate, seed, trajectory, circuit)
    drive = levelled(drive) if level else drive
    drive = Trajectory(drive.stamps_ns[:max_frames], drive.T_ref_cam[:max_frames])
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("simulating", total=len(drive))
        simulate_drive(
            drive,
            out,
            pinhole(width, height, fov),
            seed,
            RenderOptions(exposure=exposure, noise=noise),
            storage,
            depth_every,
            workers=len(os.sched_getaffinity(0)),
            progress=lambda done: bar.update(task, completed=done),
            samples=simulate_sensors(drive, seed, outage or ()) if sensors else (),
        )
    _say(console, out, drive.T_ref_cam)


def _drive(
    length: float, speed: float, rate: float, seed: int, trajectory: Path | None, circuit: str | None
) -> Trajectory:
    if trajectory is not None and circuit is not None:
        raise SimulationError("give either --trajectory or --circuit, not both")
    if circuit is not None:
        return circuit_drive(circuit, speed, rate, seed)
    return street_drive(length, speed, rate, seed) if trajectory is None else read_trajectory(trajectory, rate_hz=rate)


def _say(console: Console, out: Path, T_ref_cam: NDArray[np.float64]) -> None:
    metres = float(np.linalg.norm(np.diff(T_ref_cam[:, :3, 3], axis=0), axis=1).sum())
    console.print(
        f"{out}: {len(T_ref_cam)} images over {metres:.0f} m, with true poses and depth", soft_wrap=True, markup=False
    )
