"""The configuration of a training run: a YAML file of the parameters below, nested at their dots.

Steps count optimiser steps. A frame counts once for each chunk it is in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from scal3r_ros.configuration import from_parameters, parameter, section
from scal3r_ros.errors import ConfigurationError
from scal3r_ros.model import PRESETS
from scal3r_ros.training.data.batches import Unit
from scal3r_ros.training.forward import ChunkContext
from scal3r_ros.training.losses import LossConfig

SIMULATION = "simulation"
LONG_DRIVES = "long_drives"


@dataclass(frozen=True)
class DataConfig:
    """Where clips come from and how they become chunks."""

    train: tuple[str, ...] = parameter(
        (SIMULATION,),
        "sources, drawn from equally: `simulation`, `long_drives`, a bag with /ground_truth/pose and "
        "/ground_truth/depth, or a posed RGB-D folder; one named twice is drawn twice as often",
    )
    validation: tuple[str, ...] = parameter((SIMULATION,), "sources of validation; simulated ones are other worlds")
    sizes: tuple[str, ...] = parameter(("224x112",), "width × height that clips come in, one after the other")
    seed: int = parameter(0, "makes other worlds and other draws", minimum=0)
    clip_frames: int = parameter(32, "frames of a clip", unit="frames", minimum=2)
    places: int = parameter(12, "places of a long drive that are rendered", minimum=1)
    place_frames: int = parameter(8, "frames of each of them", unit="frames", minimum=2)
    first_clips: int = parameter(64, "simulated clips that are waited for before the first step", minimum=1)
    clips_per_step: float = parameter(0.25, "further simulated clips for every step", minimum=0.0)
    kept_clips: int = parameter(3000, "simulated clips kept, the latest ones", minimum=1)
    workers: int = parameter(1, "processes that simulate", minimum=1)
    validation_clips: int = parameter(16, "clips of each source of validation", minimum=1)
    shared: int = parameter(2, "frames that neighbouring chunks share", unit="frames", minimum=1)
    frames: tuple[str, ...] = parameter(("4", "6", "8"), "frames of a chunk, drawn from equally")
    chunks: int = parameter(3, "chunks of a sequence at most; 1 to so many are drawn", minimum=1)
    frames_per_step: int = parameter(32, "frames of a step at most, over all its sequences", minimum=2)
    dense_frames: float = parameter(0.5, "share of the frames whose depth is learnt from", minimum=0.0, maximum=1.0)
    largest_stride: int = parameter(3, "frames of a clip are taken every so many at most", minimum=1)
    unit: str = parameter(
        "typical_depth",
        "what is one in the targets, measured in a sequence's first chunk",
        choices=tuple(unit.value for unit in Unit),
    )
    calibrated: float = parameter(
        0.7, "share of the steps in which poses are solved with the true focal length, not the predicted one",
        minimum=0.0, maximum=1.0,
    )  # fmt: skip
    pair_steps: int = parameter(0, "steps at the start with chunks of two frames alone", minimum=0)
    forget: float = parameter(
        0.25, "share of later chunks whose first frame is encoded without the one before it", minimum=0.0, maximum=1.0
    )


@dataclass(frozen=True)
class OptimiserConfig:
    """AdamW with warm-up and cosine."""

    steps: int = parameter(30000, "steps of the whole run", minimum=1)
    lr: float = parameter(6e-4, "highest learning rate of all but the memory", minimum=0.0)
    memory_lr: float = parameter(6e-4, "highest learning rate of the memory units", minimum=0.0)
    encoder_share: float = parameter(
        1.0, "rate of features that were learnt elsewhere, as a share of lr", minimum=0.0, maximum=1.0
    )
    memory_start: float = parameter(
        0.0, "longest columns of the memory's start, as a share of what a step adds to them; 0 leaves them as they are",
        minimum=0.0,
    )  # fmt: skip
    warmup_steps: int = parameter(300, "steps until the learning rates are at their highest", minimum=0)
    last_lr: float = parameter(0.02, "share of the highest learning rate at the last step", minimum=0.0, maximum=1.0)
    weight_decay: float = parameter(0.03, "of matrices; not of norms and biases", minimum=0.0)
    clip: float = parameter(1.0, "gradients are scaled down to this norm", minimum=1e-6)
    ema: float = parameter(0.999, "decay of the averaged weights, which are validated and exported", minimum=0.0)


@dataclass(frozen=True)
class TrainingConfig:
    """One training run."""

    preset: str = parameter("tiny", "shape of the network", choices=tuple(PRESETS))
    checkpoint: str = parameter("", "weights to start from; empty starts from random ones")
    new_memory: bool = parameter(
        False, "start the memory units untrained, whatever the checkpoint holds of them; it may have others, or none"
    )
    features: str = parameter(
        "", "file of ImageNet's features for an encoder that takes them (preset lite); empty starts from random ones"
    )
    seed: int = parameter(0, "of the random weights", minimum=0)
    layer_scale: float = parameter(0.5, "start of the layer scales of random weights", minimum=0.0)
    context: str = parameter(
        "running",
        "which chunks answer a chunk: running those up to it, joint all of its sequence, as the authors trained",
        choices=tuple(context.value for context in ChunkContext),
    )
    device: str = parameter("auto", "torch device: auto takes a GPU where there is one")
    precision: str = parameter(
        "auto", "autocast: auto is bf16 where the device is fast in it", choices=("auto", "fp32", "bf16")
    )
    threads: int = parameter(0, "threads of the CPU; 0 leaves it to torch", minimum=0)
    chunk_group: int = parameter(1, "processes that share the chunks of a sequence (context joint)", minimum=1)
    validate_every: int = parameter(500, "steps between validations", minimum=1)
    save_every: int = parameter(100, "steps between checkpoints", minimum=1)
    data: DataConfig = section(DataConfig)
    loss: LossConfig = section(LossConfig)
    optimiser: OptimiserConfig = section(OptimiserConfig)


def read_training_config(path: Path, changes: Mapping[str, object] | None = None) -> TrainingConfig:
    """The run that a YAML file describes, with `changes` by dotted names.

    Raises:
        ConfigurationError: the file cannot be read, or holds an unknown parameter or one out of range.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigurationError(f"training configuration {path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise ConfigurationError(f"training configuration {path} holds no parameters")
    values = dict(_dotted(content, ""))
    return from_parameters(TrainingConfig, values | dict(changes or {}))


def _dotted(tree: Mapping[str, object], prefix: str) -> list[tuple[str, object]]:
    flat: list[tuple[str, object]] = []
    for key, value in tree.items():
        flat += _dotted(value, f"{prefix}{key}.") if isinstance(value, dict) else [(f"{prefix}{key}", value)]
    return flat
