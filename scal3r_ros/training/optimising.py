"""The optimiser: parameter groups, learning-rate schedule, and the running average of the weights."""

from __future__ import annotations

import math
import pickle
from pathlib import Path

import torch
from torch import nn

from scal3r_ros.errors import TrainingError
from scal3r_ros.model import Scal3R
from scal3r_ros.model.encoder.efficient import EfficientEncoder
from scal3r_ros.model.layers.blocks import LayerScale
from scal3r_ros.training.config import OptimiserConfig
from scal3r_ros.training.memory_units import prepare_memory

_BETAS = (0.9, 0.99)


def build_optimiser(model: Scal3R, config: OptimiserConfig) -> torch.optim.AdamW:
    """AdamW over what has gradients; memory units, borrowed features and the rest learn at rates of their own."""
    places = dict.fromkeys((id(p) for p in model.aggregator.memory_units.parameters()), "memory")
    if isinstance(model.encoder, EfficientEncoder):
        places |= dict.fromkeys((id(p) for p in model.encoder.borrowed()), "borrowed")
    rates = {"": config.lr, "memory": config.memory_lr, "borrowed": config.encoder_share * config.lr}
    groups = []
    for place, rate in rates.items():
        for decays in (True, False):
            chosen = [
                p
                for p in model.parameters()
                if p.requires_grad and places.get(id(p), "") == place and (p.ndim > 1) == decays
            ]
            if chosen:
                groups.append(
                    {"params": chosen, "lr": rate, "highest": rate, "weight_decay": config.weight_decay * decays}
                )
    return torch.optim.AdamW(groups, lr=config.lr, betas=_BETAS, fused=True)


def set_rates(optimiser: torch.optim.Optimizer, step: int, config: OptimiserConfig) -> None:
    """Learning rates of a step."""
    share = rate_share(step, config)
    for group in optimiser.param_groups:
        group["lr"] = group["highest"] * share


def rate_share(step: int, config: OptimiserConfig) -> float:
    """Share of the highest learning rate: linear warm-up, then half a cosine down to `last_lr`."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    way = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    return config.last_lr + (1 - config.last_lr) * 0.5 * (1 + math.cos(math.pi * min(1.0, way)))


@torch.no_grad()
def follow(average: nn.Module, model: nn.Module, step: int, decay: float) -> None:
    """Updates the running average of the weights by one step; its decay starts small, to forget the random start."""
    young = min(decay, (1 + step) / (10 + step))
    torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - young)


@torch.no_grad()
def prepare_from_scratch(model: Scal3R, layer_scale: float) -> None:
    """Random weights made ready to learn.

    Residual branches are strong enough to be heard from the first step, and memory units can be used.
    """
    prepare_memory(model)
    for module in model.modules():
        if isinstance(module, LayerScale):
            module.gamma.fill_(layer_scale)


def load_features(model: Scal3R, path: Path) -> None:
    """Sets the features of an encoder that takes them to those in `path`, a file of tensors by name.

    Raises:
        TrainingError: the encoder takes none, or the file cannot be read.
        ModelError: it holds other tensors.
    """
    if not isinstance(model.encoder, EfficientEncoder):
        raise TrainingError(f"preset {model.preset.name} takes no features of others: leave `features` empty")
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise TrainingError(f"features {path} cannot be read: {error}") from error
    model.encoder.load_imagenet(weights)
