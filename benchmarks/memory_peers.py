"""What sharing a memory costs: the time that a box takes for a chunk, whatever becomes of its peer.

    python benchmarks/memory_peers.py                      two boxes of two ranks
    python benchmarks/memory_peers.py --ranks 1            two nodes with one device each
    python benchmarks/memory_peers.py --preset medium --pairs 60
    python benchmarks/memory_peers.py --out out/memory_peers

Box A maps chunk after chunk of random images on random weights, step by step in turn with an equal box that shares
nothing. A's peer B maps a chunk a rank every two seconds; it is stopped by SIGSTOP with its workers, goes on, is
killed, started again. Each step of A is compared with the step of the other box beside it, so that the load of the
machine, which is the same for both, does not count. B, which would have a machine of its own, runs at low priority.
Prints a table and writes memory_peers.json.

A step takes as many chunks as a box has ranks. Its wait is all the time that it spends to take the peers' sums and to
give what it has learned to be sent (`peer_wait_s` of the diagnostics), on the clock.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from scal3r_ros.assembly import build_reconstructor, core_config
from scal3r_ros.reconstruction.process.child import SWITCH_INTERVAL_S
from scal3r_ros.reconstruction.protocol import Chunk, Frame

FRAMES = 3
IMAGE = (64, 128)
PERIOD_S, DEADLINE_S = 1.0, 3.0
REST_OF_B_S = 2.0
NICENESS_OF_B = 10
DRAWS = 2000


class Box:
    """The reconstructor of one box, in this process and its workers; without a rendezvous it shares nothing."""

    def __init__(self, name: str, rendezvous: str | None, preset: str, ranks: int) -> None:
        torch.set_num_threads(1)
        values: dict[str, Any] = {
            "reconstructor": "scal3r",
            "network.preset": preset,
            "network.allow_random_weights": True,
            "network.precision": "fp32",
            "network.device": "cpu",
            "network.devices": ["cpu"] * ranks,
            "network.image_width": IMAGE[1],
        }
        if rendezvous is not None:
            values |= {
                "memory_peers.rendezvous": rendezvous,
                "memory_peers.name": name,
                "memory_peers.period_s": PERIOD_S,
                "memory_peers.deadline_s": DEADLINE_S,
            }
        self._ranks = ranks
        self._reconstructor = build_reconstructor(core_config(values)[0])
        self._chunks = 0

    def step(self) -> tuple[float, float]:
        """Seconds of a step of one chunk a rank, and how long it waited for its peers."""
        chunks = [_chunk(self._chunks + number) for number in range(self._ranks)]
        self._chunks += self._ranks
        before = self.metrics().get("peer_wait_s", 0.0)
        begin = time.perf_counter()
        for number, chunk in enumerate(chunks):
            self._reconstructor.reconstruct(chunk, None, chunks[number + 1 :])
        took = time.perf_counter() - begin
        return took, self.metrics().get("peer_wait_s", 0.0) - before

    def metrics(self) -> dict[str, float]:
        return dict(self._reconstructor.metrics())

    def close(self) -> None:
        self._reconstructor.close()


class Peer:
    """A box in a process of its own, which maps until it is ended."""

    def __init__(self, name: str, rendezvous: str, preset: str, ranks: int) -> None:
        self._arguments = (name, rendezvous, preset, ranks)
        self.start()

    def start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._ours, theirs = context.Pipe()
        self._process = context.Process(target=_map_on, args=(*self._arguments, theirs))
        self._process.start()
        theirs.close()
        self._ours.recv()

    def stop(self) -> None:
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)

    def end(self) -> None:
        self._signal(signal.SIGKILL)
        self._process.join()

    def _signal(self, number: signal.Signals) -> None:
        assert self._process.pid is not None
        workers = psutil.Process(self._process.pid).children(recursive=True)
        for pid in (self._process.pid, *(worker.pid for worker in workers)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


def _map_on(name: str, rendezvous: str, preset: str, ranks: int, ready: Connection) -> None:
    os.nice(NICENESS_OF_B)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    box = Box(name, rendezvous, preset, ranks)
    ready.send("ready")
    while True:
        box.step()
        if ready.poll(REST_OF_B_S):  # the other end is gone
            os._exit(0)


def _chunk(index: int) -> Chunk:
    rng = np.random.default_rng(index)
    images = rng.integers(0, 255, (FRAMES, *IMAGE, 3), dtype=np.uint8)
    return Chunk(index, tuple(Frame(FRAMES * index + i, i + 1, image, None) for i, image in enumerate(images)), 0)


def _phase(name: str, a: Box, alone: Box, pairs: int) -> dict[str, Any]:
    """Steps of both boxes, the one that begins changing from pair to pair; the peers do what they do meanwhile."""
    took: dict[Box, list[float]] = {a: [], alone: []}
    waits = []
    for number in range(pairs):
        for box in (a, alone) if number % 2 else (alone, a):
            seconds, waited = box.step()
            took[box].append(seconds)
            waits += [waited] if box is a else []
    ratios = [one / other for one, other in zip(took[a], took[alone], strict=True)]
    low, high = _interval(ratios)
    return {
        "peer": name,
        "steps": len(took[a]),
        "alone_ms": round(float(np.median(took[alone])) * 1e3, 1),
        "sharing_ms": round(float(np.median(took[a])) * 1e3, 1),
        "change": round(float(np.median(ratios)) - 1, 4),
        "change_95": [round(low - 1, 4), round(high - 1, 4)],
        "wait_median_ms": round(float(np.median(waits)) * 1e3, 3),
        "wait_longest_ms": round(max(waits) * 1e3, 3),
        "peers_at_end": int(a.metrics()["peers"]),
    }


def _interval(ratios: list[float]) -> tuple[float, float]:
    """The 95 % interval of their median over draws of as many."""
    drawn = np.random.default_rng(0).choice(ratios, (DRAWS, len(ratios)))
    low, high = np.percentile(np.median(drawn, axis=1), [2.5, 97.5])
    return float(low), float(high)


def _print(rows: list[dict[str, Any]]) -> None:
    print("| B | steps of A | step alone, ms | sharing, ms | change, 95 % | wait for peers, median ms | longest ms |")
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        low, high = row["change_95"]
        change = f"{row['change']:+.1%} ({low:+.1%} … {high:+.1%})"
        print(
            f"| {row['peer']} | {row['steps']} | {row['alone_ms']} | {row['sharing_ms']} | {change} |"
            f" {row['wait_median_ms']} | {row['wait_longest_ms']} |"
        )


def _wait(condition: Callable[[], bool], complaint: str) -> None:
    end = time.monotonic() + 60.0
    while not condition():
        if time.monotonic() > end:
            raise SystemExit(complaint)
        time.sleep(0.1)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="small", help="shape of the network")
    parser.add_argument("--ranks", type=int, default=2, help="devices of each box")
    parser.add_argument("--pairs", type=int, default=80, help="steps of either box in each phase")
    parser.add_argument("--out", type=Path, default=Path("out/memory_peers"), help="folder for memory_peers.json")
    return parser.parse_args()


def main() -> None:
    """Runs all phases and prints the table."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)  # as in the processes that the node starts
    arguments = _arguments()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        rendezvous = f"127.0.0.1:{probe.getsockname()[1]}"
    preset, ranks = arguments.preset, arguments.ranks
    alone = Box("alone", None, preset, ranks)
    # Who comes first hosts the rendezvous: to stop and kill that one is the worst case.
    b = Peer("b", rendezvous, preset, ranks)
    a = Box("a", rendezvous, preset, ranks)
    rows: list[dict[str, Any]] = []
    try:
        _wait(lambda: a.metrics().get("peers") == 1, "the two have not met")
        for _ in range(2):
            a.step()
            alone.step()
        for change, phase in (
            (lambda: None, "running"),
            (b.stop, "stopped (SIGSTOP)"),
            (b.go_on, "continued (SIGCONT)"),
            (b.end, "killed (SIGKILL)"),
            (b.start, "started again"),
        ):
            change()
            rows.append(_phase(phase, a, alone, arguments.pairs))
            print(json.dumps(rows[-1]), flush=True)
    finally:
        with contextlib.suppress(psutil.Error):
            b.end()
        a.close()
        alone.close()
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "memory_peers.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
    _print(rows)


if __name__ == "__main__":
    main()
