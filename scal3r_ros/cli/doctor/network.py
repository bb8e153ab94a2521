"""Checks of the network on this machine: precision, speed, and a short drive."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import torch
import yaml

from scal3r_ros.cli.doctor.report import Finding, Status, left_out
from scal3r_ros.model import PRESETS, Scal3R
from scal3r_ros.reconstruction.network.config import NetworkConfig
from scal3r_ros.reconstruction.network.reconstructor import NetworkReconstructor
from scal3r_ros.reconstruction.protocol import Chunk, ChunkGeometry, Frame

TOLERANCES = {"fp32": 1e-3, "tf32": 1e-2, "bf16": 5e-2}
"""Largest accepted ‖depth − reference‖ / ‖reference‖, the reference in fp32 on the CPU."""
_PRESET = "nano"
_FRAMES = 4
_LONGEST_SPEED_S = 30.0
_DRIVE_S = 70.0


def parity(seconds: float) -> Finding:
    """Depth of two chunks in each precision against fp32 on the CPU, with a memory that learns."""
    config = NetworkConfig(preset=_PRESET, device="cpu", precision="fp32", onednn=False)
    reference = _depths(config)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    errors: dict[str, float] = {}
    for kind in ("fp32", "tf32", "bf16") if device == "cuda" else ("fp32", "bf16"):
        torch.set_float32_matmul_precision("high" if kind == "tf32" else "highest")
        try:
            depths = _depths(
                replace(config, device=device, precision="bf16" if kind == "bf16" else "fp32", onednn=True)
            )
        finally:
            torch.set_float32_matmul_precision("highest")
        errors[kind] = float(np.linalg.norm(depths - reference) / np.linalg.norm(reference))
    worst = [kind for kind, error in errors.items() if not error <= TOLERANCES[kind]]
    listed = ", ".join(f"{kind} {error:.1e} (at most {TOLERANCES[kind]:g})" for kind, error in errors.items())
    where = f"{device} against fp32 on the CPU" if device == "cuda" else "CPU only: no GPU to compare"
    status = Status.FAILED if worst else Status.OK
    return Finding(status, f"{where}: {listed}", {"relative_error": errors, "tolerance": TOLERANCES, "device": device})


def speed(seconds: float) -> Finding:
    """Frames a second and peak memory of each preset, untrained, at its own image width; the smallest first."""
    gpu = torch.cuda.is_available()
    until_s = time.monotonic() + min(seconds, _LONGEST_SPEED_S)
    found: dict[str, dict[str, float]] = {}
    skipped: list[str] = []
    one_more_s = 0.0
    for name in sorted(PRESETS, key=lambda preset: _parameters(preset)):
        # The next preset takes several times as long as this one.
        if time.monotonic() + (0.0 if gpu else 6 * one_more_s) > until_s or not _fits_ram(name):
            skipped.append(name)
            continue
        begin = time.monotonic()
        found[name] = _speed_of(name, gpu)
        one_more_s = time.monotonic() - begin
    listed = ", ".join(f"{name} {row['frames_per_s']:.2g}" for name, row in found.items())
    without = f"; left out for time or RAM: {', '.join(skipped)}" if skipped else ""
    sentence = f"frames a second on {'cuda' if gpu else 'the CPU'}: {listed}{without}"
    return Finding(Status.OK if found else Status.LEFT_OUT, sentence, {"presets": found, "left_out": skipped})


def real_time_factor(seconds: float) -> Finding:
    """A simulated drive through the mapper with the bundled weights; benchmarks/live_latency.py is about the node."""
    with tempfile.TemporaryDirectory(prefix="scal3r_doctor_") as folder:
        bag, out = Path(folder) / "street.bag", Path(folder) / "out"
        made = ["simulate", "-o", str(bag), "--length", "12", "--width", "240", "--height", "96"]
        until_s = time.monotonic() + min(seconds, _DRIVE_S)
        for arguments in (made, ["replay", str(bag), "-o", str(out), "--reconstructor", "tiny"]):
            left_s = until_s - time.monotonic()
            command = [sys.executable, "-m", "scal3r_ros.cli.main", *arguments]
            try:
                done = subprocess.run(command, capture_output=True, text=True, timeout=max(0.1, left_s), check=False)
            except subprocess.TimeoutExpired:
                return left_out(f"`scal3r {arguments[0]}` of 12 m did not end in the time that was left")
            if done.returncode:
                lines = (done.stderr or done.stdout).strip().splitlines()
                return Finding(Status.FAILED, f"`scal3r {arguments[0]}` failed: {lines[-1] if lines else 'no message'}")
        run = yaml.safe_load((out / "run.yaml").read_text(encoding="utf-8"))
    factor = float(run["real_time_factor"])
    sentence = f"preset tiny on a simulated drive at 240 × 96: {factor:.2f} × real time; the live node was not started"
    return Finding(Status.OK, sentence, {"real_time_factor": factor, "images_per_second": run["images_per_second"]})


def _depths(config: NetworkConfig) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    network = NetworkReconstructor(replace(config, allow_random_weights=True))
    geometries: list[ChunkGeometry] = [network.reconstruct(_chunk(index, 64, 128), None) for index in range(2)]
    return np.concatenate([geometry.depth.ravel() for geometry in geometries])


def _speed_of(preset: str, gpu: bool) -> dict[str, float]:
    config = NetworkConfig(preset=preset, allow_random_weights=True, device="cuda" if gpu else "cpu")
    network = NetworkReconstructor(config)
    width = PRESETS[preset].image_width
    height = max(PRESETS[preset].patch, round(width * 3 / 8))
    if gpu:
        torch.cuda.reset_peak_memory_stats()
    runs = 3 if gpu else 1
    network.reconstruct(_chunk(0, height, width), None)
    begin = time.perf_counter()
    for index in range(runs):
        network.reconstruct(_chunk(index + 1, height, width), None)
    took_s = time.perf_counter() - begin
    peak = torch.cuda.max_memory_allocated() if gpu else psutil.Process().memory_info().rss
    return {"frames_per_s": runs * _FRAMES / took_s, "memory_gib": peak / 2**30, "width": width, "height": height}


def _chunk(index: int, height: int, width: int) -> Chunk:
    rng = np.random.default_rng(index)
    images = rng.integers(0, 255, (_FRAMES, height, width, 3), dtype=np.uint8)
    return Chunk(index, tuple(Frame(_FRAMES * index + i, i + 1, image, None) for i, image in enumerate(images)), 0)


def _parameters(preset: str) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in Scal3R(PRESETS[preset]).parameters())


def _fits_ram(preset: str) -> bool:
    return 3 * 4 * _parameters(preset) < psutil.virtual_memory().available
