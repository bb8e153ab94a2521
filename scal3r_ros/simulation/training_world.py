"""Clips to train on: a made-up world, a camera that moves through it, and the truth of every pixel, all from a seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.errors import SimulationError
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.simulation.drives import street_drive
from scal3r_ros.simulation.renderer import RenderOptions
from scal3r_ros.simulation.simulate import pinhole, render_frames

SPLITS = ("train", "held_out")


@dataclass(frozen=True)
class SequenceSpec:
    """Which clip: `frames` consecutive images of `width` × `height` pixels, made from `seed`.

    Nothing of a clip of the split "held_out" appears in one of "train", whatever their seeds.
    """

    seed: int
    frames: int
    width: int = 224
    height: int = 112
    split: str = "train"


@dataclass(frozen=True)
class Clip:
    """Consecutive frames and their truth.

    `images` (n, h, w, 3) uint8 RGB; `depth_m` (n, h, w) float32 z-depth of the pixels' centres, 0 where the sky is
    seen; `T_world_cam` (n, 4, 4) float64; `moving` (n, h, w) whether a pixel shows something that moves by itself.
    """

    images: NDArray[np.uint8]
    depth_m: NDArray[np.float32]
    T_world_cam: NDArray[np.float64]
    intrinsics: Intrinsics
    moving: NDArray[np.bool_]


def render_sequence(spec: SequenceSpec) -> Clip:
    """The clip of a spec; equal specs give equal bytes. Runs on one thread, mostly without the GIL.

    Raises:
        SimulationError: the split is unknown, or the number of frames, the size or the seed is out of range.
    """
    if spec.split not in SPLITS:
        raise SimulationError(f"split {spec.split!r} is unknown; choose one of {', '.join(SPLITS)}")
    if spec.frames < 1 or spec.seed < 0:
        raise SimulationError(f"clip of {spec.frames} frames from seed {spec.seed} can not be made")
    seed = 2 * spec.seed + SPLITS.index(spec.split)
    rng = np.random.default_rng(seed)
    drive = street_drive(20.0 + spec.frames, float(rng.uniform(3.0, 9.0)), 10.0, seed)
    drive = Trajectory(drive.stamps_ns[: spec.frames], drive.T_ref_cam[: spec.frames])
    camera = pinhole(spec.width, spec.height, float(rng.uniform(55.0, 105.0)))
    options = RenderOptions(exposure=float(rng.uniform(0.7, 1.4)), noise=float(rng.uniform(0.5, 4.0)))
    frames = list(render_frames(drive, camera, seed, options))
    images = np.stack([frame.image for frame in frames])
    return Clip(
        images,
        np.stack([frame.depth_m for frame in frames]),
        drive.T_ref_cam,
        camera,
        np.zeros(images.shape[:3], np.bool_),
    )
