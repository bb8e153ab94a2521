"""What sharing a memory costs: the time that a node takes for a chunk, whatever becomes of its peer.

    python benchmarks/memory_peers.py                      about three minutes on two cores
    python benchmarks/memory_peers.py --preset medium --seconds 30
    python benchmarks/memory_peers.py --out out/memory_peers

Node A maps chunk after chunk of random images on random weights. Beside it node B maps one every two seconds: without
sharing anything, which is what it costs that both have one machine; then sharing its memory, stopped by SIGSTOP in the
middle of it, going on, killed, started again. Each has a core of its own where there are two. Prints a table and
writes memory_peers.json.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import signal
import socket
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scal3r_ros.model import preset_named, random_model
from scal3r_ros.reconstruction.network.config import NetworkConfig
from scal3r_ros.reconstruction.network.reconstructor import NetworkReconstructor
from scal3r_ros.reconstruction.protocol import Chunk, Frame
from scal3r_ros.sync.exchange.layout import SharedNetwork
from scal3r_ros.sync.peers.config import MemoryPeersConfig
from scal3r_ros.sync.peers.peers import MemoryPeers

FRAMES = 3
IMAGE = (64, 128)
PERIOD_S, DEADLINE_S = 1.0, 3.0
REST_S, REST_OF_B_S = 0.05, 2.0


def main() -> None:
    """Runs all phases and prints the table."""
    arguments = _arguments()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        rendezvous = f"127.0.0.1:{probe.getsockname()[1]}"
    seconds, preset = arguments.seconds, arguments.preset
    alone = _Node("a", None, preset, core=0)
    alone.map_for(3.0)
    rows = [_row("none", alone.map_for(seconds), alone)]
    b = _Peer("b", None, preset)
    rows.append(_row("running, nothing shared", alone.map_for(seconds), alone))
    b.end()
    # Who comes first hosts the rendezvous: to stop and kill that one is the worst case.
    b = _Peer("b", rendezvous, preset)
    a = _Node("a", rendezvous, preset, core=0)
    _wait(lambda: a.metrics()["peers"] == 1, "the two have not met")
    rows.append(_row("running, sharing", a.map_for(seconds), a))
    b.stop()
    rows.append(_row("stopped", a.map_for(seconds), a))
    b.go_on()
    rows.append(_row("going on", a.map_for(seconds), a))
    b.end()
    rows.append(_row("killed", a.map_for(seconds), a))
    b = _Peer("b", rendezvous, preset)
    rows.append(_row("started again", a.map_for(seconds), a))
    b.end()
    a.close()
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "memory_peers.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
    _print(rows)


class _Node:
    """A network whose memory is shared, in this process, and how long it takes for a chunk."""

    def __init__(self, name: str, rendezvous: str | None, preset: str, core: int) -> None:
        torch.set_num_threads(1)
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[core % len(cores)]})
        model = random_model(preset_named(preset), 0).requires_grad_(False)
        network = NetworkConfig(preset=preset, device="cpu", precision="fp32", image_width=IMAGE[1])
        self._peers: MemoryPeers | None = None
        if rendezvous is not None:
            config = MemoryPeersConfig(rendezvous, name=name, period_s=PERIOD_S, deadline_s=DEADLINE_S)
            self._peers = MemoryPeers(config, name, SharedNetwork.of(model))
        self._reconstructor = NetworkReconstructor(network, model, peers=self._peers)
        self._layers = [layer for layer, _ in model.aggregator.units()]
        self._chunks = 0

    def map_for(self, seconds: float) -> tuple[list[float], float]:
        """Seconds for each chunk, and the longest that a question to the peers took between two chunks."""
        took: list[float] = []
        longest, end = 0.0, time.monotonic() + seconds
        while time.monotonic() < end:
            chunk = _chunk(self._chunks)
            begin = time.perf_counter()
            self._reconstructor.reconstruct(chunk, None)
            took.append(time.perf_counter() - begin)
            self._chunks += 1
            for _ in range(5):
                begin = time.perf_counter()
                if self._peers is not None:
                    for layer in self._layers:
                        self._peers.accumulated_gradient(layer)
                longest = max(longest, time.perf_counter() - begin)
                time.sleep(REST_S / 5)
        return took, longest

    def metrics(self) -> dict[str, float]:
        return dict(self._reconstructor.metrics())

    def close(self) -> None:
        self._reconstructor.close()


class _Peer:
    """A node in a process of its own, which maps until it is ended."""

    def __init__(self, name: str, rendezvous: str | None, preset: str) -> None:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        self._process = context.Process(target=_map_on, args=(name, rendezvous, preset, theirs), daemon=True)
        self._process.start()
        ours.recv()

    def stop(self) -> None:
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)

    def end(self) -> None:
        self._process.kill()
        self._process.join()

    def _signal(self, number: signal.Signals) -> None:
        assert self._process.pid is not None
        os.kill(self._process.pid, number)


def _map_on(name: str, rendezvous: str | None, preset: str, ready: Connection) -> None:
    node = _Node(name, rendezvous, preset, core=1)
    ready.send("ready")
    while True:
        node.map_for(0.01)
        time.sleep(REST_OF_B_S)


def _chunk(index: int) -> Chunk:
    rng = np.random.default_rng(index)
    images = rng.integers(0, 255, (FRAMES, *IMAGE, 3), dtype=np.uint8)
    return Chunk(index, tuple(Frame(FRAMES * index + i, i + 1, image, None) for i, image in enumerate(images)), 0)


def _row(phase: str, measured: tuple[list[float], float], node: _Node) -> dict[str, Any]:
    took, longest = measured
    median, late, worst = (float(np.percentile(took, q)) * 1e3 for q in (50, 95, 100))
    return {
        "phase": phase,
        "chunks": len(took),
        "median_ms": round(median, 1),
        "p95_ms": round(late, 1),
        "max_ms": round(worst, 1),
        "longest_question_ms": round(longest * 1e3, 3),
        "peers_at_end": int(node.metrics().get("peers", 0)),
    }


def _print(rows: list[dict[str, Any]]) -> None:
    print("| peer | chunks | median ms | 95 % ms | longest ms | longest question to the peers, ms | peers at the end |")
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        print("| " + " | ".join(str(value) for value in row.values()) + " |")


def _wait(condition: Any, complaint: str) -> None:
    end = time.monotonic() + 60.0
    while not condition():
        if time.monotonic() > end:
            raise SystemExit(complaint)
        time.sleep(0.1)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="small", help="shape of the network")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long each phase is")
    parser.add_argument("--out", type=Path, default=Path("out/memory_peers"), help="folder for memory_peers.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
