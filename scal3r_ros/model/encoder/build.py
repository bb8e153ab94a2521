"""The encoder that a preset describes."""

from __future__ import annotations

from scal3r_ros.model.encoder.efficient import EfficientConfig, EfficientEncoder
from scal3r_ros.model.encoder.encoder import StemConfig, StemEncoder, VitConfig, VitEncoder

EncoderConfig = VitConfig | StemConfig | EfficientConfig
Encoder = VitEncoder | StemEncoder | EfficientEncoder


def build_encoder(config: EncoderConfig) -> Encoder:
    """The encoder that `config` describes, with random weights."""
    if isinstance(config, VitConfig):
        return VitEncoder(config)
    return EfficientEncoder(config) if isinstance(config, EfficientConfig) else StemEncoder(config)


def sees_previous(config: EncoderConfig) -> bool:
    """Whether such an encoder compares each frame with the one before it."""
    return isinstance(config, EfficientConfig) or (isinstance(config, StemConfig) and config.sees_previous)
