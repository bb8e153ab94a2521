"""What streaming costs, against doing without it: seconds a frame and peak memory, by chunk and over a long drive.

    python -m benchmarks.streaming                 about half an hour on a laptop's CPU
    python -m benchmarks.streaming --quick         a minute, on a small network: shows that it runs, not what it costs
    python -m benchmarks.streaming --full          also one chunk of the full network, untrained: needs 6 GB
    python -m benchmarks.streaming --out out/streaming

Every variant runs in a process of its own; what they are is described in variants.py. Weights are random, which
changes no time. Prints tables and writes streaming.json. On a busy machine use --cpu-time.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.streaming.variants import ECONOMIES, Job
from scal3r_ros.reconstruction.device import computes_bfloat16_fast, torch_device

FULL = Job("once", preset="full", precision="bf16", chunks=1, size=4, overlap=0, image_width=1241, image_height=376)


@dataclass(frozen=True)
class Measured:
    """`seconds` per chunk (of `naive`: per time that it had to run), and the process's peak in MB."""

    job: Job
    seconds: tuple[float, ...]
    peak_mb: float

    @property
    def new_frames(self) -> int:
        """Frames of a chunk that the chunk before did not have."""
        return self.job.size - self.job.overlap

    @property
    def per_frame(self) -> float:
        """Seconds for each new frame, without the first chunk, which has more of them and warms everything up."""
        return float(np.median(self.seconds[1:] or self.seconds)) / self.new_frames


def main() -> None:
    """Runs all variants and prints the tables."""
    arguments = _arguments()
    arguments.out.mkdir(parents=True, exist_ok=True)
    common = {"device": arguments.device, "cpu_time": arguments.cpu_time}
    job = Job("ours", preset=arguments.preset, chunks=arguments.chunks, **common)
    measured = _chunks(job, arguments.out)
    measured += _economies(job, measured[1])
    measured += _drive(job, arguments.long_preset, arguments.long, arguments.naive)
    if arguments.full:
        measured.append(_one_full_chunk(dataclasses.replace(FULL, **common)))
    (arguments.out / "streaming.json").write_text(
        json.dumps([dataclasses.asdict(one) for one in measured], indent=1), encoding="utf-8"
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="medium", help="network of the comparison by chunk")
    parser.add_argument("--chunks", type=int, default=4, help="chunks of the comparison by chunk")
    parser.add_argument("--long-preset", default="small", help="network of the long drive")
    parser.add_argument("--long", type=int, default=100, help="chunks of the long drive")
    parser.add_argument("--naive", type=int, default=8, help="chunks up to which everything is recomputed")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--full", action="store_true", help="also one chunk of the full network")
    parser.add_argument("--quick", action="store_true", help="the smallest of everything")
    parser.add_argument("--cpu-time", action="store_true", help="count the process's CPU seconds, not the clock's")
    parser.add_argument("--out", type=Path, default=Path("out/streaming"))
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.preset = arguments.long_preset = "nano"
        arguments.long, arguments.chunks, arguments.naive = 12, 3, 4
    return arguments


def _chunks(job: Job, out: Path) -> list[Measured]:
    """The economies within a chunk: same memory, same answers."""
    measured = [
        _measure(dataclasses.replace(job, variant="plain"), out / "plain.npz"),
        _measure(job, out / "ours.npz"),
    ]
    if computes_bfloat16_fast(torch_device(job.device)):
        measured.append(_measure(dataclasses.replace(job, precision="bf16"), out / "bf16.npz"))
    frozen = [
        _measure(dataclasses.replace(job, variant=variant, memory="frozen", chunks=2), out / f"{variant}_frozen.npz")
        for variant in ("plain", "ours")
    ]
    print(f"\none chunk of the preset {job.preset}: {job.size} images, {job.overlap} of them known\n")
    print(f"| {'':12} | s/new image | times as fast | peak MB | differs by |\n|---|---|---|---|---|")
    for one in measured:
        name = f"{one.job.variant} {one.job.precision}"
        change = _difference(out / "plain.npz", _outputs(one.job, out))
        ratio = measured[0].per_frame / one.per_frame
        print(f"| {name:12} | {one.per_frame:11.3f} | {ratio:13.2f} | {one.peak_mb:7.0f} | {change:10.1e} |")
    without = _difference(*(out / f"{one.job.variant}_frozen.npz" for one in frozen))
    print(f"\nwithout the memory, whose bfloat16 steps enlarge rounding, ours differs from plain by {without:.1e}")
    return [*measured, *frozen]


