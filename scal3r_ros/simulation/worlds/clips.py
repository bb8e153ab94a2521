"""Clips to train on: a simulated world, a moving camera, and ground truth for every pixel, all from a seed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.errors import SimulationError
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.io.trajectories import even_stamps
from scal3r_ros.simulation.simulate import SimulatedFrame, pinhole
from scal3r_ros.simulation.worlds.indoor import build_corridor, build_rooms
from scal3r_ros.simulation.worlds.motion import DRIVEN, HANDHELD, make_motion, wave
from scal3r_ros.simulation.worlds.outdoor import build_country, build_street
from scal3r_ros.simulation.worlds.rendering.sensor import CLEAN, Sensor
from scal3r_ros.simulation.worlds.rendering.view import View, Viewer
from scal3r_ros.simulation.worlds.world import Request, World

SPLITS = ("train", "held_out")
NEAREST_SEEN_M = 0.12
"""A clip in which something comes nearer than this is built anew: no real camera is that close to a wall."""

ATTEMPTS = 8

HELD_OUT_SEEDS = 1 << 62  # each split draws from seeds that the other never uses


class Kind(NamedTuple):
    """A kind of clip: how its world is built, how likely it is, whether the camera is driven or carried, and the ranges
    of its height (m) and of its motion from frame to frame (m)."""

    build: Callable[[Request, np.random.Generator, bool], World]
    share: float
    driven: bool
    height_m: tuple[float, float]
    step_m: tuple[float, float]


KINDS = {
    "street": Kind(build_street, 0.3, True, (1.1, 2.4), (0.15, 1.5)),
    "country": Kind(build_country, 0.22, True, (1.1, 2.4), (0.15, 1.5)),
    "corridor": Kind(build_corridor, 0.1, True, (0.3, 1.6), (0.05, 0.3)),
    "rooms": Kind(build_rooms, 0.08, True, (0.3, 1.6), (0.03, 0.2)),
    "handheld_street": Kind(build_street, 0.08, False, (1.2, 1.9), (0.03, 0.2)),
    "handheld_country": Kind(build_country, 0.06, False, (1.2, 1.9), (0.03, 0.2)),
    "handheld_corridor": Kind(build_corridor, 0.06, False, (1.2, 1.8), (0.02, 0.15)),
    "handheld_rooms": Kind(build_rooms, 0.1, False, (1.1, 1.8), (0.01, 0.12)),
}
"""All kinds of clips by name."""


@dataclass(frozen=True)
class SequenceSpec:
    """One clip: `frames` consecutive images of `width` × `height` pixels, built from `seed`.

    Clips of the split "held_out" have other seeds than those of "train", and textures whose parameters are drawn from
    ranges that those of "train" leave out. `kind` is one of KINDS; None draws one. `fov_deg` is the angle from the left
    to the right edge; None draws it too.
    """

    seed: int
    frames: int
    width: int = 224
    height: int = 112
    split: str = "train"
    kind: str | None = None
    fov_deg: float | None = None


@dataclass(frozen=True)
class Clip:
    """Consecutive frames with ground truth.

    `images` (n, h, w, 3) uint8 RGB; `depth_m` (n, h, w) float32 z-depth of the pixels' centres, 0 where the sky is
    seen; `T_world_cam` (n, 4, 4) float64; `moving` (n, h, w) whether a pixel shows something that moves by itself.
    """

    images: NDArray[np.uint8]
    depth_m: NDArray[np.float32]
    T_world_cam: NDArray[np.float64]
    intrinsics: Intrinsics
    moving: NDArray[np.bool_]


def render_sequence(spec: SequenceSpec, images: Path | None = None, clean: bool = False) -> Clip:
    """The clip of a spec; equal arguments give equal bytes. Runs on one thread, mostly without the GIL.

    `images` is a folder of images to use as textures too; `clean` leaves out what a real camera does to a picture:
    exposure drift, motion blur, noise, compression.

    Raises:
        SimulationError: the split or kind is unknown, or the number of frames, the size or the seed is out of range.
        SequenceError: the folder of images holds none.
    """
    _check(spec)
    for attempt in range(ATTEMPTS):
        clip = _attempt(spec, attempt, images, clean)
        if clip is not None:
            return clip
    raise SimulationError(f"clip of seed {spec.seed} came too close to a wall {ATTEMPTS} times; use another seed")


def simulated_frames(clip: Clip, rate_hz: float) -> list[SimulatedFrame]:
    """A clip as stamped frames at `rate_hz`; poses start at the first camera's position, z up."""
    T = clip.T_world_cam.copy()
    T[:, :3, 3] -= T[0, :3, 3]
    stamps = even_stamps(len(T), rate_hz)
    return [
        SimulatedFrame(int(stamp), image, depth, pose)
        for stamp, image, depth, pose in zip(stamps, clip.images, clip.depth_m, T, strict=True)
    ]


