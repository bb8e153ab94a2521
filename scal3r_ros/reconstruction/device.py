"""The torch device that a parameter `device` names."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch

from scal3r_ros.errors import ReconstructionError

_log = logging.getLogger(__name__)


def torch_device(name: str) -> torch.device:
    """The torch device of that name; `auto` is a GPU where there is one.

    Raises:
        ReconstructionError: no such device, or it cannot be used here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise ReconstructionError(f"device {name!r} cannot be used here: {reason}") from error
    return device


def named_devices(names: Sequence[str]) -> tuple[str, ...]:
    """The names that are not empty; `auto` stands for all GPUs of this machine, none where it has none."""
    found: list[str] = []
    for name in names:
        if name == "auto":
            gpus = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
            _log.info("network.devices auto: %s", ", ".join(map(_described, gpus)) or "no GPU, so one device")
            found += gpus
        elif name:
            found.append(name)
    return tuple(found)


def _described(gpu: str) -> str:
    properties = torch.cuda.get_device_properties(gpu)
    return f"one worker on {gpu} ({properties.name}, {properties.total_memory / 2**30:.0f} GiB)"


def computes_bfloat16_fast(device: torch.device) -> bool:
    """Whether `device` multiplies bfloat16 matrices in hardware."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    capabilities = torch.cpu.get_capabilities()
    return device.type == "cpu" and bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def upload(images: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A tensor of the CPU on `device`; to a GPU from pinned memory, so that the stream waits and not the thread."""
    return images.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else images.to(device)
