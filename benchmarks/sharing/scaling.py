"""What a chunk costs on n devices and n robots, on paper, and the paper against a simulated wire.

    python benchmarks/sharing/scaling.py                      the tables of docs/scaling.md
    python benchmarks/sharing/scaling.py --tflops 400 --wire-gb-s 200 --preset full

The paper counts operations by running the network on tensors without data, and takes the time of a device and of a wire
from the arguments. The simulation gives n threads the measured time of a small network's chunk and a wire within this
process that lets so many bytes through a second (`sync/transport/memory.py`), and measures how long a step takes in
which all sum their gradients in a ring, and how long a round between robots takes.
"""

from __future__ import annotations

import argparse
import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from scal3r_ros.model import FastWeights, MemoryRule, MemoryState, Preset, Scal3R, preset_named, random_model
from scal3r_ros.reconstruction.network.plan import run_chunk
from scal3r_ros.sync.exchange.layout import GradientLayout
from scal3r_ros.sync.exchange.receiver import GradientReceiver
from scal3r_ros.sync.exchange.sender import GradientSender
from scal3r_ros.sync.exchange.shares import Share, ShareId
from scal3r_ros.sync.transport.memory import memory_pair

SIMULATED = "small"
SIZE = (128, 64)


@dataclass(frozen=True)
class Cost:
    """Of one chunk: floating-point operations, and bytes of one sum of gradients over all memory units (float32)."""

    operations: float
    gradient: int

    def step_s(self, devices: int, tflops: float, wire_gb_s: float) -> float:
        """A step in which each device has one chunk, summed in a ring: each sends 2 (n - 1) / n of the gradient."""
        return self.operations / (tflops * 1e12) + self.sum_s(devices, wire_gb_s)

    def sum_s(self, devices: int, wire_gb_s: float) -> float:
        """The sums of a step alone."""
        return 2 * (devices - 1) / devices * self.gradient / (wire_gb_s * 1e9)


def cost_of(preset: Preset, frames: int, width: int, height: int) -> Cost:
    """Counted on tensors without data; a multiplication with an addition is two operations."""
    counter = FlopCounterMode(display=False)
    with torch.inference_mode(), torch.device("meta"):
        model, memory = Scal3R(preset).eval(), MemoryState(preset, MemoryRule.RUNNING)
        run_chunk(model, memory, frames, width, height, 4)
        with counter:
            run_chunk(model, memory, frames, width, height, 4)
    gradient = sum(w.nbytes for G in memory.accumulated_gradient().values() for w in G)
    return Cost(counter.get_total_flops(), gradient)


