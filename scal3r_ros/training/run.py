"""A run from its configuration: sources, processes, trainer."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import torch

from scal3r_ros.errors import ConfigurationError
from scal3r_ros.training.config import LONG_DRIVES, SIMULATION, DataConfig, TrainingConfig
from scal3r_ros.training.data.batches import Batch, Unit
from scal3r_ros.training.data.plan import Plan, Source
from scal3r_ros.training.data.recorded import RecordedClips
from scal3r_ros.training.data.sampling import ChunkShape
from scal3r_ros.training.data.simulated import SimulatedClips
from scal3r_ros.training.parallel import join_run
from scal3r_ros.training.records.validation import validation_batches
from scal3r_ros.training.trainer import StepReport, Trainer

Size = tuple[int, int]
Split = Literal["train", "held_out"]


def train_run(
    config: TrainingConfig,
    folder: Path,
    report: Callable[[StepReport], None],
    say: Callable[[str], None],
    until: int | None = None,
) -> Trainer:
    """Starts or continues the run in `folder` and trains until `until` steps, by default all, are done.

    Raises:
        TrainingError: data that cannot be trained on, or a checkpoint that cannot be continued.
        ConfigurationError: sizes that are none.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    data, sizes = config.data, [parse_size(text) for text in config.data.sizes]
    run = join_run(config.chunk_group, (config.device,))
    with ExitStack() as stack:
        stack.callback(run.close)
        say("preparing clips of validation")
        validation = _validation(data, sizes, folder) if run.place.leads else []
        opened = {
            source: _open(source, data, sizes, folder / "clips", "train", stack) for source in dict.fromkeys(data.train)
        }
        sources = [opened[source] for source in data.train]
        trainer = Trainer(config, folder, validation, run)
        say(f"training from step {trainer.progress.step}")
        trainer.train(Plan(data, sources, run.place), until or config.optimiser.steps, report)
    return trainer


def _validation(data: DataConfig, sizes: list[Size], folder: Path) -> list[Batch]:
    batches: list[Batch] = []
    with ExitStack() as stack:
        for source in data.validation:
            clips = _open(source, data, sizes, folder / "clips", "held_out", stack)
            chosen = (clips.clip(number) for number in range(data.validation_clips))
            batches += validation_batches(chosen, validation_shape(data), Unit(data.unit), data.largest_stride)
    return batches


def _open(source: str, data: DataConfig, sizes: list[Size], clips: Path, split: Split, stack: ExitStack) -> Source:
    if source in (SIMULATION, LONG_DRIVES):
        return stack.enter_context(SimulatedClips(clips / f"{source}_{split}", data, sizes, split, source))
    return RecordedClips(Path(source), clips, data.clip_frames, sizes)


def validation_shape(data: DataConfig) -> ChunkShape:
    """The longest chunks trained on, as many as were drawn at most and a clip has room for."""
    frames = max(int(frames) for frames in data.frames)
    shared = min(data.shared, frames - 1)
    room = 1 + (data.clip_frames - frames) // (frames - shared)
    return ChunkShape(min(max(2, data.chunks), room), frames, shared)


def parse_size(text: str) -> Size:
    """Width and height of `224x112`; `ConfigurationError` for anything else."""
    found = re.fullmatch(r"(\d+)x(\d+)", text)
    if not found:
        raise ConfigurationError(f"data.sizes holds {text!r}, but a size is width x height, as 224x112")
    return int(found[1]), int(found[2])
