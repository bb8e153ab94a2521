"""A network ready to run: weights, device, precision, compilation."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from torch import nn

from scal3r_ros.errors import ReconstructionError
from scal3r_ros.model import PRESETS, PUBLISHED, Preset, Scal3R, load_checkpoint, preset_named, random_model
from scal3r_ros.model.layers.cpu_kernels import ask_onednn, has_onednn
from scal3r_ros.reconstruction.device import computes_bfloat16_fast, torch_device
from scal3r_ros.reconstruction.network.bundled_weights import all_bundled_weights, bundled_weights
from scal3r_ros.reconstruction.network.config import NetworkConfig

_RANDOM_SEED = 0
_log = logging.getLogger(__name__)


def build_network(config: NetworkConfig) -> Scal3R:
    """The network that `config` describes, on its device, for inference only.

    Raises:
        ReconstructionError: no weights, and not allowed to run untrained, or a device or compiler that cannot be used.
        ModelError: a checkpoint that does not fit the preset.
    """
    device = torch_device(config.device)
    model = _with_weights(config, preset_named(config.preset))
    model.set_precision(compute_type(config, device)).to(device).requires_grad_(False)
    if config.onednn and not config.compile and device.type == "cpu" and has_onednn():
        ask_onednn(model)
    if config.compile:
        _compile(model, device, config.compile_shapes)
    return model


def compute_type(config: NetworkConfig, device: torch.device) -> torch.dtype:
    """The type in which encoder and layers compute on `device`."""
    fast = config.precision == "auto" and computes_bfloat16_fast(device)
    return torch.bfloat16 if config.precision == "bf16" or fast else torch.float32


def _with_weights(config: NetworkConfig, preset: Preset) -> Scal3R:
    if config.checkpoint:
        path = Path(config.checkpoint).expanduser()
        if not path.is_file():
            raise ReconstructionError(f"checkpoint {path} does not exist; {_where_to_get_one(preset)}")
        return load_checkpoint(path, preset)
    bundled = bundled_weights(preset.name)
    if bundled is not None:
        _log.info("the network runs on the bundled weights of preset %s: %s", preset.name, bundled)
        return load_checkpoint(bundled, preset)
    if not config.allow_random_weights:
        raise ReconstructionError(
            f"the reconstructor 'scal3r' needs weights, but network.checkpoint is empty; {_where_to_get_one(preset)}"
        )
    return random_model(preset, _RANDOM_SEED)


def _where_to_get_one(preset: Preset) -> str:
    pages = [f"{published.file} from {published.page}" for published in PUBLISHED if published.preset == preset]
    published = f"download {' or '.join(pages)}" if pages else f"train one (none is published for {preset.name})"
    bundled = ", ".join(all_bundled_weights())
    own = f"choose a network.preset with bundled weights ({bundled}), " if bundled else ""
    return (
        f"{published} and set network.checkpoint to the file, {own}choose reconstructor=geometric, which needs none, "
        f"or try a preset ({', '.join(PRESETS)}) untrained with network.allow_random_weights=true"
    )


def _compile(model: Scal3R, device: torch.device, shapes: str) -> None:
    """Compiles the blocks, which do nearly all of the work, and tries one so that a missing compiler shows."""
    aggregator = model.aggregator
    encoder_blocks = getattr(model.encoder, "blocks", nn.ModuleList())
    for block in (*encoder_blocks, *aggregator.frame_blocks, *aggregator.global_blocks):
        block.compile(dynamic=shapes == "any", mode="reduce-overhead" if shapes == "graphs" else None)
    try:
        with torch.inference_mode():
            aggregator.frame_blocks[0](torch.zeros(2, 8, aggregator.config.channels, device=device))
    except Exception as error:  # torch.compile fails in many ways, which all mean the same to a user
        reason = str(error).strip().partition("\n")[0]
        raise ReconstructionError(
            f"the network cannot be compiled here: {reason}; install a C++ compiler or set network.compile=false"
        ) from error
