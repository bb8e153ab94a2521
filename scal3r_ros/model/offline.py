"""The released algorithm over a recording: each memory unit learns from all chunks before it answers any.

Shapes: S frames of a chunk, P tokens of a frame, N patches of a frame, C channels. What a chunk carries from layer to
layer lies in a `ChunkStore`, on disk for long recordings, so that only one chunk is in RAM at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from scal3r_ros.model.aggregator import Grid
from scal3r_ros.model.encoder.encoder import Encoding
from scal3r_ros.model.memory.state import MemoryState
from scal3r_ros.model.memory.unit import FastWeights, gradient
from scal3r_ros.model.scal3r import Prediction, Scal3R


class ChunkStore(Protocol):
    """Tensors by key, written once or overwritten, read any number of times."""

    def put(self, key: str, tensor: Tensor) -> None:
        """Keeps `tensor`."""

    def get(self, key: str, device: torch.device) -> Tensor:
        """The tensor last put under `key`, on `device`."""


class InMemory:
    """Keeps everything in RAM of the device it came from: for tests and short recordings."""

    def __init__(self) -> None:
        self._tensors: dict[str, Tensor] = {}

    def put(self, key: str, tensor: Tensor) -> None:
        """Keeps `tensor`."""
        self._tensors[key] = tensor

    def get(self, key: str, device: torch.device) -> Tensor:
        """The tensor last put under `key`, on `device`."""
        return self._tensors[key].to(device)


class OnDisk:
    """Keeps every tensor in its own file under `folder`, which must exist and be empty."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, key: str, tensor: Tensor) -> None:
        """Keeps `tensor`."""
        # A tensor read earlier may still be mapped to the old file: replace the file, do not overwrite its content.
        partial = self._folder / f"{key}.partial"
        save_file({"tensor": tensor.detach().cpu().contiguous()}, partial)
        partial.replace(self._folder / f"{key}.safetensors")

    def get(self, key: str, device: torch.device) -> Tensor:
        """The tensor last put under `key`, on `device`."""
        return load_file(self._folder / f"{key}.safetensors", device=str(device))["tensor"]


@torch.no_grad()
def reconstruct_offline(
    model: Scal3R,
    chunks: Iterable[Tensor],
    store: ChunkStore,
    with_points: bool = True,
    previous: Callable[[int], Sequence[int]] | None = None,
    focals: Callable[[int], float | None] = lambda _: None,
    memory: MemoryState | None = None,
) -> Iterator[Prediction]:
    """Predictions of all chunks (images (S, 3, h, w) in 0..1), in order, from one memory that has learnt from all.

    `previous` maps the number of images of a chunk to the order argument of `Scal3R.encode`; `focals` gives the known
    focal length of a chunk, see `Scal3R.cameras`.
    `memory`, of the rule running, continues from what it has learned before, and has learned from all chunks in the
    end; None begins with an empty one.
    `chunks` is gone through once; the first prediction comes after the last layer of the last chunk.
    """
    device = model.aggregator.camera_token.device
    memory = MemoryState(model.preset) if memory is None else memory
    grids: list[Grid] = []
    orders: list[Sequence[int] | None] = []
    for images_S3hw in chunks:
        orders.append(None if previous is None else previous(len(images_S3hw)))
        encoding = model.encode(images_S3hw.to(device), previous=orders[-1])
        store.put(f"{len(grids)}_tokens", model.aggregator.embed(encoding.patches))
        store.put(f"{len(grids)}_descriptors", encoding.descriptor)
        store.put(f"{len(grids)}_matches", encoding.matches)
        store.put(f"{len(grids)}_detail", encoding.detail)
        store.put(f"{len(grids)}_compared", encoding.compared)
        grids.append(model.grid(images_S3hw))
    for layer in range(model.preset.aggregator.depth):
        advance_layer(model, layer, grids, store, memory)
    memory.merge({}, len(grids))
    for index, grid in enumerate(grids):
        features = [store.get(f"{index}_layer{layer}", device) for layer in model.preset.aggregator.head_layers]
        of_frames = (store.get(f"{index}_{name}", device) for name in ("descriptors", "matches", "detail", "compared"))
        # The patches have become the features.
        encoding = Encoding(features[-1], *of_frames)
        yield model.decode(features, grid, encoding, with_points, orders[index], focals(index))


@torch.no_grad()
def advance_layer(
    model: Scal3R, layer: int, grids: Sequence[Grid], store: ChunkStore, memory: MemoryState
) -> FastWeights | None:
    """Takes the tokens of all chunks through one layer: blocks and gradients first, then the answers of `memory`.

    Returns the weights that answered, None for a layer without memory unit.
    """
    device = model.aggregator.camera_token.device
    unit = model.aggregator.unit(layer)
    G: FastWeights | None = None
    for index, grid in enumerate(grids):
        tables = model.aggregator.tables(grid, device)
        frame_SPC, x_SPC = model.aggregator.layer(layer, store.get(f"{index}_tokens", device), tables)
        store.put(f"{index}_tokens", x_SPC)
        store.put(f"{index}_frame", frame_SPC)
        if unit is not None:
            g = gradient(model.aggregator.project(unit, x_SPC, tables), unit.initial)
            G = g if G is None else G.plus(g)
    W: FastWeights | None = None
    if unit is not None and G is not None:
        memory.merge({layer: G}, 0)
        W = memory.weights(layer, unit)
    for index, grid in enumerate(grids):
        x_SPC = store.get(f"{index}_tokens", device)
        if unit is not None and W is not None:
            queries = model.aggregator.project(unit, x_SPC, model.aggregator.tables(grid, device)).q
            x_SPC = model.aggregator.remember(unit, x_SPC, queries, W)
            store.put(f"{index}_tokens", x_SPC)
        if layer in model.preset.aggregator.head_layers:
            store.put(f"{index}_layer{layer}", torch.cat((store.get(f"{index}_frame", device), x_SPC), dim=-1))
    return W
