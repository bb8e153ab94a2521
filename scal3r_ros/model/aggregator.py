"""The aggregator: attention within each frame, attention across all frames of a chunk, and the memory of the drive.

Shapes: S frames of a chunk, the first of which is its reference; N patches of a frame, P = 1 + registers + N tokens of
it (camera, registers, patches), L = S · P tokens of a chunk, K special tokens of a frame, C channels.
Source: VGGT (alternating attention), Scal3R (memory units after chosen global blocks).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from scal3r_ros.model.layers.blocks import Block
from scal3r_ros.model.layers.rope import Rotary, rotary_of, token_positions
from scal3r_ros.model.memory.unit import AdaptiveMemoryUnit, FastWeights, MemoryConfig, Projections


@dataclass(frozen=True)
class AggregatorConfig:
    """Depth and width; the heads read the tokens of the four `head_layers`, of which the last is the last layer.

    With `informed_camera` a frame's camera token starts from the mean of its patches instead of zero.
    """

    channels: int
    depth: int
    heads: int
    head_layers: tuple[int, int, int, int]
    registers: int = 4
    rope_base: float = 100.0
    informed_camera: bool = False


class Grid(NamedTuple):
    """Size of a frame in patches."""

    rows: int
    columns: int


class Tables(NamedTuple):
    """Rotary tables of one grid: of all tokens for attention, of the patches for the memory."""

    attention: Rotary
    memory: Rotary | None


class FastWeightSource(Protocol):
    """Owner of the accumulated gradient: turns a chunk's projections at one unit into the weights that answer it."""

    def __call__(self, layer: int, unit: AdaptiveMemoryUnit, projections: Projections) -> FastWeights:
        """Fast weights for the chunk whose projections these are."""


class OtherFrames(Protocol):
    """The frames of a chunk that other processes have, where each takes some of a chunk's frames through the network.

    All processes make the same calls in the same order.
    """

    @property
    def has_reference(self) -> bool:
        """Whether the first of this process's frames is the reference of the chunk."""

    def keys_and_values(self, k_1HLD: Tensor, v_1HLD: Tensor) -> tuple[Tensor, Tensor]:
        """Those of all frames of the chunk, from those of this process's frames."""

    def gather(self, rows_SX: Tensor) -> Tensor:
        """Rows of all frames in order of time, from those of this process's frames in order of time."""


