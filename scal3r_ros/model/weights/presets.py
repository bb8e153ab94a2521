"""Named shapes of the network. A preset fixes all tensors' shapes and all constants; a checkpoint has the weights."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field

from scal3r_ros.errors import ModelError
from scal3r_ros.model.aggregator import AggregatorConfig
from scal3r_ros.model.encoder.build import EncoderConfig
from scal3r_ros.model.encoder.efficient import EfficientConfig
from scal3r_ros.model.encoder.encoder import VIT_LARGE, VIT_SMALL, StemConfig
from scal3r_ros.model.heads.camera import CameraHeadConfig
from scal3r_ros.model.heads.dpt import DptHeadConfig
from scal3r_ros.model.memory.unit import MemoryConfig


@dataclass(frozen=True)
class Preset:
    """One network.

    `image_width` is the width in pixels that images are resized to, a multiple of the encoder's patch; `memory` is None
    for a network without memory units; without a point head, points come from depth and cameras alone. Depths are
    reliable from a confidence of about `confidence_half` on. With `says_unit` the scale of a chunk is predicted apart.
    """

    name: str
    image_width: int
    encoder: EncoderConfig
    aggregator: AggregatorConfig
    memory: MemoryConfig | None
    camera_head: CameraHeadConfig = field(default_factory=CameraHeadConfig)
    dpt_head: DptHeadConfig = field(default_factory=DptHeadConfig)
    has_point_head: bool = True
    confidence_half: float = 5.0
    says_unit: bool = False

    def __post_init__(self) -> None:
        if self.encoder.channels != self.aggregator.channels:
            raise ModelError(
                f"preset {self.name}: the encoder has {self.encoder.channels} channels and the aggregator"
                f" {self.aggregator.channels}, but they must be equal"
            )
        if self.aggregator.head_layers[-1] != self.aggregator.depth - 1:
            raise ModelError(f"preset {self.name}: the last of head_layers must be layer {self.aggregator.depth - 1}")
        if self.memory is not None and not set(self.memory.layers) <= set(range(self.aggregator.depth)):
            raise ModelError(f"preset {self.name}: memory layers must lie in 0 … {self.aggregator.depth - 1}")

    @property
    def patch(self) -> int:
        """Side of a patch in pixels."""
        return self.encoder.patch

    def without_memory(self) -> Preset:
        """The same network with its memory units taken out."""
        return dataclasses.replace(self, memory=None)

    def fingerprint(self) -> str:
        """Sixteen hex digits that two presets share only if the same weights mean the same in both.

        Name, image width and what confidence means do not count: any weights can be run with others.
        """
        content = dataclasses.asdict(self) | {"encoder_kind": type(self.encoder).__name__}
        del content["name"], content["image_width"], content["confidence_half"]
        # What is as it was before these could be chosen does not count: weights made then still fit.
        if not self.says_unit:
            del content["says_unit"]
        if self.memory is not None and not self.memory.float32_steps:
            del content["memory"]["float32_steps"]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


FULL = Preset(
    name="full",
    image_width=518,
    encoder=VIT_LARGE,
    aggregator=AggregatorConfig(channels=1024, depth=24, heads=16, head_layers=(4, 11, 17, 23)),
    memory=MemoryConfig(layers=(14, 17, 20, 23)),
)

REFERENCE_SMALL = Preset(
    name="reference_small",
    image_width=518,
    encoder=VIT_SMALL,
    aggregator=AggregatorConfig(channels=384, depth=4, heads=6, head_layers=(0, 1, 2, 3)),
    memory=MemoryConfig(layers=(1, 3)),
)

MEDIUM = Preset(
    name="medium",
    image_width=392,
    encoder=VIT_SMALL,
    aggregator=AggregatorConfig(channels=384, depth=12, heads=6, head_layers=(2, 5, 8, 11)),
    memory=MemoryConfig(layers=(5, 8, 11)),
    camera_head=CameraHeadConfig(depth=4, heads=12),
    dpt_head=DptHeadConfig(levels=(96, 192, 384, 384), fused=128),
)

SMALL = Preset(
    name="small",
    image_width=256,
    encoder=StemConfig(channels=192, patch=8),
    aggregator=AggregatorConfig(channels=192, depth=6, heads=6, head_layers=(1, 3, 4, 5)),
    memory=MemoryConfig(layers=(3, 5)),
    camera_head=CameraHeadConfig(depth=2, heads=6),
    dpt_head=DptHeadConfig(levels=(48, 96, 192, 192), fused=64),
)

TINY = Preset(
    name="tiny",
    image_width=224,
    encoder=StemConfig(channels=192, patch=16, refinements=1, sees_previous=True),
    aggregator=AggregatorConfig(channels=192, depth=5, heads=3, head_layers=(1, 2, 3, 4), informed_camera=True),
    # Two units: the second learns from tokens that the first has answered.
    memory=MemoryConfig(layers=(2, 3), expansion=2),
    dpt_head=DptHeadConfig(levels=(32, 48, 96, 96), fused=48),
    has_point_head=False,
    confidence_half=1.8,
)

LITE = Preset(
    name="lite",
    image_width=224,
    encoder=EfficientConfig(channels=192),
    aggregator=AggregatorConfig(channels=192, depth=5, heads=3, head_layers=(1, 2, 3, 4), informed_camera=True),
    # Three small memories beside each other: their Newton-Schulz steps take a ninth of the time of one large one's.
    memory=MemoryConfig(layers=(2, 3), heads=3, expansion=4, float32_steps=True),
    dpt_head=DptHeadConfig(levels=(32, 48, 96, 96), fused=48),
    has_point_head=False,
    confidence_half=1.8,
    says_unit=True,
)

NANO = Preset(
    name="nano",
    image_width=64,
    encoder=StemConfig(channels=64, patch=8),
    aggregator=AggregatorConfig(channels=64, depth=4, heads=4, head_layers=(0, 1, 2, 3)),
    memory=MemoryConfig(layers=(1, 3), heads=2, expansion=2),
    camera_head=CameraHeadConfig(depth=1, heads=4),
    dpt_head=DptHeadConfig(levels=(16, 32, 64, 64), fused=32),
)


def _with_state(preset: Preset, times: int) -> Preset:
    """The same network with a state of the memory units that is `times` as large."""
    assert preset.memory is not None, "a network without memory has no state to enlarge"
    memory = dataclasses.replace(preset.memory, expansion=times * preset.memory.expansion)
    return dataclasses.replace(preset, name=f"{preset.name}_{times}x", memory=memory)


TINY_2X, TINY_4X = _with_state(TINY, 2), _with_state(TINY, 4)

PRESETS = {preset.name: preset for preset in (FULL, MEDIUM, SMALL, LITE, TINY, TINY_2X, TINY_4X, NANO, REFERENCE_SMALL)}


def preset_named(name: str) -> Preset:
    """The preset of that name, or `ModelError` listing the ones there are."""
    if name not in PRESETS:
        raise ModelError(f"there is no preset {name!r}; choose one of {', '.join(PRESETS)}")
    return PRESETS[name]
