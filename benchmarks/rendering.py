"""How fast clips to train on are made: CPU seconds per frame, world building included, by kind of clip.

    python benchmarks/rendering.py                      one process, some clips of every kind
    python benchmarks/rendering.py --processes 2        as a training run's workers do, kinds mixed

CPU time is what the processes used, so that other load on the machine counts little; the clock's time is shown too.
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from concurrent.futures import ProcessPoolExecutor

from scal3r_ros.simulation.worlds.clips import KINDS, SequenceSpec, render_sequence


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=6, help="clips of every kind, or of each process")
    parser.add_argument("--frames", type=int, default=24, help="frames a clip")
    parser.add_argument("--width", type=int, default=224)
    parser.add_argument("--height", type=int, default=112)
    parser.add_argument("--processes", type=int, default=1)
    arguments = parser.parse_args()
    size = (arguments.frames, arguments.width, arguments.height)
    _warm_up()
    print(f"{arguments.frames} frames of {arguments.width}×{arguments.height} a clip, world building included")
    print(f"load average {os.getloadavg()[0]:.1f}, {len(os.sched_getaffinity(0))} cores")
    if arguments.processes > 1:
        _mixed(arguments.processes, arguments.clips, size)
        return
    print(f"{'kind':18} {'CPU ms a frame':>15} {'frames/s a core':>16}")
    for kind in KINDS:
        seconds, _ = _render((1000, arguments.clips, kind, size))
        per_frame = seconds / (arguments.clips * arguments.frames)
        print(f"{kind:18} {1e3 * per_frame:15.1f} {1 / per_frame:16.1f}")


def _warm_up() -> None:
    """Compiles, or reads what was compiled."""
    for kind in KINDS:
        for seed in range(3):
            render_sequence(SequenceSpec(seed, 2, 32, 16, kind=kind))


def _mixed(processes: int, clips: int, size: tuple[int, int, int]) -> None:
    jobs = [(1000 + clips * worker, clips, None, size) for worker in range(processes)]
    with ProcessPoolExecutor(processes, initializer=_warm_up) as pool:
        list(pool.map(time.sleep, [3.0] * processes))  # until all have begun
        begin = time.perf_counter()
        done = list(pool.map(_render, jobs))
        clock = time.perf_counter() - begin
    frames = processes * clips * size[0]
    cpu = sum(seconds for seconds, _ in done)
    print(
        f"{processes} processes: {frames} frames, {1e3 * cpu / frames:.1f} CPU ms a frame ({frames / cpu:.1f} a core)"
    )
    print(f"by the clock: {frames / clock:.1f} frames/s; peak memory {max(peak for _, peak in done):.0f} MB a process")


def _render(job: tuple[int, int, str | None, tuple[int, int, int]]) -> tuple[float, float]:
    """CPU seconds for clips from a seed on, and the process's peak memory in MB."""
    first, clips, kind, (frames, width, height) = job
    begin = time.process_time()
    for seed in range(first, first + clips):
        render_sequence(SequenceSpec(seed, frames, width, height, kind=kind))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return time.process_time() - begin, peak


if __name__ == "__main__":
    main()
