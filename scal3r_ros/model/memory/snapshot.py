"""What a memory has learnt, on disk: safetensors with `layer.w0`, `layer.w1`, `layer.w2` per memory unit.

The metadata names the preset (fingerprint), the rule, the chunks seen, and the starts of nodes that have learned it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from scal3r_ros.errors import ModelError
from scal3r_ros.model.memory.unit import FastWeights

_FORMAT = "scal3r_ros memory 1"


@dataclass(frozen=True)
class Snapshot:
    """`layers`: accumulated gradient (running) or weights (sequential); `preset` its fingerprint; `chunks` seen.

    `sessions` are the starts of a node that has shared it with others, so that nothing is counted twice there.
    """

    preset: str
    rule: str
    chunks: int
    layers: Mapping[int, FastWeights]
    sessions: tuple[str, ...] = ()


def write_snapshot(path: Path, snapshot: Snapshot) -> None:
    """Writes atomically: a crash leaves the old snapshot intact."""
    tensors = {
        f"{layer}.{name}": tensor.detach().contiguous()
        for layer, weights in snapshot.layers.items()
        for name, tensor in weights._asdict().items()
    }
    metadata = {
        "format": _FORMAT,
        "preset": snapshot.preset,
        "rule": snapshot.rule,
        "chunks": str(snapshot.chunks),
    }
    if snapshot.sessions:
        metadata["sessions"] = " ".join(snapshot.sessions)
    partial = path.with_name(path.name + ".partial")
    try:
        save_file(tensors, partial, metadata)
        partial.replace(path)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"memory snapshot {path} cannot be written: {error}") from error


def read_snapshot(path: Path, device: torch.device | str = "cpu") -> Snapshot:
    """The snapshot in `path`, its tensors on `device`; `ModelError` where there is none or it is of another kind."""
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.offset_keys()}
    except (OSError, SafetensorError) as error:
        raise ModelError(f"memory snapshot {path} cannot be read: {error}") from error
    if metadata.get("format") != _FORMAT:
        raise ModelError(f"{path} is no memory snapshot: its metadata lacks the format {_FORMAT!r}")
    layers = {
        layer: FastWeights(*(tensors[f"{layer}.{name}"] for name in FastWeights._fields))
        for layer in sorted({int(name.split(".")[0]) for name in tensors})
    }
    return Snapshot(
        metadata["preset"],
        metadata["rule"],
        int(metadata["chunks"]),
        layers,
        tuple(metadata.get("sessions", "").split()),
    )
