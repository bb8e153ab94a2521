"""Loads and saves weights: the released `scal3r.pt`, a plain VGGT-1B checkpoint, and this package's safetensors.

Only tensors are ever unpickled.
"""

from __future__ import annotations

import hashlib
import logging
import math
import pickle
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from scal3r_ros.errors import ModelError
from scal3r_ros.model.scal3r import Scal3R, random_model
from scal3r_ros.model.weights.presets import Preset
from scal3r_ros.model.weights.state_dict_adapter import VGGT_IGNORED, from_scal3r, from_vggt

_FORMAT = "scal3r_ros model 1"
_MEMORY = "aggregator.memory_units."
_NAMES_TOLD = 3
_SUMMED_AT_ONCE = 1 << 24
_SAMPLED = 4096
_log = logging.getLogger(__name__)


class CheckpointSource(Enum):
    """Who wrote a checkpoint."""

    SCAL3R = "released Scal3R"
    VGGT = "VGGT"
    OWN = "scal3r_ros"


@dataclass(frozen=True)
class CheckpointReport:
    """What a checkpoint holds: `tensors` of the network with `parameters` values in all."""

    source: CheckpointSource
    has_memory: bool
    tensors: int
    parameters: int


def load_checkpoint(path: Path, preset: Preset) -> Scal3R:
    """The network of `preset` with the weights in `path`, float32 on the CPU, ready for inference.

    Takes the released Scal3R checkpoint, a plain VGGT-1B checkpoint and what `save_checkpoint` writes. VGGT has no
    memory units: the network then has none either, which is logged once, and `model.preset.memory` is None.

    Raises:
        ModelError: the file cannot be read, or its tensors are not exactly those of the preset.
    """
    matched = _match(path, preset)
    with torch.device("meta"):
        model = Scal3R(matched.preset)
    model.unit_sigma = matched.unit_sigma
    model.load_state_dict({name: tensor.float() for name, tensor in matched.tensors.items()}, assign=True)
    return model.eval()


def load_backbone(path: Path, preset: Preset, seed: int) -> Scal3R:
    """The network of `preset` with the weights in `path`, except its memory units, which are untrained.

    Takes what `load_checkpoint` takes, and this package's checkpoints with other memory units: fewer, more or larger.

    Raises:
        ModelError: the file cannot be read, or holds other tensors than those of the preset without memory.
    """
    tensors, made_for = _read(path)
    if made_for is None:
        tensors = _match(path, preset).tensors
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith(_MEMORY)}
    model = random_model(preset, seed)
    _check(path, preset, {name: t for name, t in model.state_dict().items() if not name.startswith(_MEMORY)}, kept)
    model.load_state_dict({name: tensor.float() for name, tensor in kept.items()}, strict=False)
    return model


def verify_checkpoint(path: Path, preset: Preset) -> CheckpointReport:
    """The content of `path`, read completely.

    Raises:
        ModelError: as `load_checkpoint`, or a weight is infinite or no number.
    """
    matched = _match(path, preset)
    damaged = [name for name, tensor in matched.tensors.items() if not tensor.isfinite().all()]
    if damaged:
        raise ModelError(
            f"checkpoint {path} is damaged: {len(damaged)} tensors hold values that are no finite numbers"
            f" ({_first_few(damaged)}); download it again"
        )
    return CheckpointReport(
        source=matched.source,
        has_memory=matched.preset.memory is not None,
        tensors=len(matched.tensors),
        parameters=sum(tensor.numel() for tensor in matched.tensors.values()),
    )


def save_checkpoint(model: Scal3R, path: Path) -> None:
    """Writes the weights as safetensors with the preset's name and fingerprint, and how well they carry the unit."""
    tensors = {name: tensor.detach().contiguous() for name, tensor in model.state_dict().items()}
    preset = model.preset
    metadata = {"format": _FORMAT, "preset": preset.fingerprint(), "preset_name": preset.name}
    if model.unit_sigma is not None:
        metadata["unit_sigma"] = f"{model.unit_sigma:.6g}"
    try:
        save_file(tensors, path, metadata)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"checkpoint {path} cannot be written: {error}") from error


