"""Clips of simulated worlds, rendered by separate processes while the network trains."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Sequence as Items
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from types import TracebackType

from scal3r_ros.errors import TrainingError
from scal3r_ros.simulation.worlds.clips import SequenceSpec
from scal3r_ros.simulation.worlds.long_drives import DriveSpec
from scal3r_ros.training.config import LONG_DRIVES, SIMULATION, DataConfig
from scal3r_ros.training.data.clips import Clip, ClipFolder
from scal3r_ros.training.data.rendering import render_clip, render_places

_POLL_S = 0.05
_AHEAD = 16
_SEEDS_APART = 10_000_000


class SimulatedClips:
    """A stream of clips in a folder: a step may use the clips planned for it and no more, however fast rendering is.

    Clips of a stopped run are used again, so the folder must belong to one configuration.
    Use as a context: the processes end with it.
    """

    def __init__(
        self, folder: Path, config: DataConfig, sizes: Items[tuple[int, int]], split: str, source: str = SIMULATION
    ) -> None:
        self._clips = ClipFolder(folder)
        self._config = config
        self._sizes = len(sizes)
        context = multiprocessing.get_context("spawn")
        self._wanted: Synchronized[int] = context.Value("q", 0)
        self._oldest: Synchronized[int] = context.Value("q", 0)
        self._processes = [
            context.Process(
                target=_render,
                args=(source, folder, config, tuple(sizes), split, worker, self._wanted, self._oldest, os.getpid()),
                daemon=True,
            )
            for worker in range(config.workers)
        ]

    def __enter__(self) -> SimulatedClips:
        for process in self._processes:
            process.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            process.terminate()
            process.join()

    def usable(self, size: int, step: int) -> Items[int]:
        """Numbers of the clips of a size that a step may take: the latest `kept_clips` of those planned for it."""
        count = max(self._config.first_clips + int(step * self._config.clips_per_step), self._sizes)
        oldest = max(0, count - max(self._config.kept_clips, self._sizes))
        self._wanted.value = max(self._wanted.value, count + _AHEAD)
        self._oldest.value = oldest
        first = oldest + (size - oldest) % self._sizes
        return range(first, count, self._sizes)

    def clip(self, number: int) -> Clip:
        """A clip; requests it and waits for it. `TrainingError` where the process that renders it has died."""
        self._wanted.value = max(self._wanted.value, number + 1)
        while number not in self._clips:
            dead = [process for process in self._processes if not process.is_alive()]
            if dead:
                raise TrainingError(f"clip {number} was not rendered: a renderer ended with code {dead[0].exitcode}")
            time.sleep(_POLL_S)
        return self._clips.load(number)


def _render(
    source: str,
    folder: Path,
    config: DataConfig,
    sizes: tuple[tuple[int, int], ...],
    split: str,
    worker: int,
    wanted: Synchronized[int],
    oldest: Synchronized[int],
    parent: int,
) -> None:
    """Renders every `workers`-th clip up to `wanted`, deletes those older than `oldest`, and ends with its parent."""
    clips = ClipFolder(folder)
    number, deleted = worker, worker
    while os.getppid() == parent:
        while deleted < oldest.value:
            clips.remove(deleted)
            deleted += config.workers
        number = max(number, deleted)
        if number >= wanted.value:
            time.sleep(_POLL_S)
            continue
        if number not in clips:
            width, height = sizes[number % len(sizes)]
            seed = config.seed * _SEEDS_APART + number
            if source == LONG_DRIVES:
                clip = render_places(DriveSpec(seed, config.places, config.place_frames, width, height, split))
            else:
                clip = render_clip(SequenceSpec(seed, config.clip_frames, width, height, split))
            clips.save(number, clip)
        number += config.workers
