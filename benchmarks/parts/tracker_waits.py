"""What the camera waits for inside the mapper: a CPU, or other threads of its process. No middleware; Linux only.

    scal3r simulate --circuit block --rate 10 --width 480 --height 144 -o out/block.bag
    python benchmarks/parts/tracker_waits.py out/block.bag --frames 300

Images come at their rate while chunks and loops are in work on threads, as in the node, first with the reconstructor in
the same process, then in one of its own. The time of an image is that on a CPU, that of waiting for one, which is the
machine's load, and the rest, which is the process's own doing. So the last two columns say the same on a busy machine
as on a free one, up to what the holder of a lock waits itself.
"""

from __future__ import annotations

import argparse
import itertools
import os
import queue
import threading
import time
from contextlib import closing
from pathlib import Path

import numpy as np

from scal3r_ros.assembly import CoreConfig, build_mapper, core_config
from scal3r_ros.configuration import read_parameter_file, read_settings
from scal3r_ros.io.sources import SourceOptions, open_source
from scal3r_ros.mapping import OnlineMapper
from scal3r_ros.reconstruction.protocol import Chunk, Frame

QUANTILES = {"median": 0.5, "95 %": 0.95, "99 %": 0.99, "99.9 %": 0.999, "max": 1.0}
PARTS = ("on a CPU", "waits for a CPU", "blocked", "all but waiting for a CPU")


def main() -> None:
    """Drives the same images twice."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("--config", type=Path, default=Path("config/driving.yaml"))
    parser.add_argument("--set", action="append", default=[], help="a parameter, as name=value")
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--rate", type=float, default=10.0, help="images a second")
    arguments = parser.parse_args()
    config, _ = core_config({**read_parameter_file(arguments.config), **read_settings(arguments.set)})
    with closing(open_source(arguments.source, SourceOptions())) as source:
        frames = list(itertools.islice(source.frames(), arguments.frames))
    for separate in (False, True):
        times_ms, chunks = drive(config, separate, frames, arguments.rate)
        print(
            f"\n{'a process of its own' if separate else 'one process'}: {len(times_ms)} images while {chunks} chunks"
        )
        print(f"were mapped, load {os.getloadavg()[0]:.1f}; ms  " + "".join(f"{name:>9}" for name in QUANTILES))
        for part, column in zip(PARTS, times_ms.T, strict=True):
            row = np.quantile(column, list(QUANTILES.values()))
            print(f"{part:>30}" + "".join(f"{value:9.1f}" for value in row), flush=True)


def drive(config: CoreConfig, separate: bool, frames: list[Frame], rate_hz: float) -> tuple[np.ndarray, int]:
    """Times (n, 4) of the images after the first submap in ms, in the order of `PARTS`, and chunks mapped meanwhile."""
    with closing(build_mapper(config, "benchmark", separate)) as mapper:
        slow = SlowHalf(mapper)
        rows, before, started = [], 0, time.perf_counter()
        for number, frame in enumerate(frames):
            time.sleep(max(0.0, started + number / rate_hz - time.perf_counter()))
            wall, cpu, waited = time.perf_counter(), time.thread_time(), waited_for_a_cpu_s()
            observation = mapper.observe(frame, busy=slow.waiting > 1)
            wall, cpu = time.perf_counter() - wall, time.thread_time() - cpu
            waited = waited_for_a_cpu_s() - waited
            if slow.mapped:
                rows.append((cpu, waited, wall - cpu - waited, wall - waited))
            if observation.chunk is not None:
                slow.give(observation.chunk)
                if not rows:  # what comes before the first submap is another story
                    slow.catch_up()
                    before, started = slow.mapped, time.perf_counter() - (number + 1) / rate_hz
        mapped = slow.mapped - before
        slow.finish()
    return 1000.0 * np.array(rows).reshape(-1, len(PARTS)), mapped


class SlowHalf:
    """Maps chunks on one thread and closes loops on another."""

    def __init__(self, mapper: OnlineMapper) -> None:
        self._mapper = mapper
        self._chunks: queue.SimpleQueue[Chunk | None] = queue.SimpleQueue()
        self._submaps: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._given = 0
        self.mapped = 0
        self._threads = [threading.Thread(target=work) for work in (self._map, self._close_loops)]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """Chunks that wait or are in work."""
        return self._given - self.mapped

    def give(self, chunk: Chunk) -> None:
        """Has a chunk mapped."""
        self._given += 1
        self._chunks.put(chunk)

    def catch_up(self) -> None:
        """Waits for the chunks given."""
        while self.waiting:
            time.sleep(0.01)

    def finish(self) -> None:
        """Waits for everything."""
        self._chunks.put(None)
        for thread in self._threads:
            thread.join()

    def _map(self) -> None:
        while (chunk := self._chunks.get()) is not None:
            self._mapper.map_chunk(chunk)
            self.mapped += 1
            self._submaps.put(True)
        self._submaps.put(False)

    def _close_loops(self) -> None:
        while self._submaps.get():
            while self._mapper.loops_waiting:
                self._mapper.close_loops()


def waited_for_a_cpu_s() -> float:
    """How long this thread was ready to run and did not, since it began."""
    return int(Path(f"/proc/self/task/{threading.get_native_id()}/schedstat").read_text().split()[1]) * 1e-9


if __name__ == "__main__":
    main()
