"""The data of each step, as a function of the step alone, so that a run can stop anywhere and continue the same.

Shapes: chunks of F frames, T of a sequence, B sequences a step.
"""

from __future__ import annotations

from collections.abc import Sequence as Items
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from scal3r_ros.training.config import DataConfig
from scal3r_ros.training.data.batches import Batch, Unit, make_batch
from scal3r_ros.training.data.clips import Clip
from scal3r_ros.training.data.sampling import Augmentation, ChunkShape, cut_sequence
from scal3r_ros.training.parallel import Place

_DRAWS = 0x5CA13


class Source(Protocol):
    """Clips by number; the same number is always the same clip."""

    def usable(self, size: int, step: int) -> Items[int]:
        """Numbers of the clips of the `size`-th size that a step may use, at least one."""

    def clip(self, number: int) -> Clip:
        """That clip; waits for it while it is being rendered."""


@dataclass(frozen=True)
class StepData:
    """A batch, which of its frames supervise depth, and whether the network gets the true focal length."""

    batch: Batch
    dense: list[int]
    calibrated: bool = False


@dataclass(frozen=True)
class Plan:
    """The data of every step for one process of a run."""

    config: DataConfig
    sources: Items[Source]
    place: Place

    def shape(self, step: int) -> ChunkShape:
        """Chunks of the sequences of a step, equal in all processes."""
        if step < self.config.pair_steps:
            return ChunkShape(self.place.group, 2, 1)
        rng = self._rng(step)
        frames = int(rng.choice([int(frames) for frames in self.config.frames]))
        fitting = [
            chunks
            for chunks in range(self.place.group, max(self.config.chunks, self.place.group) + 1, self.place.group)
            if ChunkShape(chunks, frames, self._shared(frames)).span <= self.config.clip_frames
        ]
        chunks = int(rng.choice(fitting or [self.place.group]))
        return ChunkShape(chunks, frames, self._shared(frames))

    def step(self, step: int) -> StepData:
        """The data of a step for this process. Waits for clips that are still being rendered."""
        config, shape = self.config, self.shape(step)
        rng = self._rng(step, 1)
        size = int(rng.integers(len(config.sizes)))
        sequences = max(1, config.frames_per_step // (shape.chunks * shape.frames))
        augmentation = Augmentation(config.largest_stride)
        cut = []
        for number in range(sequences):
            # A replica is all processes that share the chunks of the same sequences.
            draw = self._rng(step, 2, self.place.replica, number)
            source = self.sources[int(draw.integers(len(self.sources)))]
            usable = source.usable(size, step)
            clip = source.clip(usable[int(draw.integers(len(usable)))])
            cut.append(cut_sequence(clip, shape, draw, augmentation))
        per_process = shape.chunks // self.place.group
        kept = range(self.place.in_group * per_process, (self.place.in_group + 1) * per_process)
        every = self._rng(step, 3, self.place.replica)
        forget = (every.random((sequences, shape.chunks)) < config.forget)[:, kept.start : kept.stop]
        batch = make_batch(cut, Unit(config.unit), kept, forget.ravel().tolist())
        dense = every.random((sequences, shape.chunks, shape.frames))[:, kept.start : kept.stop].reshape(-1)
        calibrated = bool(self._rng(step, 4).random() < config.calibrated)
        return StepData(batch, _most(dense, config.dense_frames), calibrated)

    def _shared(self, frames: int) -> int:
        return min(self.config.shared, frames - 1)

    def _rng(self, *key: int) -> np.random.Generator:
        return np.random.default_rng((_DRAWS, self.config.seed, *key))


def _most(scores: np.ndarray, share: float) -> list[int]:
    count = max(1, round(share * len(scores)))
    return sorted(int(i) for i in np.argsort(scores)[:count])