def _economies(job: Job, ours: Measured) -> list[Measured]:
    """What each economy is worth: ours in float32 without it, against ours."""
    print("\nwhat each economy is worth: ours without it, over ours\n")
    print(f"| {'':45} | time | peak memory |\n|---|---|---|")
    measured = []
    for name, meaning in ECONOMIES.items():
        one = _measure(dataclasses.replace(job, without=(name,)))
        print(f"| {meaning:45} | {one.per_frame / ours.per_frame:.2f} | {one.peak_mb / ours.peak_mb:.2f} |")
        measured.append(one)
    return measured


def _drive(job: Job, preset: str, chunks: int, naive_chunks: int) -> list[Measured]:
    """Over a long drive ours has to stay flat; recomputing everything does not."""
    ours = _measure(dataclasses.replace(job, preset=preset, chunks=chunks))
    naive = _measure(dataclasses.replace(job, variant="naive", preset=preset, chunks=naive_chunks))
    print(f"\na drive of {chunks} chunks, preset {preset}: seconds for the newest chunk\n")
    print(f"| {'chunks':>6} | {'ours':>8} | {'naive':>8} | times as fast |\n|---|---|---|---|")
    for power, seconds in enumerate(naive.seconds):
        mine = ours.seconds[2**power - 1]
        print(f"| {2**power:6} | {mine:8.3f} | {seconds:8.3f} | {seconds / mine:13.1f} |")
    print(f"| {chunks:6} | {ours.seconds[-1]:8.3f} | {'':8} | {'':13} |")
    third = max(1, chunks // 3)
    early, late = np.median(ours.seconds[1 : 1 + third]), np.median(ours.seconds[-third:])
    print(f"\nours, last third of the drive over the first: {late / early:.3f}")
    print(f"peak memory: ours {ours.peak_mb:.0f} MB in {chunks} chunks, naive {naive.peak_mb:.0f} MB in {naive_chunks}")
    return [ours, naive]


def _one_full_chunk(job: Job) -> Measured:
    one = _measure(job)
    print(f"\nfull network, untrained, bf16, 4 images at 518 × 154: {one.seconds[0]:.1f} s, {one.peak_mb:.0f} MB")
    return one


def _measure(job: Job, outputs: Path | None = None) -> Measured:
    """Runs a job in a process of its own."""
    content: dict[str, Any] = dataclasses.asdict(job) | {"outputs": "" if outputs is None else str(outputs.absolute())}
    worker = [sys.executable, "-m", "benchmarks.streaming.variants", json.dumps(content)]
    print(f"{job.variant}, {job.preset}, {job.precision}, {job.chunks} chunks …", file=sys.stderr, flush=True)
    root = Path(__file__).parents[2]  # where the worker finds its module
    done = subprocess.run(worker, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"the variant {job.variant} failed:\n{done.stderr}")
    result = json.loads(done.stdout)
    return Measured(job, tuple(result["seconds"]), result["peak_mb"])


def _outputs(job: Job, out: Path) -> Path:
    return out / ("bf16.npz" if job.precision == "bf16" else f"{job.variant}.npz")


def _difference(reference: Path, other: Path) -> float:
    """The largest relative difference in the norm of cameras, depth and confidence of the last chunk."""
    with np.load(reference) as a, np.load(other) as b:
        return max(float(np.linalg.norm(a[key] - b[key]) / np.linalg.norm(a[key])) for key in a)


if __name__ == "__main__":
    main()
