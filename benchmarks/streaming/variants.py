"""What benchmarks/streaming/ measures, one variant a process: prints one line of JSON.

    python -m benchmarks.streaming.variants '{"variant": "ours", "preset": "small", "chunks": 3}'

`ours` is the reconstructor as the node runs it, but for the economies that the job is `without`; all of them are in
ECONOMIES. `plain` is without any: every frame through the encoder again, attention by whole matrices, the memory's
projections once for learning and once for answering, both dense heads for all frames at once, torch's own products.
`naive` recomputes everything: it keeps nothing from chunk to chunk, so that the released algorithm has to run over all
chunks so far whenever one comes. It is measured when 1, 2, 4, 8 … chunks have come.
`once` is a single chunk, for networks that take long.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.mapping.frontend.window import WindowConfig
from scal3r_ros.model import InMemory, Scal3R, reconstruct_offline
from scal3r_ros.model.aggregator import Aggregator
from scal3r_ros.model.layers.cpu_kernels import DotProductAttention
from scal3r_ros.reconstruction.network.config import NetworkConfig, NetworkMemoryConfig
from scal3r_ros.reconstruction.network.crop import crop_of
from scal3r_ros.reconstruction.network.dividing.chunk_parts import FrameOrder
from scal3r_ros.reconstruction.network.reconstructor import NetworkReconstructor
from scal3r_ros.reconstruction.network.setup import build_network
from scal3r_ros.reconstruction.protocol import Chunk, Frame, Previous


@dataclass(frozen=True)
class Job:
    """One variant and its input: `chunks` chunks of `size` images, `overlap` of them shared with the chunk before."""

    variant: str
    preset: str = "medium"
    precision: str = "fp32"
    memory: str = "running"
    device: str = "auto"
    chunks: int = 3
    size: int = WindowConfig.size
    overlap: int = WindowConfig.overlap
    image_width: int = 640
    image_height: int = 192
    outputs: str = ""
    without: tuple[str, ...] = ()
    cpu_time: bool = False

    def clock(self) -> float:
        """Seconds; of this process's CPUs where others keep the machine busy."""
        return time.process_time() if self.cpu_time else time.perf_counter()


def main() -> None:
    """Runs the job given as JSON."""
    job = Job(**json.loads(sys.argv[1]))
    unknown = set(job.without) - set(ECONOMIES)
    if unknown:
        raise SystemExit(f"no such economy: {', '.join(sorted(unknown))}; there are {', '.join(ECONOMIES)}")
    run = {"ours": _ours, "once": _ours, "plain": _plain, "naive": _naive}[job.variant]
    seconds = run(job)
    print(json.dumps({"seconds": seconds, "peak_mb": _peak_mb(job), "job": dataclasses.asdict(job)}))


