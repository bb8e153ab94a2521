"""From frames to the windows that the network sees, and from its answers back to frames.

The network sees a window of each frame: resized, cut to a multiple of the patch, the principal point in its middle. Its
maps of that window are copied onto the resized frame, pixel by pixel, so they cover the frame's image from edge to
edge. Pixels outside of the window have no depth.

Shapes: S frames, n of them asked for, h × w pixels of the window, H × W of the resized frame.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scal3r_ros.errors import ReconstructionError
from scal3r_ros.geometry import se3
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.model import ResizeAndCrop, decode_pose, plan_resize
from scal3r_ros.model.aggregator import Grid
from scal3r_ros.reconstruction.protocol import Frame

Array = NDArray[np.float64]

_FIELD_OF_VIEW = (math.radians(1.0), math.radians(170.0))
"""What a camera can have; untrained networks predict less and more."""


@dataclass(frozen=True)
class Cameras:
    """`T_chunk_cam` (S, 4, 4), and the calibration of each resized frame."""

    T_chunk_cam: Array
    intrinsics: tuple[Intrinsics, ...]

    @property
    def finite(self) -> bool:
        """Whether all numbers are finite."""
        return bool(np.isfinite(self.T_chunk_cam).all() and all(np.isfinite(item.K).all() for item in self.intrinsics))


@dataclass(frozen=True)
class Crop:
    """The frames of a chunk, or of a part of one, and the window of each that the network sees."""

    frames: tuple[Frame, ...]
    plans: tuple[ResizeAndCrop, ...]
    grid: Grid

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the maps that cover a frame."""
        return self.plans[0].resized

    def part(self, positions: range) -> Crop:
        """The frames at `positions` alone, which follow each other."""
        return Crop(
            self.frames[positions.start : positions.stop], self.plans[positions.start : positions.stop], self.grid
        )

    def images(self, positions: Sequence[int]) -> Tensor:
        """The windows of some frames (n, 3, h, w) in 0..1, on the CPU."""
        # torch warns of images that it may not write to, as those of a bag are.
        return torch.stack([self.plans[i](np.require(self.frames[i].image, requirements="W")) for i in positions])

    def cameras(self, pose_encoding_S9: Tensor, use_camera_info: bool) -> Cameras:
        """Cameras from the network's encodings; calibrations are those of the frames with `use_camera_info`."""
        height, width = self.plans[0].target
        pose_S9 = pose_encoding_S9.detach().double().cpu()
        pose_S9 = torch.cat((pose_S9[:, :7], pose_S9[:, 7:].clamp(*_FIELD_OF_VIEW)), dim=-1)
        T_cam_chunk_S34, K_S33 = decode_pose(pose_S9, height, width)
        T_chunk_cam = se3.invert(se3.se3(T_cam_chunk_S34[:, :, :3].numpy(), T_cam_chunk_S34[:, :, 3].numpy()))
        guesses = [_on_frame(K, plan) for K, plan in zip(K_S33.numpy(), self.plans, strict=True)]
        if not use_camera_info:
            return Cameras(T_chunk_cam, tuple(guesses))
        return Cameras(T_chunk_cam, tuple(map(self.calibration, range(len(self.frames)), guesses)))

    def calibration(self, position: int, guess: Intrinsics) -> Intrinsics:
        """The camera of a resized frame; `guess` where the frame has none."""
        known = self.frames[position].intrinsics
        return guess if known is None else known.scaled(self.size[1], self.size[0])

    def focal(self) -> float | None:
        """Mean focal length of the frames' calibrations in widths of the window; None where a frame has none."""
        known = [frame.intrinsics for frame in self.frames]
        if any(item is None for item in known):
            return None
        width = self.plans[0].target[1]
        return (
            float(np.mean([item.scaled(self.size[1], self.size[0]).fx for item in known if item is not None])) / width
        )

    def on_frames(self, maps_nhw: NDArray[np.float32], positions: Sequence[int]) -> NDArray[np.float32]:
        """Maps (S, H, W) of all frames from windows of the frames at `positions`; zero elsewhere."""
        maps = np.zeros((len(self.frames), *self.size), np.float32)
        for window, position in zip(maps_nhw, positions, strict=True):
            top, left = self.plans[position].offset
            rows, columns = _inside(top, window.shape[0], self.size[0]), _inside(left, window.shape[1], self.size[1])
            maps[position, rows.start + top : rows.stop + top, columns.start + left : columns.stop + left] = window[
                rows, columns
            ]
        return maps


def crop_of(frames: Sequence[Frame], width: int, patch: int) -> Crop:
    """How the network sees `frames` at a width of `width` pixels.

    Raises:
        ReconstructionError: the frames differ in size.
        ModelError: images that cannot be resized so.
    """
    height_width = {frame.image.shape[:2] for frame in frames}
    if len(height_width) > 1:
        sizes = " and ".join(f"{w} × {h}" for h, w in sorted(height_width))
        raise ReconstructionError(f"the images' size changes within a chunk ({sizes} pixels); start a new map instead")
    plans = tuple(_plan(frame, width, patch) for frame in frames)
    height, width = plans[0].target
    return Crop(tuple(frames), plans, Grid(height // patch, width // patch))


def _plan(frame: Frame, width: int, patch: int) -> ResizeAndCrop:
    centre = None if frame.intrinsics is None else (frame.intrinsics.cx, frame.intrinsics.cy)
    height, source_width = frame.image.shape[:2]
    return plan_resize(height, source_width, width, patch, centre)


def _on_frame(K: Array, plan: ResizeAndCrop) -> Intrinsics:
    (top, left), (height, width) = plan.offset, plan.resized
    fx, fy, cx, cy = (float(value) for value in (K[0, 0], K[1, 1], K[0, 2] + left, K[1, 2] + top))
    return Intrinsics(fx, fy, cx, cy, width, height)


def _inside(offset: int, length: int, full: int) -> slice:
    """The part of a window of `length` at `offset` that lies on a frame of length `full`; empty where none does."""
    start = min(max(0, -offset), length)
    return slice(start, max(start, min(length, full - offset)))
