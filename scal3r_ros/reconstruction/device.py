"""The torch device that a parameter `device` names."""

from __future__ import annotations

import torch

from scal3r_ros.errors import ReconstructionError


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


def computes_bfloat16_fast(device: torch.device) -> bool:
    """Whether `device` multiplies bfloat16 matrices in hardware."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    capabilities = torch.cpu.get_capabilities()
    return device.type == "cpu" and bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