def _check(spec: SequenceSpec) -> None:
    if spec.split not in SPLITS:
        raise SimulationError(f"split {spec.split!r} is unknown; choose one of {', '.join(SPLITS)}")
    if spec.kind is not None and spec.kind not in KINDS:
        raise SimulationError(f"kind of clip {spec.kind!r} is unknown; choose one of {', '.join(KINDS)}")
    if spec.frames < 1 or not 0 <= spec.seed < HELD_OUT_SEEDS:
        raise SimulationError(f"clip of {spec.frames} frames from seed {spec.seed} cannot be made")


def _attempt(spec: SequenceSpec, attempt: int, images: Path | None, clean: bool) -> Clip | None:
    held_out = spec.split == "held_out"
    rng = np.random.default_rng([spec.seed + held_out * HELD_OUT_SEEDS, attempt])
    names = list(KINDS)
    shares = np.array([KINDS[name].share for name in names])
    drawn = names[int(rng.choice(len(names), p=shares / shares.sum()))]
    kind = KINDS[spec.kind or drawn]
    style = str(rng.choice(DRIVEN if kind.driven else HANDHELD))
    step = math.exp(rng.uniform(*np.log(kind.step_m)))
    motion = make_motion(style, max(spec.frames, 2), step, rng)  # a single frame does not move
    world = kind.build(Request(motion, float(rng.uniform(*kind.height_m)), images), rng, held_out)
    fov_deg = float(rng.uniform(50.0, 110.0))
    camera = pinhole(spec.width, spec.height, fov_deg if spec.fov_deg is None else spec.fov_deg)
    poses = world.T_world_cam[: spec.frames]
    taken = [CLEAN] * spec.frames if clean else sensors(spec.frames, rng)
    viewer = Viewer(world.mesh, world.atlas, world.light, camera, poses[:, :3, 3])
    moves = np.ones(world.mover_poses.shape[1], np.bool_)
    noise = int(rng.integers(1 << 40))
    views: list[View] = []
    for index in range(spec.frames):
        after = min(index + 1, spec.frames - 1)
        view = viewer.draw(poses[index], poses[after], world.mover_poses[index], moves, taken[index], noise + index)
        if view.depth_m.min(where=view.depth_m > 0, initial=np.inf) < NEAREST_SEEN_M:
            return None
        views.append(view)
    return Clip(
        np.stack([view.image for view in views]),
        np.stack([view.depth_m for view in views]),
        poses,
        camera,
        np.stack([view.moving for view in views]),
    )


def sensors(frames: int, rng: np.random.Generator) -> list[Sensor]:
    """One camera, its exposure and white balance drifting from frame to frame."""
    time = np.arange(frames, dtype=np.float64)
    balance = np.exp(rng.normal(0.0, 0.08, 3))
    drift = np.exp(float(rng.uniform(0.0, 0.12)) * wave(time, rng, 30.0))
    tones = np.exp(float(rng.uniform(0.0, 0.03)) * np.stack([wave(time, rng, 40.0) for _ in range(3)], axis=-1))
    noise = float(rng.uniform(0.3, 3.0))
    base = Sensor(
        gain=np.ones(3),
        adapts=float(rng.choice([0.0, 0.05, 0.2])),
        gamma=float(rng.uniform(1.8, 2.5)),
        contrast=float(rng.uniform(-0.3, 1.0)),
        vignetting=float(rng.uniform(0.0, 0.5)) if rng.random() < 0.6 else 0.0,
        sharpening=float(rng.uniform(-0.5, 0.8)) if rng.random() < 0.6 else 0.0,
        noise=noise,
        shot_noise=noise * float(rng.uniform(0.5, 2.0)),
        quantisation=float(rng.uniform(2.0, 14.0)) if rng.random() < 0.4 else 0.0,
        shutter=float(rng.uniform(0.05, 0.5)) if rng.random() < 0.5 else 0.0,
    )
    grey = float(rng.uniform(0.13, 0.36))
    return [base._replace(gain=grey * balance * drift[index] * tones[index]) for index in range(frames)]
