"""From images to patch tokens: DINOv2 with registers, or a convolutional stem for small presets.

Shapes: S frames, h × w pixels, N patches of a frame (row by row), C channels, y × x cells of a feature map.
Source: DINOv2 with registers (ViT-S/B/L, patch 14), whose position embedding is resized to the image's grid; local
correlation of neighbouring frames as in FlowNet and PWC-Net.
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
from scal3r_ros.model.blocks import Block

_IMAGE_MEAN = (0.485, 0.456, 0.406)
_IMAGE_STD = (0.229, 0.224, 0.225)


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
    the one before it, by correlation within `reach` cells of the last but one level (patch / 2 pixels a cell).
    """

    channels: int
    patch: int = 8
    refinements: int = 0
    sees_previous: bool = False
    reach: int = 4


VIT_SMALL = VitConfig(channels=384, depth=12, heads=6)
VIT_BASE = VitConfig(channels=768, depth=12, heads=12)
VIT_LARGE = VitConfig(channels=1024, depth=24, heads=16)


class Encoding(NamedTuple):
    """What is known of each frame on its own: `patches` (S, N, C) and one `descriptor` (S, C) of the whole frame."""

    patches: Tensor
    descriptor: Tensor


def normalise_colours(images_S3hw: Tensor) -> Tensor:
    """RGB in 0..1 to the mean and spread the encoders were trained with."""
    mean = images_S3hw.new_tensor(_IMAGE_MEAN)[:, None, None]
    std = images_S3hw.new_tensor(_IMAGE_STD)[:, None, None]
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
        # Hides patches while DINOv2 itself is trained; carried so that a checkpoint goes in and comes out whole.
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
        return Encoding(x_SLC[:, 1 + self.config.registers :], x_SLC[:, 0])

    def _positions(self, rows: int, columns: int) -> tuple[Tensor, Tensor]:
        """Position embedding of the class token (1, C) and of the patches (rows · columns, C)."""
        side = self.trained_side
        class_1C, learnt_NC = self.pos_embed[0, :1], self.pos_embed[0, 1:]
        if (rows, columns) == (side, side):
            return class_1C, learnt_NC
        learnt_1Cyx = learnt_NC.reshape(side, side, -1).permute(2, 0, 1)[None]
        resized = functional.interpolate(learnt_1Cyx.float(), size=(rows, columns), mode="bicubic", antialias=True)
        return class_1C, resized[0].flatten(1).T


class StemUnit(nn.Module):
    """Two normalised convolutions added to their input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x_SCyx: Tensor) -> Tensor:
        hidden_SCyx = functional.gelu(
            self.conv1(self.norm(x_SCyx.to(self.norm.weight.dtype)).to(self.conv1.weight.dtype))
        )
        return x_SCyx + self.conv2(hidden_SCyx)


class Motion(nn.Module):
    """How each frame has moved against the one before it, as tokens of their own beside those of what is seen.

    What is seen is nearly the same in neighbouring frames: mixed into it, the motion would be lost.
    """

    def __init__(self, channels: int, reach: int) -> None:
        super().__init__()
        width = channels // 2
        self.reach = reach
        self.read = nn.Conv2d((2 * reach + 1) ** 2 + 5, width, 3, padding=1)
        self.unit = StemUnit(width)
        self.down = nn.Conv2d(width, channels, 3, stride=2, padding=1)
        self.proj = nn.Conv2d(channels, channels, 1)
        self.norm = nn.LayerNorm(channels)

    def forward(self, x_SCyx: Tensor, previous: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Tokens (S, N, C), and the correlation (S, (2 · reach + 1)², y, x) that they were made of."""
        likeness_SRyx = correlation(x_SCyx, x_SCyx[list(previous)], self.reach)
        shares_SRyx = functional.softmax(likeness_SRyx, dim=1)
        # What a motion means for the camera depends on where in the image it is.
        places_S2yx = places_of(likeness_SRyx).expand(len(x_SCyx), -1, -1, -1)
        seen = torch.cat((shares_SRyx, displacement(shares_SRyx, self.reach), places_S2yx), dim=1)
        hidden = self.unit(functional.gelu(self.read(seen.to(self.read.weight.dtype))))
        hidden = functional.gelu(self.down(hidden.to(self.down.weight.dtype)))
        tokens_SNC = self.proj(hidden).flatten(2).transpose(1, 2)
        return self.norm(tokens_SNC.to(self.norm.weight.dtype)), likeness_SRyx


def correlation(x_SCyx: Tensor, before_SCyx: Tensor, reach: int) -> Tensor:
    """Scalar products (S, (2 · reach + 1)², y, x) with the cells around the same place in `before`, 0 outside of it."""
    rows, columns = x_SCyx.shape[-2:]
    x_SCN = functional.normalize(x_SCyx.float(), dim=1).flatten(2)
    before_SCN = functional.normalize(before_SCyx.float(), dim=1).flatten(2)
    # All pairs, of which few are kept: a product of matrices is faster than as many shifted sums.
    pairs_SNM = functional.pad(x_SCN.mT @ before_SCN, (0, 1))
    places_NR = neighbourhood(rows, columns, reach, x_SCyx.device)
    likeness_SNR = torch.gather(pairs_SNM, 2, places_NR.expand(len(pairs_SNM), -1, -1))
    return math.sqrt(x_SCyx.shape[1]) * likeness_SNR.mT.reshape(len(x_SCyx), -1, rows, columns)


