"""Checks of several GPUs and several nodes: sums over all, and a memory that two nodes share."""

from __future__ import annotations

import functools
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import torch
import torch.distributed as dist

from scal3r_ros.cli.doctor.report import Finding, Status, left_out
from scal3r_ros.cli.doctor.sum_process import NUMBERS
from scal3r_ros.model import FastWeights
from scal3r_ros.sync.exchange.layout import GradientLayout, SharedNetwork
from scal3r_ros.sync.peers.config import MemoryPeersConfig
from scal3r_ros.sync.peers.peers import MemoryPeers

_SHAPE = torch.Size((1, 256, 1024))
_LONGEST_S = 30.0


def all_reduce(seconds: float) -> Finding:
    """Seconds and bandwidth of a sum between all GPUs by NCCL; without them, between two processes by Gloo."""
    gpus = torch.cuda.device_count()
    backend, size = ("nccl", gpus) if gpus > 1 and dist.is_nccl_available() else ("gloo", 2)
    with tempfile.TemporaryDirectory(prefix="scal3r_doctor_") as folder:
        program = [sys.executable, "-m", "scal3r_ros.cli.doctor.sum_process", backend, str(size)]
        members = [
            subprocess.Popen([*program, str(rank), folder], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            for rank in range(size)
        ]
        try:
            answers = [member.communicate(timeout=min(seconds, _LONGEST_S)) for member in members]
        except subprocess.TimeoutExpired:
            return Finding(Status.FAILED, f"a sum between {size} processes by {backend} does not end")
        finally:
            for member in members:
                member.kill()
                member.wait()
    for member, (_, complaint) in zip(members, answers, strict=True):
        if member.returncode:
            return Finding(Status.FAILED, f"{backend}: {(complaint.strip().splitlines() or ['no message'])[-1]}")
    each_s = float(answers[0][0])
    moved = 2 * (size - 1) / size * 4 * NUMBERS
    numbers = {"backend": backend, "processes": size, "seconds": each_s, "bus_gb_per_s": moved / each_s / 1e9}
    sentence = f"{backend} between {size}: 16 MB in {1e3 * each_s:.1f} ms, {numbers['bus_gb_per_s']:.2f} GB/s"
    if backend == "nccl":
        return Finding(Status.OK, sentence, numbers)
    return Finding(Status.LEFT_OUT, f"NCCL left out: {gpus} GPUs. In its place {sentence}", numbers)


def two_nodes(seconds: float) -> Finding:
    """Two nodes in this process exchange a memory over TCP until both have all of it, bit for bit."""
    return _exchange("tcp", torch.device("cpu"), torch.device("cpu"), seconds)


def two_nodes_nccl(seconds: float) -> Finding:
    """The same over NCCL, between the first two GPUs."""
    if torch.cuda.device_count() < 2 or not dist.is_nccl_available():
        return left_out(f"needs two GPUs and NCCL; there are {torch.cuda.device_count()} GPUs")
    return _exchange("nccl", torch.device("cuda", 0), torch.device("cuda", 1), seconds)


def _exchange(backend: str, one: torch.device, two: torch.device, seconds: float) -> Finding:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    layout = GradientLayout({0: (_SHAPE, _SHAPE, _SHAPE)})
    own = [{0: FastWeights(*(torch.randn(_SHAPE) for _ in _SHAPE))} for _ in "ab"]
    nodes = []
    for name, device in zip("ab", (one, two), strict=True):
        config = MemoryPeersConfig(address, name=f"doctor_{name}", backend=backend, period_s=0.1, deadline_s=5.0)
        nodes.append(MemoryPeers(config, name, SharedNetwork("doctor", "doctor", layout, device), "cpu"))
    begin = time.monotonic()
    for node, G in zip(nodes, own, strict=True):
        node.start(functools.partial(dict, G))
    try:
        exact = _until(lambda: all(map(_equal, nodes, reversed(own))), min(seconds, _LONGEST_S))
        took_s = time.monotonic() - begin
        metrics = nodes[0].metrics()
    finally:
        for node in reversed(nodes):  # the first hosts the rendezvous
            node.close()
    if not exact:
        return Finding(Status.FAILED, f"two nodes over {backend} have not met in {took_s:.0f} s", dict(metrics))
    received = metrics["peer_bytes_in_doctor_b"]
    numbers = {"seconds": took_s, "bytes_each": received, "backend": backend}
    return Finding(Status.OK, f"over {backend}: met and equal bit for bit after {took_s:.1f} s", numbers)


def _equal(node: MemoryPeers, G: dict[int, FastWeights]) -> bool:
    total = node.accumulated_gradient(0)
    return total is not None and all(torch.equal(a, b) for a, b in zip(total, G[0], strict=True))


def _until(condition: Callable[[], bool], seconds: float) -> bool:
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        if condition():
            return True
        time.sleep(0.05)
    return False