class Aggregator(nn.Module):
    """Camera and register tokens, alternating blocks, and the memory units between them."""

    def __init__(self, config: AggregatorConfig, memory: MemoryConfig | None) -> None:
        super().__init__()
        C = config.channels
        self.config = config
        self.memory_config = memory
        # Index 0 is for the first frame of a chunk, index 1 for all others.
        self.camera_token = nn.Parameter(torch.randn(1, 2, 1, C) * 1e-6)
        self.register_token = nn.Parameter(torch.randn(1, 2, config.registers, C) * 1e-6)
        self.frame_blocks = nn.ModuleList(Block(C, config.heads, qk_norm=True) for _ in range(config.depth))
        self.global_blocks = nn.ModuleList(Block(C, config.heads, qk_norm=True) for _ in range(config.depth))
        layers = memory.layers if memory is not None else ()
        self.memory_units = nn.ModuleDict({str(i): AdaptiveMemoryUnit(C, memory) for i in layers if memory is not None})

    @property
    def special(self) -> int:
        """Tokens of a frame that are not patches: they come first and do not enter the memory."""
        return 1 + self.config.registers

    def units(self) -> Iterator[tuple[int, AdaptiveMemoryUnit]]:
        """Layer and memory unit, in the order in which a chunk passes them."""
        for name, unit in self.memory_units.items():
            assert isinstance(unit, AdaptiveMemoryUnit)
            yield int(name), unit

    def unit(self, layer: int) -> AdaptiveMemoryUnit | None:
        """The memory unit after global block `layer`, None where there is none."""
        return dict(self.units()).get(layer)

    def tables(self, grid: Grid, device: torch.device) -> Tables:
        """Rotary tables that all layers share."""
        config, memory = self.config, self.memory_config
        positions_P2 = token_positions(grid.rows, grid.columns, self.special, device)
        attention = rotary_of(positions_P2, config.channels // config.heads, config.rope_base)
        if memory is None:
            return Tables(attention, None)
        recall = rotary_of(positions_P2, config.channels // memory.heads, config.rope_base)
        return Tables(attention, recall.without_first(self.special))

    def embed(self, patches_SNC: Tensor, chunks: int = 1, has_reference: bool = True) -> Tensor:
        """Tokens (S, P, C) that enter layer 0, float32; of `chunks` chunks of equal length, one after the other.

        Without `has_reference` another process has the first frame of the chunk.
        """
        S = patches_SNC.shape[0] // chunks
        special_2KC = torch.cat((self.camera_token, self.register_token), dim=2)[0]
        first_1KC = special_2KC[:1] if has_reference else special_2KC[1:]
        special_SKC = torch.cat((first_1KC, special_2KC[1:].expand(S - 1, -1, -1))).repeat(chunks, 1, 1)
        patches_SNC = patches_SNC.to(special_SKC.dtype)
        if self.config.informed_camera:
            camera_S1C = special_SKC[:, :1] + patches_SNC.mean(dim=1, keepdim=True)
            special_SKC = torch.cat((camera_S1C, special_SKC[:, 1:]), dim=1)
        return torch.cat((special_SKC, patches_SNC), dim=1)

    def layer(
        self, index: int, x_SPC: Tensor, tables: Tables, chunks: int = 1, others: OtherFrames | None = None
    ) -> tuple[Tensor, Tensor]:
        """Tokens after the frame block and after the global block of layer `index`, without its memory.

        Frames may be those of `chunks` chunks of equal length, one after the other, which do not see each other; or
        `others` has the rest of a single chunk.
        """
        frame_SPC = self.frame_blocks[index](x_SPC, tables.attention)
        tokens = x_SPC.shape[0] * x_SPC.shape[1] // chunks
        gather = None if others is None else others.keys_and_values
        x_BLC = self.global_blocks[index](frame_SPC.reshape(chunks, tokens, -1), tables.attention, gather)
        return frame_SPC, x_BLC.reshape(x_SPC.shape)

    def project(self, unit: AdaptiveMemoryUnit, x_SPC: Tensor, tables: Tables) -> Projections:
        """Queries, keys and values of the patch tokens for a memory unit."""
        assert tables.memory is not None, "a model with memory units has tables for them"
        return unit.project(x_SPC[:, self.special :], tables.memory)

    def remember(self, unit: AdaptiveMemoryUnit, x_SPC: Tensor, q_HLD: Tensor, W: FastWeights) -> Tensor:
        """Tokens with the memory's answer added to the patch tokens."""
        answer_SNC = unit.read(q_HLD, W).reshape(x_SPC.shape[0], -1, x_SPC.shape[2])
        return torch.cat((x_SPC[:, : self.special], x_SPC[:, self.special :] + answer_SNC), dim=1)

    def forward(
        self, patches_SNC: Tensor, grid: Grid, memory: FastWeightSource, others: OtherFrames | None = None
    ) -> list[Tensor]:
        """Tokens (S, P, 2C) for the heads, frame and global half side by side, at each of `head_layers`.

        Where `others` has frames of the chunk, `memory` must sum the gradients over all processes.
        """
        tables = self.tables(grid, patches_SNC.device)
        x_SPC = self.embed(patches_SNC, has_reference=others is None or others.has_reference)
        features: list[Tensor] = []
        for index in range(self.config.depth):
            frame_SPC, x_SPC = self.layer(index, x_SPC, tables, others=others)
            unit = self.unit(index)
            if unit is not None:
                projections = self.project(unit, x_SPC, tables)
                x_SPC = self.remember(unit, x_SPC, projections.q, memory(index, unit, projections))
            if index in self.config.head_layers:
                features.append(torch.cat((frame_SPC, x_SPC), dim=-1))
        return features