def displacement(shares_SRyx: Tensor, reach: int) -> Tensor:
    """Where the shares point to (S, 3, y, x): their mean row and column in 28ths of the map's width, and the largest.

    An angle is then the same number at any size of the image, about one for what is common between frames.
    """
    steps = torch.arange(-reach, reach + 1, dtype=shares_SRyx.dtype, device=shares_SRyx.device)
    steps = steps * (28 / shares_SRyx.shape[-1])
    places_2R = torch.cartesian_prod(steps, steps).T
    mean_S2yx = (places_2R @ shares_SRyx.flatten(2)).reshape(-1, 2, *shares_SRyx.shape[2:])
    return torch.cat((mean_S2yx, shares_SRyx.amax(1, keepdim=True)), dim=1)


def places_of(x_SCyx: Tensor) -> Tensor:
    """Row and column (1, 2, y, x) of each cell about the middle, in half widths of the map."""
    rows, columns = x_SCyx.shape[-2:]
    down_y = torch.arange(rows, dtype=x_SCyx.dtype, device=x_SCyx.device) - (rows - 1) / 2
    across_x = torch.arange(columns, dtype=x_SCyx.dtype, device=x_SCyx.device) - (columns - 1) / 2
    grid = torch.stack(torch.meshgrid(down_y, across_x, indexing="ij"))
    return grid[None] / (columns / 2)


def neighbourhood(rows: int, columns: int, reach: int, device: torch.device) -> Tensor:
    """Numbers (N, R) of the cells at most `reach` rows and columns from each cell; N where there is none."""
    row_N, column_N = torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).unbind(1)
    steps = torch.arange(-reach, reach + 1)
    down_R, across_R = torch.cartesian_prod(steps, steps).unbind(1)
    row_NR, column_NR = row_N[:, None] + down_R, column_N[:, None] + across_R
    inside_NR = (row_NR >= 0) & (row_NR < rows) & (column_NR >= 0) & (column_NR < columns)
    return torch.where(inside_NR, row_NR * columns + column_NR, rows * columns).to(device)


class StemEncoder(nn.Module):
    """Strided 3 × 3 convolutions, each halving the image; a frame's descriptor is the mean of its patches."""

    def __init__(self, config: StemConfig) -> None:
        super().__init__()
        halvings = round(math.log2(config.patch))
        if 2**halvings != config.patch:
            raise ModelError(f"a convolutional stem can not have patches of {config.patch} pixels: use a power of two")
        self.config = config
        widths = [3, *(max(16, config.channels >> (halvings - 1 - i)) for i in range(halvings))]
        layers: list[nn.Module] = []
        for level, (fan_in, fan_out) in enumerate(itertools.pairwise(widths), start=1):
            layers += [nn.Conv2d(fan_in, fan_out, 3, stride=2, padding=1), nn.GroupNorm(1, fan_out), nn.GELU()]
            layers += [StemUnit(fan_out) for _ in range(config.refinements) if level > 1]
        self.layers = nn.Sequential(*layers)
        self.proj = nn.Conv2d(widths[-1], config.channels, 1)
        self.norm = nn.LayerNorm(config.channels)
        self.motion = Motion(config.channels, config.reach) if config.sees_previous else None
        # Compared is what enters the last halving.
        self.compared = len(layers) - 3 - (config.refinements if halvings > 1 else 0)

    def forward(self, images_S3hw: Tensor, previous: Sequence[int] | None = None) -> Encoding:
        """`previous`: for each image the number of the one to compare it with; None where they are in order of time."""
        return self.compare(images_S3hw, previous)[0]

    def compare(self, images_S3hw: Tensor, previous: Sequence[int] | None = None) -> tuple[Encoding, Tensor | None]:
        """The encoding, and the correlation of `Motion` where the stem has it: training tells it what is right."""
        if previous is None:
            previous = [max(0, position - 1) for position in range(len(images_S3hw))]
        motion: tuple[Tensor, Tensor] | None = None
        x_SCyx = images_S3hw
        for index, layer in enumerate(self.layers):
            if index == self.compared and self.motion is not None:
                motion = self.motion(x_SCyx, previous)
            x_SCyx = (
                layer(x_SCyx.to(layer.weight.dtype)) if isinstance(layer, nn.Conv2d | nn.GroupNorm) else layer(x_SCyx)
            )
        tokens_SNC = self.proj(x_SCyx.to(self.proj.weight.dtype)).flatten(2).transpose(1, 2)
        patches_SNC = self.norm(tokens_SNC.to(self.norm.weight.dtype))
        descriptor_SC = patches_SNC.mean(dim=1)
        if motion is None:
            return Encoding(patches_SNC, descriptor_SC), None
        return Encoding(patches_SNC + motion[0], descriptor_SC), motion[1]


def build_encoder(config: VitConfig | StemConfig) -> VitEncoder | StemEncoder:
    """The encoder that `config` describes, with random weights."""
    return VitEncoder(config) if isinstance(config, VitConfig) else StemEncoder(config)
