"""From images to patch tokens: DINOv2 with registers, or a convolutional stem for small presets.

Shapes: S frames, h × w pixels, N patches of a frame (row by row), C channels, y × x cells of a feature map.
Source: DINOv2 with registers (ViT-S/B/L, patch 14), whose position embedding is resized to the image's grid.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from scal3r_ros.errors import ModelError
from scal3r_ros.model.encoder.matching import Matched, Matcher, StemUnit
from scal3r_ros.model.layers.blocks import Block

IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class VitConfig:
    """A DINOv2 encoder; `trained_size` is the side in pixels of the images its position embedding was learnt on."""

    channels: int
    depth: int
    heads: int
    patch: int = 14
    trained_size: int = 518
    registers: int = 4


@dataclass(frozen=True)
class StemConfig:
    """A convolutional stem; `patch` pixels (a power of two) become one token.

    `refinements` residual units follow each halving but the first. With `sees_previous` each frame is compared with
    the one before it: by correlation within `reach` cells of the last but one level (patch / 2 pixels a cell), then
    about what that found, on the level before it; the patch is then 8 pixels or more. That level, of patch / 4 pixels
    a cell, is also an input of the depth head: patches alone are too coarse for edges.
    """

    channels: int
    patch: int = 8
    refinements: int = 0
    sees_previous: bool = False
    reach: int = 4

    @property
    def detail_channels(self) -> int:
        """Channels of the detail shown, 0 where none is."""
        return max(16, self.channels >> 2) if self.sees_previous else 0


VIT_SMALL = VitConfig(channels=384, depth=12, heads=6)
VIT_BASE = VitConfig(channels=768, depth=12, heads=12)
VIT_LARGE = VitConfig(channels=1024, depth=24, heads=16)


class Encoding(NamedTuple):
    """The encoding of each frame, before it is combined with the others of its chunk.

    `patches` (S, N, C), one `descriptor` (S, C or 0) of the whole frame, `matches` (S, 3, Y, X) with the frame before
    as in `matching.Matched`, and `detail` (S, E, Y, X), features finer than the patches, of which `compared`
    (S, C, Y, X) are what frames are matched by. The latter three are (S, 0) where the encoder does not compare frames.
    """

    patches: Tensor
    descriptor: Tensor
    matches: Tensor
    detail: Tensor
    compared: Tensor


def normalise_colours(images_S3hw: Tensor) -> Tensor:
    """RGB in 0..1 to the mean and spread the encoders were trained with."""
    mean = images_S3hw.new_tensor(IMAGE_MEAN)[:, None, None]
    std = images_S3hw.new_tensor(IMAGE_STD)[:, None, None]
    return (images_S3hw - mean) / std


class PatchProjection(nn.Module):
    """One linear map from the pixels of a patch to a token."""

    def __init__(self, channels: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, channels, kernel_size=patch, stride=patch)

    def forward(self, images_S3hw: Tensor) -> Tensor:
        return self.proj(images_S3hw.to(self.proj.weight.dtype)).flatten(2).transpose(1, 2)


class VitEncoder(nn.Module):
    """DINOv2 with register tokens; a frame's descriptor is its class token."""

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        C = config.channels
        self.config = config
        self.trained_side = config.trained_size // config.patch
        self.patch_embed = PatchProjection(C, config.patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, C))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + self.trained_side**2, C))
        self.register_tokens = nn.Parameter(torch.zeros(1, config.registers, C))
        # Masks patches while DINOv2 itself is trained; kept so that a checkpoint is loaded and saved completely.
        self.mask_token = nn.Parameter(torch.zeros(1, C), requires_grad=False)
        self.blocks = nn.ModuleList(Block(C, config.heads, layer_scale=1.0, norm_eps=1e-6) for _ in range(config.depth))
        self.norm = nn.LayerNorm(C, eps=1e-6)
        for token in (self.cls_token, self.register_tokens):
            nn.init.normal_(token, std=1e-6)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)

    def forward(self, images_S3hw: Tensor) -> Encoding:
        S, _, h, w = images_S3hw.shape
        class_position_C, patch_positions_NC = self._positions(h // self.config.patch, w // self.config.patch)
        patches_SNC = self.patch_embed(images_S3hw) + patch_positions_NC
        class_SC = (self.cls_token[0] + class_position_C).expand(S, -1)
        x_SLC = torch.cat((class_SC[:, None], self.register_tokens.expand(S, -1, -1), patches_SNC), dim=1)
        for block in self.blocks:
            x_SLC = block(x_SLC)
        x_SLC = self.norm(x_SLC)
        nothing_S0 = images_S3hw.new_zeros(S, 0)
        return Encoding(x_SLC[:, 1 + self.config.registers :], x_SLC[:, 0], nothing_S0, nothing_S0, nothing_S0)

    def _positions(self, rows: int, columns: int) -> tuple[Tensor, Tensor]:
        """Position embedding of the class token (1, C) and of the patches (rows · columns, C)."""
        side = self.trained_side
        class_1C, learnt_NC = self.pos_embed[0, :1], self.pos_embed[0, 1:]
        if (rows, columns) == (side, side):
            return class_1C, learnt_NC
        learnt_1Cyx = learnt_NC.reshape(side, side, -1).permute(2, 0, 1)[None]
        resized = functional.interpolate(learnt_1Cyx.float(), size=(rows, columns), mode="bicubic", antialias=True)
        return class_1C, resized[0].flatten(1).T


class StemEncoder(nn.Module):
    """Strided 3 × 3 convolutions, each halving the image; a frame's descriptor is the mean of its patches.

    A stem that compares frames gives none: features that a small network learns for matching do not distinguish places.
    """

    def __init__(self, config: StemConfig) -> None:
        super().__init__()
        halvings = round(math.log2(config.patch))
        if 2**halvings != config.patch:
            raise ModelError(f"a convolutional stem cannot have patches of {config.patch} pixels: use a power of two")
        self.config = config
        widths = [3, *(max(16, config.channels >> (halvings - 1 - i)) for i in range(halvings))]
        layers: list[nn.Module] = []
        starts: list[int] = []
        for level, (fan_in, fan_out) in enumerate(itertools.pairwise(widths), start=1):
            starts.append(len(layers))
            layers += [nn.Conv2d(fan_in, fan_out, 3, stride=2, padding=1), nn.GroupNorm(1, fan_out), nn.GELU()]
            layers += [StemUnit(fan_out) for _ in range(config.refinements) if level > 1]
        self.layers = nn.Sequential(*layers)
        self.proj = nn.Conv2d(widths[-1], config.channels, 1)
        self.norm = nn.LayerNorm(config.channels)
        self.matcher: Matcher | None = None
        if config.sees_previous:
            if halvings < 3:
                raise ModelError(
                    f"a stem that sees the frame before needs patches of 8 pixels or more, not {config.patch}"
                )
            self.matcher = Matcher(config.channels, widths[-3], config.reach)
        # Compared is what enters the last halving, and once more, finer, what enters the one before it.
        self._compared = starts[-2:]

    def forward(self, images_S3hw: Tensor, previous: Sequence[int] | None = None) -> Encoding:
        """`previous`: for each image the number of the one to compare it with; None where they are in order of time."""
        return self.compare(images_S3hw, previous)[0]

    def compare(self, images_S3hw: Tensor, previous: Sequence[int] | None = None) -> tuple[Encoding, Matched | None]:
        """The encoding, and the stem's comparison of frames where there is one: training supervises it."""
        compared: list[Tensor] = []
        x_SCyx = images_S3hw
        for index, layer in enumerate(self.layers):
            if index in self._compared:
                compared.append(x_SCyx)
            x_SCyx = (
                layer(x_SCyx.to(layer.weight.dtype)) if isinstance(layer, nn.Conv2d | nn.GroupNorm) else layer(x_SCyx)
            )
        tokens_SNC = self.proj(x_SCyx.to(self.proj.weight.dtype)).flatten(2).transpose(1, 2)
        patches_SNC = self.norm(tokens_SNC.to(self.norm.weight.dtype))
        nothing_S0 = patches_SNC.new_zeros(len(patches_SNC), 0)
        if self.matcher is None:
            return Encoding(patches_SNC, patches_SNC.mean(dim=1), nothing_S0, nothing_S0, nothing_S0), None
        if previous is None:
            previous = [max(0, position - 1) for position in range(len(images_S3hw))]
        matched: Matched = self.matcher(*compared, previous)
        patches_SNC = patches_SNC + matched.tokens
        return Encoding(patches_SNC, nothing_S0, matched.matches, compared[0], matched.compared), matched
