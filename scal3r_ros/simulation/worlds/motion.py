"""How a camera moves: along its path, in its viewing direction, and by shaking."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

DRIVEN = ("forward", "forward", "forward", "forward", "stops", "backward", "sideways", "swaying")
HANDHELD = ("walk", "walk", "walk", "lateral", "backward_walk", "turn", "look_about", "sideways_walk")


@dataclass(frozen=True)
class Motion:
    """Of each frame (n,): metres `along` the path and to its `left`, `yaw` against the path, `pitch` (up) and `roll` in
    rad, and `rise` above the camera's height in metres."""

    along: Array
    left: Array
    yaw: Array
    pitch: Array
    roll: Array
    rise: Array


def make_motion(style: str, frames: int, step_m: float, rng: np.random.Generator) -> Motion:
    """A motion in one of the styles DRIVEN or HANDHELD, with about `step_m` from frame to frame."""
    handheld = style in HANDHELD
    time = np.arange(frames, dtype=np.float64)
    pace = np.full(frames, step_m) * (1.0 + 0.25 * wave(time, rng, 60.0))
    left, yaw = np.zeros(frames), np.zeros(frames)
    if style == "stops":
        stop = float(rng.uniform(0.2, 0.8)) * frames
        pace *= np.clip((np.abs(time - stop) - rng.uniform(1.0, 6.0)) / 10.0, 0.0, 1.0)
    elif style in ("backward", "backward_walk"):
        yaw += math.pi if rng.random() < 0.5 else 0.0
        pace *= -1.0 if yaw[0] == 0.0 else 1.0
    elif style in ("sideways", "sideways_walk"):
        yaw += float(rng.choice([-1.0, 1.0])) * math.radians(float(rng.uniform(25.0, 110.0)))
    elif style == "swaying":
        left = float(rng.uniform(0.2, 0.8)) * wave(time, rng, 45.0)
        yaw = math.radians(float(rng.uniform(1.0, 6.0))) * wave(time, rng, 30.0)
    elif style == "lateral":
        yaw += float(rng.choice([-1.0, 1.0])) * math.pi / 2 + math.radians(15.0) * wave(time, rng, 40.0)
    elif style == "turn":
        rate = math.radians(float(rng.uniform(1.0, 7.0))) * float(rng.choice([-1.0, 1.0]))
        yaw = float(rng.uniform(0, 2 * math.pi)) + np.cumsum(rate * (1.0 + 0.4 * wave(time, rng, 25.0)))
        arm = float(rng.uniform(0.0, 0.25))
        pace, left = np.gradient(arm * np.cos(yaw)), arm * np.sin(yaw)
    elif style == "look_about":
        pace *= 0.5
        yaw = float(rng.uniform(0, 2 * math.pi)) + math.radians(float(rng.uniform(15.0, 45.0))) * wave(time, rng, 40.0)
    along = np.concatenate([[0.0], np.cumsum(pace[:-1])])
    shake = math.radians(float(rng.uniform(0.5, 2.5) if handheld else rng.uniform(0.05, 0.4)))
    quick = math.radians(float(rng.uniform(0.1, 0.6) if handheld else rng.uniform(0.0, 0.1)))
    heave = float(rng.uniform(0.01, 0.06) if handheld else rng.uniform(0.0, 0.012))

    def sway(strength: float) -> Array:
        return strength * shake * wave(time, rng, 24.0) + strength * quick * wave(time, rng, 7.0)

    tilt = math.radians(float(rng.normal(-4.0 if handheld else -1.5, 7.0 if handheld else 2.5)))
    lean = math.radians(float(rng.normal(0.0, 3.0 if handheld else 0.6)))
    rise = heave * (wave(time, rng, 20.0) + 0.6 * wave(time, rng, 6.0))
    left = left + (heave * wave(time, rng, 18.0) if handheld else 0.0)
    return Motion(along, left, yaw + sway(1.5), tilt + sway(1.0), lean + sway(0.7), rise)


def wave(time: Array, rng: np.random.Generator, period: float) -> Array:
    """Smooth and random, mostly within -1…1; `period` is its second shortest wave, in units of `time`."""
    phases, periods = rng.uniform(0, 2 * math.pi, 3), period * rng.uniform(0.8, 1.3, 3) * [1.0, 1.7, 3.1]
    return np.asarray((np.sin(2 * math.pi * time[:, None] / periods + phases) * [0.3, 0.4, 0.5]).sum(axis=1))


def camera_poses(position: Array, heading: Array, pitch: Array, roll: Array) -> Array:
    """Poses (n, 4, 4) of cameras at (n, 3) that look along `heading` (rad, from x to y), raised by `pitch`, rolled."""
    ch, sh, cp, sp = np.cos(heading), np.sin(heading), np.cos(pitch), np.sin(pitch)
    forward = np.stack([ch * cp, sh * cp, sp], axis=-1)
    level_right = np.stack([sh, -ch, np.zeros_like(ch)], axis=-1)
    level_down = np.cross(forward, level_right)
    c, s = np.cos(roll)[:, None], np.sin(roll)[:, None]
    T = np.tile(np.eye(4), (len(position), 1, 1))
    T[:, :3, 0] = c * level_right + s * level_down
    T[:, :3, 1] = c * level_down - s * level_right
    T[:, :3, 2] = forward
    T[:, :3, 3] = position
    return T
