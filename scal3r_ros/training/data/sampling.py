"""From a clip to one training sequence: its frames are grouped into chunks and augmented.

Shapes: T chunks of F frames; h × w pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.errors import TrainingError
from scal3r_ros.training.data.clips import Clip


@dataclass(frozen=True)
class ChunkShape:
    """`chunks` chunks of `frames` frames, of which `shared` are also the last of the chunk before."""

    chunks: int
    frames: int
    shared: int

    @property
    def span(self) -> int:
        """Different frames of a whole sequence."""
        return self.frames + (self.chunks - 1) * (self.frames - self.shared)

    def positions(self) -> NDArray[np.int64]:
        """Which frame of the sequence each frame of each chunk is (T, F), in order of time."""
        starts = np.arange(self.chunks) * (self.frames - self.shared)
        return starts[:, None] + np.arange(self.frames)


@dataclass(frozen=True)
class Augmentation:
    """The augmentation of rendered or recorded frames.

    `largest_stride`: the largest step between frames; `colour`: spread of the logarithms of gain and contrast.
    """

    largest_stride: int = 3
    flip: bool = True
    reverse: bool = True
    colour: float = 0.15


NONE = Augmentation(largest_stride=1, flip=False, reverse=False, colour=0.0)
"""Unaltered frames from the start of the clip, one after another."""


@dataclass(frozen=True)
class Sequence:
    """Frames of one clip, cut into chunks.

    `shape` is that of the chunks; `images` (T, F, h, w, 3) uint8; `depth_m` (T, F, h, w) float32, 0 where unknown;
    `T_world_cam` (T, F, 4, 4); `K` (3, 3); `zero_is_far` as of the clip. Chunks that are `apart` share no frames.
    """

    shape: ChunkShape
    images: NDArray[np.uint8]
    depth_m: NDArray[np.float32]
    T_world_cam: NDArray[np.float64]
    K: NDArray[np.float64]
    zero_is_far: bool
    apart: bool = False


def cut_sequence(clip: Clip, shape: ChunkShape, rng: np.random.Generator, augmentation: Augmentation) -> Sequence:
    """A random sequence of `clip`; equal generators give equal sequences.

    Of a clip of places each chunk is of another place, in any order.

    Raises:
        TrainingError: the clip is too short.
    """
    if clip.place_frames is not None:
        frames = _frames_of_places(clip, clip.place_frames, shape, rng, augmentation)
        return _seen(clip, frames, shape, rng, augmentation, apart=True)
    longest = (len(clip) - 1) // max(1, shape.span - 1)
    if longest < 1:
        raise TrainingError(
            f"a clip of {len(clip)} frames is too short for {shape.chunks} chunks: {shape.span} frames are needed"
        )
    stride = int(rng.integers(1, min(longest, augmentation.largest_stride) + 1))
    room = len(clip) - 1 - stride * (shape.span - 1)
    start = int(rng.integers(0, room + 1)) if augmentation != NONE else 0
    frames = start + stride * np.arange(shape.span)
    if augmentation.reverse and rng.random() < 0.5:
        frames = frames[::-1]
    return _seen(clip, frames[shape.positions()], shape, rng, augmentation, apart=False)


def _frames_of_places(
    clip: Clip, place_frames: int, shape: ChunkShape, rng: np.random.Generator, augmentation: Augmentation
) -> NDArray[np.int64]:
    """Frames (T, F) of chunks each of which is of a place of its own."""
    places = len(clip) // place_frames
    if shape.chunks > places or shape.frames > place_frames:
        raise TrainingError(
            f"a drive of {places} places of {place_frames} frames is too short for {shape.chunks} chunks of"
            f" {shape.frames}"
        )
    unaltered = augmentation == replace(NONE, largest_stride=augmentation.largest_stride)
    chosen = np.arange(shape.chunks) if unaltered else rng.permutation(places)[: shape.chunks]
    stride = min(augmentation.largest_stride, max(1, (place_frames - 1) // max(1, shape.frames - 1)))
    stride = stride if unaltered else int(rng.integers(1, stride + 1))
    room = place_frames - 1 - stride * (shape.frames - 1)
    start = np.zeros(shape.chunks, int) if unaltered else rng.integers(0, room + 1, shape.chunks)
    frames = (chosen * place_frames + start)[:, None] + stride * np.arange(shape.frames)
    return np.asarray(frames[:, ::-1] if augmentation.reverse and rng.random() < 0.5 else frames, np.int64)


def _seen(
    clip: Clip,
    frames_TF: NDArray[np.int64],
    shape: ChunkShape,
    rng: np.random.Generator,
    augmentation: Augmentation,
    apart: bool,
) -> Sequence:
    """These frames (T, F) of a clip, mirrored and recoloured now and then."""
    frames, places = np.unique(frames_TF, return_inverse=True)
    chunks = places.reshape(frames_TF.shape)
    images = np.ascontiguousarray(clip.images[frames])
    depth_m = np.asarray(clip.depth_m[frames], np.float32)
    T, K = clip.T_world_cam[frames], clip.K
    if augmentation.flip and rng.random() < 0.5:
        images, depth_m, T, K = mirrored(images, depth_m, T, K)
    if augmentation.colour:
        images = recoloured(images, rng, augmentation.colour)
    return Sequence(shape, images[chunks], depth_m[chunks], T[chunks], K, clip.zero_is_far, apart)


def mirrored(
    images: NDArray[np.uint8], depth_m: NDArray[np.float32], T_world_cam: NDArray[np.float64], K: NDArray[np.float64]
) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float64], NDArray[np.float64]]:
    """Mirrored frames: left and right are swapped in images and in space."""
    mirror = np.diag([-1.0, 1.0, 1.0, 1.0])
    K = K.copy()
    K[0, 2] = images.shape[-2] - 1 - K[0, 2]
    return images[..., ::-1, :], depth_m[..., ::-1], mirror @ T_world_cam @ mirror, K


def recoloured(images: NDArray[np.uint8], rng: np.random.Generator, spread: float) -> NDArray[np.uint8]:
    """Another exposure, contrast, white balance and gamma, equal for all frames, and sometimes no colour at all."""
    gain = np.exp(rng.normal(0.0, spread) + rng.normal(0.0, 0.4 * spread, 3))
    contrast, gamma = np.exp(rng.normal(0.0, spread, 2))
    levels = np.arange(256)[:, None] / 255.0
    table = np.clip((gain * levels**gamma - 0.45) * contrast + 0.45, 0.0, 1.0)
    table_u8 = np.rint(255.0 * table).astype(np.uint8)
    grey = rng.random() < 0.25
    if grey:
        weights = np.array([77, 150, 29], np.uint32)
        luma = ((images.astype(np.uint32) @ weights) >> 8).astype(np.uint8)
        return np.repeat(table_u8[luma, 1][..., None], 3, axis=-1)
    return np.stack([table_u8[images[..., channel], channel] for channel in range(3)], axis=-1)
