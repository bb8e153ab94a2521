"""A run on disk: everything it needs to continue as if it had never stopped."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from scal3r_ros.errors import TrainingError

_FORMAT = "scal3r_ros training 1"


@dataclass(frozen=True)
class Progress:
    """`step` steps are done; `best` is the lowest validation score so far, None before the first."""

    step: int = 0
    best: float | None = None


def save_progress(
    path: Path, progress: Progress, preset: str, model: nn.Module, average: nn.Module, optimiser: torch.optim.Optimizer
) -> None:
    """Writes a run's state atomically.

    Raises:
        TrainingError: the disk does not take it.
    """
    state = {
        "format": _FORMAT,
        "preset": preset,
        "step": progress.step,
        "best": progress.best,
        "model": model.state_dict(),
        "average": average.state_dict(),
        "optimiser": optimiser.state_dict(),
        "torch_rng": torch.get_rng_state(),
    }
    partial = path.with_suffix(".partial")
    try:
        torch.save(state, partial)
        partial.replace(path)
    except (OSError, RuntimeError) as error:
        raise TrainingError(f"training checkpoint {path} cannot be written: {error}") from error


def load_progress(
    path: Path, preset: str, model: nn.Module, average: nn.Module, optimiser: torch.optim.Optimizer
) -> Progress:
    """Restores network, average and optimiser from `path`; returns the progress of the run.

    Raises:
        TrainingError: the file cannot be read, or belongs to another preset.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise TrainingError(f"training checkpoint {path} cannot be read: {error}") from error
    if not isinstance(state, dict) or state.get("format") != _FORMAT or state.get("preset") != preset:
        raise TrainingError(f"training checkpoint {path} is not one of preset {preset}: choose another output folder")
    model.load_state_dict(state["model"])
    average.load_state_dict(state["average"])
    optimiser.load_state_dict(state["optimiser"])
    torch.set_rng_state(state["torch_rng"])
    return Progress(state["step"], state["best"])