def weights_fingerprint(model: Scal3R) -> str:
    """Sixteen hex digits of all weights in bfloat16: equal on every device and at every precision.

    A sum of the bits of each tensor, and a sample of its values in their places: a second or so for a thousand million
    weights. It distinguishes networks, but is no protection against forgery; differences below bfloat16 count as equal.
    """
    digest = hashlib.sha256(model.preset.fingerprint().encode())
    for name, tensor in model.state_dict().items():
        flat = tensor.detach().flatten()
        total = sum(
            int(part.bfloat16().view(torch.int16).sum(dtype=torch.int64)) for part in torch.split(flat, _SUMMED_AT_ONCE)
        )
        sample = flat[:: max(1, flat.numel() // _SAMPLED)].bfloat16().view(torch.int16).cpu()
        digest.update(f"{name} {tuple(tensor.shape)} {total}".encode())
        digest.update(sample.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


class _Matched(NamedTuple):
    """Tensors by our names that are exactly those of `preset`, which has no memory where the file has none."""

    source: CheckpointSource
    preset: Preset
    tensors: dict[str, Tensor]
    unit_sigma: float | None


class _MadeFor(NamedTuple):
    """The preset that one of this package's checkpoints was made for."""

    fingerprint: str
    name: str
    unit_sigma: float | None


def _match(path: Path, preset: Preset) -> _Matched:
    tensors, made_for = _read(path)
    source = CheckpointSource.OWN
    if made_for is not None and made_for.fingerprint != preset.fingerprint():
        if made_for.fingerprint != preset.without_memory().fingerprint():
            raise ModelError(
                f"checkpoint {path} was made for another preset ({made_for.name}) than {preset.name}: choose the preset"
                " it was made for"
            )
        preset = _memory_off(path, preset)
    if any(name.startswith("agg_regator.") for name in tensors):
        source = CheckpointSource.SCAL3R
        tensors = {from_scal3r(name, preset): tensor for name, tensor in tensors.items()}
    elif any(name.startswith("aggregator.patch_embed.") for name in tensors):
        source = CheckpointSource.VGGT
        tensors = {from_vggt(name): tensor for name, tensor in tensors.items() if not name.startswith(VGGT_IGNORED)}
        preset = _memory_off(path, preset)
    with torch.device("meta"):
        expected = Scal3R(preset).state_dict()
    _check(path, preset, expected, tensors)
    return _Matched(source, preset, tensors, None if made_for is None else made_for.unit_sigma)


def _memory_off(path: Path, preset: Preset) -> Preset:
    if preset.memory is not None:
        _log.warning("checkpoint %s has no memory units: the memory is off", path)
    return preset.without_memory()


def _read(path: Path) -> tuple[dict[str, Tensor], _MadeFor | None]:
    return _read_safetensors(path) if path.suffix == ".safetensors" else (_read_torch(path), None)


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], _MadeFor | None]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.offset_keys()}
    except (OSError, SafetensorError) as error:
        raise ModelError(f"checkpoint {path} cannot be read: {error}") from error
    if "preset" not in metadata:
        return tensors, None
    return tensors, _MadeFor(metadata["preset"], metadata.get("preset_name", "unnamed"), _sigma(path, metadata))


def _sigma(path: Path, metadata: Mapping[str, str]) -> float | None:
    if "unit_sigma" not in metadata:
        return None
    try:
        sigma = float(metadata["unit_sigma"])
    except ValueError:
        sigma = math.nan
    if not 0 < sigma < math.inf:
        raise ModelError(f"checkpoint {path} has a unit_sigma that is no positive number: {metadata['unit_sigma']!r}")
    return sigma


def _read_torch(path: Path) -> dict[str, Tensor]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ModelError(f"checkpoint {path} cannot be read as a file of tensors: {reason}") from error
    if not isinstance(content, dict) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise ModelError(f"checkpoint {path} is no flat dictionary of tensors: give it the released state_dict")
    return content


def _check(path: Path, preset: Preset, expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    missing = [name for name in expected if name not in found]
    left_over = [name for name in found if name not in expected]
    misshapen = [
        f"{name} {tuple(found[name].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in found and found[name].shape != tensor.shape
    ]
    complaints = [
        f"{len(names)} {what} ({_first_few(names)})"
        for what, names in (("missing", missing), ("left over", left_over), ("misshapen", misshapen))
        if names
    ]
    if complaints:
        raise ModelError(
            f"checkpoint {path} does not fit preset {preset.name}: of {len(expected)} tensors {', '.join(complaints)};"
            " choose the preset it was made for or download it again"
        )


def _first_few(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:_NAMES_TOLD]) + (", …" if len(names) > _NAMES_TOLD else "")