def frames_of(job: Job, chunk: int) -> tuple[Frame, ...]:
    """The chunk's images: a textured wall that moves by eight pixels a frame."""
    camera = Intrinsics(
        0.6 * job.image_width, 0.6 * job.image_width, (job.image_width - 1) / 2, (job.image_height - 1) / 2,
        job.image_width, job.image_height,
    )  # fmt: skip
    rng = np.random.default_rng(0)
    wall = np.kron(rng.integers(0, 255, (job.image_height // 8 + 1, 512, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    first = chunk * (job.size - job.overlap)
    images = (np.roll(wall, -8 * (first + i), axis=1) for i in range(job.size))
    return tuple(
        Frame(
            first + i, 10**8 * (first + i), np.ascontiguousarray(image[: job.image_height, : job.image_width]), camera
        )
        for i, image in enumerate(images)
    )


def _ours(job: Job) -> list[float]:
    with contextlib.ExitStack() as spent:
        for economy in job.without:
            if economy in SPENDING:
                spent.enter_context(SPENDING[economy]())
        return _stream(job, NetworkReconstructor(_config(job)))


def _plain(job: Job) -> list[float]:
    return _ours(dataclasses.replace(job, without=tuple(ECONOMIES)))


def _naive(job: Job) -> list[float]:
    model = build_network(_config(dataclasses.replace(job, without=tuple(ECONOMIES))))
    order, width, patch = FrameOrder.of(job.size).positions, model.preset.image_width, model.preset.patch
    images: list[Tensor] = []
    seconds: list[float] = []
    with plain_attention(), projected_twice():
        for chunk in range(job.chunks):
            images.append(crop_of(frames_of(job, chunk), width, patch).images(order))
            if (chunk + 1) & chunk:
                continue  # no power of two
            started = job.clock()
            for prediction in reconstruct_offline(model, images, InMemory()):
                prediction.depth.values.cpu()
            seconds.append(job.clock() - started)
    return seconds


def _stream(job: Job, reconstructor: NetworkReconstructor) -> list[float]:
    seconds: list[float] = []
    previous: Previous | None = None
    for number in range(job.chunks):
        chunk = Chunk(number, frames_of(job, number), job.overlap if number else 0)
        started = job.clock()
        geometry = reconstructor.reconstruct(chunk, previous)
        seconds.append(job.clock() - started)
        previous = Previous(chunk, geometry)
    if job.outputs and previous is not None:
        new = slice(job.overlap, None)
        geometry = previous.geometry
        np.savez(Path(job.outputs), T=geometry.T_chunk_cam, depth=geometry.depth[new], sure=geometry.confidence[new])
    return seconds


def _config(job: Job) -> NetworkConfig:
    config = NetworkConfig(
        preset=job.preset,
        allow_random_weights=True,
        device=job.device,
        precision=job.precision,
        memory=NetworkMemoryConfig(rule=job.memory),
    )
    for economy in job.without:
        config = dataclasses.replace(config, **SETTINGS.get(economy, {}))
    return config


def _peak_mb(job: Job) -> float:
    if job.device != "cpu" and torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


@contextlib.contextmanager
def plain_attention() -> Iterator[None]:
    """Attention that writes its matrix of weights down."""

    def attention(self: DotProductAttention, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return torch.softmax(q @ k.mT / q.shape[-1] ** 0.5, dim=-1) @ v

    with _instead(DotProductAttention, "forward", attention):
        yield


@contextlib.contextmanager
def projected_twice() -> Iterator[None]:
    """Memory units that project their tokens for the gradient, and again for the answer."""
    project = Aggregator.project

    def twice(*arguments: Any) -> Any:
        project(*arguments)
        return project(*arguments)

    with _instead(Aggregator, "project", twice):
        yield


@contextlib.contextmanager
def both_heads() -> Iterator[None]:
    """A depth head that is never asked without the point head."""
    depth = Scal3R.depth

    def with_points(model: Scal3R, *arguments: Any) -> Any:
        model.points(*arguments)
        return depth(model, *arguments)

    with _instead(Scal3R, "depth", with_points):
        yield


@contextlib.contextmanager
def _instead(owner: Any, name: str, other: Any) -> Iterator[None]:
    original = getattr(owner, name)
    setattr(owner, name, other)
    try:
        yield
    finally:
        setattr(owner, name, original)


SETTINGS: dict[str, dict[str, Any]] = {
    "kept tokens": {"keep_shared_tokens": False},
    "less depth": {"overlap_depth_frames": 128},
    "depth in batches": {"head_frames": 256},
    "oneDNN": {"onednn": False},
}
SPENDING = {"fused attention": plain_attention, "one projection": projected_twice, "no point head": both_heads}
ECONOMIES = {
    "kept tokens": "encoder tokens of shared frames kept",
    "less depth": "depth for few of the shared frames",
    "depth in batches": "depth head in batches of four frames",
    "no point head": "no point head",
    "one projection": "memory projections once for both uses",
    "fused attention": "attention without its matrix",
    "oneDNN": "products by oneDNN on the CPU",
}
"""What a job can be `without`, each with what it is; together they make the difference between `plain` and `ours`."""

if __name__ == "__main__":
    main()
