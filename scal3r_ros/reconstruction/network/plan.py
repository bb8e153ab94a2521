"""How much memory a chunk takes on a device, found without the device: the network runs on tensors that have no data.

Each tensor is counted from its making to its end, as a caching allocator would with no waste. Attention counts as its
output, since the kernels for GPUs never make the matrix of all weights. What the driver, the libraries and the
fragments of an allocator take comes on top: `OVERHEAD` is a guess, since nothing was ever run on a GPU.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from scal3r_ros.model import MemoryRule, MemoryState, Preset, Scal3R
from scal3r_ros.model.encoder.encoder import Encoding
from scal3r_ros.reconstruction.network.dividing.chunk_parts import FrameOrder
from scal3r_ros.reconstruction.network.dividing.frame_split import FrameShare, GatheredFrames, cameras_of_all

OVERHEAD = 1.5e9
"""Bytes for the CUDA context, its libraries and what an allocator wastes."""

_NO_DATA = torch.device("meta")


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes on one device: of the weights, of what the memory has learned, and most at once in a chunk, with both."""

    weights: int
    memory: int
    peak: int

    @property
    def device(self) -> float:
        """What the device must have."""
        return self.peak + OVERHEAD


def plan_memory(
    preset: Preset,
    frames: int,
    width: int,
    height: int,
    *,
    compute: torch.dtype = torch.bfloat16,
    head_frames: int = 8,
    shares: bool = False,
    devices: int = 1,
) -> MemoryPlan:
    """What a chunk of `frames` images takes, each `width` × `height` pixels as the network sees them.

    `compute` is the type of the layers, `head_frames` how many frames the depth head decodes at once, `shares` whether
    the sum of peers is kept on the device, too. Over several `devices` the frames are split, and the plan is that of
    the device with most of them. Sizes are rounded down to whole patches.
    """
    width, height = width - width % preset.patch, height - height % preset.patch
    meter = Meter()
    with torch.inference_mode(), torch.device(_NO_DATA), meter, AttentionOfGpus():
        model = Scal3R(preset).eval().set_precision(compute)
        weights = meter.peak = meter.now  # they are converted on the CPU
        memory = MemoryState(preset, MemoryRule.RUNNING)
        for _ in range(2):  # the second chunk finds a memory
            if devices == 1:
                run_chunk(model, memory, frames, width, height, head_frames)
            else:
                _run_share(model, memory, FrameShare.equal(frames, devices), width, height, head_frames)
        learned = sum(w.nbytes for G in memory.accumulated_gradient().values() for w in G)
        peak = meter.peak
    return MemoryPlan(weights, learned * (2 if shares else 1), peak + (learned if shares else 0))


def run_chunk(model: Scal3R, memory: MemoryState, frames: int, width: int, height: int, head_frames: int) -> None:
    """Runs a chunk of black images through all of the network, on the device that is the default."""
    images = torch.zeros(frames, 3, height, width)
    order = FrameOrder.of(frames)
    encoding = model.encode(images)
    grid = model.grid(images)
    features = model.aggregate(encoding.patches[order.positions], grid, memory)
    maps = model.depth(features, grid, encoding.detail[order.positions], head_frames)
    known = Encoding(*(rows[order.positions] for rows in encoding))
    model.cameras(features, maps, known, order.previous)


def _run_share(
    model: Scal3R, memory: MemoryState, share: FrameShare, width: int, height: int, head_frames: int
) -> None:
    images = torch.zeros(len(share.own), 3, height, width)
    encoding, grid = model.encode(images), model.grid(images)
    others = GatheredFrames(share, _gathered)
    features = model.aggregate(encoding.patches, grid, memory, others)
    maps = model.depth(features, grid, encoding.detail, head_frames)
    cameras_of_all(model, features[-1], maps, encoding, others, None)


def _gathered(rows: Tensor, counts: Sequence[int]) -> Tensor:
    """What a group makes: the rows in one piece, those of all, and these once more where they differ in number."""
    most = max(counts)
    own = rows.contiguous()
    all_rows = own.new_empty(len(counts) * most, *own.shape[1:])
    if min(counts) == most:
        return all_rows
    return torch.cat([part[:count] for part, count in zip(torch.split(all_rows, most), counts, strict=True)])


class Meter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of all tensors that are alive, and sees that no operation mixes devices.

    Args:
        device: whose tensors are counted.
        records: whether `trace` is kept.

    Attributes:
        now, peak: bytes now, and at most.
        trace: shapes and types that each operation gave.
    """

    def __init__(self, device: torch.device = _NO_DATA, records: bool = False) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._device = device
        self.now = self.peak = 0
        self.trace: list[tuple[str, tuple[tuple[tuple[int, ...], torch.dtype], ...]]] = []
        self._records = records
        self._seen: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Runs one operation."""
        kwargs = dict(kwargs or {})
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        devices = {tensor.device for tensor in given if tensor.dim()}  # a number may lie on the CPU
        if len(devices) > 1 and "copy" not in func.name():
            raise RuntimeError(f"{func.name()} mixes {' and '.join(map(str, devices))}")
        result = func(*args, **kwargs)
        made = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        for tensor in made:
            self._count(tensor)
        if self._records:
            self.trace.append((func.name(), tuple((tuple(t.shape), t.dtype) for t in made)))
        return result

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if tensor.device != self._device or key in self._seen:
            return
        self._seen.add(key)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._end, key, size)

    def _end(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self.now -= size


class AttentionOfGpus(TorchFunctionMode):
    """Attention makes its output and nothing else."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is nn.functional.scaled_dot_product_attention:
            query, value = args[0], args[2]
            return query.new_empty(*query.shape[:-1], value.shape[-1])
        return func(*args, **(kwargs or {}))