def simulated_step_s(devices: int, chunk_s: float, gradient: int, bytes_per_s: float) -> float:
    """A step of `devices` threads that work for `chunk_s` and sum `gradient` bytes in a ring over simulated wires."""
    wires = [memory_pair(bytes_per_s=bytes_per_s) for _ in range(devices)]
    part = torch.zeros(max(1, gradient // 4 // devices))
    together = threading.Barrier(devices + 1)

    def device(rank: int) -> None:
        to_next, from_previous = wires[rank][0], wires[rank - 1][1]
        received = torch.empty_like(part)
        together.wait()
        time.sleep(chunk_s)
        for _ in range(2 * (devices - 1)):
            to_next.send(part, 600.0)
            from_previous.receive(received, 600.0)
        together.wait()

    threads = [threading.Thread(target=device, args=(rank,)) for rank in range(devices)]
    for thread in threads:
        thread.start()
    together.wait()
    begin = time.perf_counter()
    together.wait()
    took = time.perf_counter() - begin
    for thread in threads:
        thread.join()
    return took


def simulated_round_s(robots: int, layout: GradientLayout, bytes_per_s: float) -> float:
    """How long one robot takes to send its first round to all others, over one radio that all its links share."""
    shapes = layout.shapes
    G = {layer: FastWeights(*(torch.ones(shape) for shape in shapes[layer])) for layer in shapes}
    share = {ShareId("a", "1"): Share(1, G)}
    ends = [memory_pair(bytes_per_s=bytes_per_s / (robots - 1)) for _ in range(robots - 1)]
    threads = [_thread(lambda here=here: GradientSender(layout).send(here, share, 600.0)) for here, _ in ends]
    threads += [_thread(lambda there=there: GradientReceiver(layout).receive(there, 600.0, 600.0)) for _, there in ends]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - begin


def _thread(work: Callable[[], object]) -> threading.Thread:
    return threading.Thread(target=work)


def measured_chunk_s(preset: Preset, frames: int) -> float:
    """The shortest of three chunks of random images on one thread of this CPU."""
    torch.set_num_threads(1)
    model, memory = random_model(preset, 0), MemoryState(preset, MemoryRule.RUNNING)
    took = []
    with torch.inference_mode():
        for _ in range(4):
            begin = time.perf_counter()
            run_chunk(model, memory, frames, *SIZE, 4)
            took.append(time.perf_counter() - begin)
    return min(took[1:])


def main() -> None:
    """Prints all tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="full", help="shape of the network on paper")
    parser.add_argument("--size", type=int, nargs=2, default=(518, 280), help="width and height that it sees")
    parser.add_argument("--tflops", type=float, default=200.0, help="what a device reaches, in bfloat16")
    parser.add_argument("--wire-gb-s", type=float, default=20.0, help="what the wire between devices lets through")
    given = parser.parse_args()

    width, height = given.size
    preset = preset_named(given.preset)
    print(f"preset {preset.name}, {width} × {height}, {given.tflops:g} TFLOP/s, {given.wire_gb_s:g} GB/s\n")
    print("| frames | TFLOP | a frame | ms on one device | sums with 2, ms | with 4 | with 8 |")
    print("|---|---|---|---|---|---|---|")
    for frames in (8, 16, 32, 64):
        cost = cost_of(preset, frames, width, height)
        tera = cost.operations / 1e12
        sums = [f"{cost.sum_s(n, given.wire_gb_s) * 1e3:.1f}" for n in (2, 4, 8)]
        _row(frames, f"{tera:.1f}", f"{tera / frames:.2f}", f"{tera / given.tflops * 1e3:.0f}", *sums)

    small = preset_named(SIMULATED)
    chunk_s, cost = measured_chunk_s(small, 4), cost_of(small, 4, *SIZE)
    giga = cost.operations / 1e9
    print(
        f"\npreset {small.name}, 4 frames of {SIZE[0]} × {SIZE[1]}: {giga:.1f} GFLOP, {chunk_s * 1e3:.0f} ms"
        f" on one thread ({giga / chunk_s:.0f} GFLOP/s); a gradient of {cost.gradient / 1e6:.2f} MB\n"
    )
    print("| devices | wire | step on paper, ms | simulated | part of it that is sums |")
    print("|---|---|---|---|---|")
    for devices in (2, 4, 8):
        for mega in (1000, 10, 2):
            sums_s = cost.sum_s(devices, mega / 1e3)
            paper_s = chunk_s + sums_s
            found_s = simulated_step_s(devices, chunk_s, cost.gradient, mega * 1e6)
            _row(devices, f"{mega} MB/s", f"{paper_s * 1e3:.0f}", f"{found_s * 1e3:.0f}", f"{sums_s / paper_s:.0%}")

    layout = GradientLayout.of(random_model(small, 0))
    numbers = sum(layout.size(layer) for layer in layout.shapes)
    print(f"\nfirst round of a robot with preset {small.name} ({2 * numbers / 1e6:.2f} MB to each other robot)\n")
    print("| robots | radio | on paper, s | simulated |")
    print("|---|---|---|---|")
    for robots in (2, 4, 8):
        for mega in (20, 4):
            paper = 2 * numbers * (robots - 1) / (mega * 1e6)
            found = simulated_round_s(robots, layout, mega * 1e6)
            _row(robots, f"{mega} MB/s", f"{paper:.2f}", f"{found:.2f}")


def _row(*cells: object) -> None:
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
