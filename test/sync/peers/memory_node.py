"""A process that maps with an untrained network and shares its memory, driven by lines on its standard input.

    python memory_node.py '{"name": "a", "rendezvous": "127.0.0.1:29500", …}'

Answers every line with one line of JSON: `learn FIRST LAST` maps chunks, `metrics`, `totals PATH` and `own PATH` write
evidence, `ask` times the question that every memory unit asks of the peers, `save PATH`, `load PATH`, `reset`, `close`.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from scal3r_ros.model import PRESETS, FastWeights, random_model
from scal3r_ros.reconstruction.network.config import NetworkConfig
from scal3r_ros.reconstruction.network.reconstructor import NetworkReconstructor
from scal3r_ros.reconstruction.protocol import Chunk, Frame
from scal3r_ros.sync.exchange.layout import SharedNetwork
from scal3r_ros.sync.peers.config import MemoryPeersConfig
from scal3r_ros.sync.peers.peers import MemoryPeers

FRAMES = 3
SIZE = (32, 64)


def chunk(index: int) -> Chunk:
    """The chunk of that number: the same in every process."""
    rng = np.random.default_rng(index)
    images = rng.integers(0, 255, (FRAMES, *SIZE, 3), dtype=np.uint8)
    frames = tuple(
        Frame(index * FRAMES + i, (index * FRAMES + i) * 10**8, image, None) for i, image in enumerate(images)
    )
    return Chunk(index, frames, 0)


def tensors(evidence: dict[int, FastWeights]) -> dict[str, torch.Tensor]:
    return {f"{layer}.{name}": w.contiguous() for layer, G in evidence.items() for name, w in G._asdict().items()}


class Node:
    """What the lines on standard input are done with."""

    def __init__(self, seed: int, preset: str, **given: Any) -> None:
        model = random_model(PRESETS[preset], seed).requires_grad_(False)
        self.layers = [layer for layer, _ in model.aggregator.units()]
        self.peers = MemoryPeers(MemoryPeersConfig(**given), "unnamed", SharedNetwork.of(model))
        config = NetworkConfig(preset=preset, device="cpu", precision="fp32")
        self.network = NetworkReconstructor(config, model, peers=self.peers)

    def learn(self, first: str, last: str) -> float:
        begin = time.monotonic()
        for index in range(int(first), int(last)):
            self.network.reconstruct(chunk(index), None)
        return time.monotonic() - begin

    def metrics(self) -> dict[str, float]:
        return dict(self.network.metrics())

    def own(self, path: str) -> str:
        save_file(tensors(dict(self.network.accumulated_gradient())), path)
        return path

    def totals(self, path: str) -> str:
        total: dict[int, FastWeights] = dict(self.network.accumulated_gradient())
        for layer in self.layers:
            others = self.peers.accumulated_gradient(layer)
            if others is not None:
                total[layer] = total[layer].plus(others) if layer in total else others
        save_file(tensors(total), path)
        return path

    def ask(self, seconds: str) -> float:
        """The longest that one question took, of many asked for some seconds."""
        longest, end = 0.0, time.monotonic() + float(seconds)
        while time.monotonic() < end:
            for layer in self.layers:
                begin = time.perf_counter()
                self.peers.accumulated_gradient(layer)
                longest = max(longest, time.perf_counter() - begin)
            time.sleep(0.005)
        return longest

    def save(self, path: str) -> None:
        self.network.snapshot(Path(path))

    def load(self, path: str) -> None:
        self.network.restore(Path(path))

    def reset(self) -> None:
        self.network.reset()

    def close(self) -> float:
        begin = time.monotonic()
        self.network.close()
        return time.monotonic() - begin


def main() -> None:
    torch.set_num_threads(1)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(message)s")
    settings = {"seed": 0, "preset": "nano", "period_s": 0.2, "deadline_s": 2.0} | json.loads(sys.argv[1])
    node = Node(**settings)
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        command, *words = line.split()
        print(json.dumps(getattr(node, command)(*words)), flush=True)


if __name__ == "__main__":
    main()
