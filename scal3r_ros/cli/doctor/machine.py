"""Checks of the machine: processor, torch, drivers, and each GPU by itself."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import time

import psutil
import torch
import torch.distributed as dist

from scal3r_ros.cli.doctor.report import Finding, Status, left_out

NO_GPU = "torch finds no GPU here"
_SIZE = 8192
_REPEATS = 20


def describe(seconds: float) -> Finding:
    """Processor, RAM, and what torch was built for."""
    capabilities = [name for name, has in torch.cpu.get_capabilities().items() if has is True]
    numbers = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda_build": torch.version.cuda,
        "nccl": dist.is_nccl_available(),
        "gloo": dist.is_gloo_available(),
        "cores": os.cpu_count(),
        "ram_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "architecture": platform.machine(),
        "cpu": capabilities,
    }
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPUs only"
    sentence = f"{os.cpu_count()} cores, {numbers['ram_gib']} GiB, torch {torch.__version__} built for {build}"
    return Finding(Status.OK, sentence, numbers)


def gpus(seconds: float) -> Finding:
    """Drivers and GPUs, by torch and by nvidia-smi."""
    driver = _nvidia_smi()
    if not torch.cuda.is_available():
        if driver:
            return Finding(Status.FAILED, f"nvidia-smi lists {driver}, but {NO_GPU}: install a torch built for CUDA")
        return left_out(f"{NO_GPU}, and there is no nvidia-smi")
    found = {}
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        capability = f"{properties.major}.{properties.minor}"
        found[f"cuda:{index}"] = {
            "name": properties.name, "memory_gib": round(properties.total_memory / 2**30, 1), "capability": capability
        }  # fmt: skip
    sentence = ", ".join(f"{name}: {gpu['name']} ({gpu['memory_gib']} GiB)" for name, gpu in found.items())
    return Finding(Status.OK, sentence, {"gpus": found, "nvidia_smi": driver})


def each_gpu(seconds: float) -> Finding:
    """TFLOP/s of a large product of matrices on each GPU, in fp32, tf32 and bf16."""
    if not torch.cuda.is_available():
        return left_out(NO_GPU)
    speeds: dict[str, dict[str, float]] = {}
    for index in range(torch.cuda.device_count()):
        device = torch.device("cuda", index)
        speeds[str(device)] = {
            "fp32": _matmul_tflops(device, torch.float32, "highest"),
            "tf32": _matmul_tflops(device, torch.float32, "high"),
            "bf16": _matmul_tflops(device, torch.bfloat16, "highest"),
        }
    sentence = "; ".join(
        f"{name}: " + ", ".join(f"{kind} {tflops:.0f} TFLOP/s" for kind, tflops in by_kind.items())
        for name, by_kind in speeds.items()
    )
    return Finding(Status.OK, sentence, {"tflops": speeds})


def _matmul_tflops(device: torch.device, dtype: torch.dtype, precision: str) -> float:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        a, b = (torch.randn(_SIZE, _SIZE, device=device, dtype=dtype) for _ in "ab")
        a @ b
        torch.cuda.synchronize(device)
        begin = time.perf_counter()
        for _ in range(_REPEATS):
            a @ b
        torch.cuda.synchronize(device)
        return 2 * _SIZE**3 * _REPEATS / (time.perf_counter() - begin) / 1e12
    finally:
        torch.set_float32_matmul_precision(before)


def _nvidia_smi() -> str:
    """Names and drivers by nvidia-smi, empty without."""
    if shutil.which("nvidia-smi") is None:
        return ""
    command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
