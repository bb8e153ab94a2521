"""Translates parameter names between released checkpoints and this package.

A name is translated piece by piece with the pairs below, so one table serves both directions.
"""

from __future__ import annotations

from collections.abc import Sequence

from scal3r_ros.model.weights.presets import Preset

Pairs = Sequence[tuple[str, str]]

_SCAL3R_ROOMS = (
    ("agg_regator.patch_embed.", "encoder."),
    ("agg_regator.", "aggregator."),
    ("cam_decoder.", "camera_head."),
    ("xyz_decoder.", "point_head."),
    ("dpt_decoder.", "depth_head."),
)
_VGGT_ROOMS = (("aggregator.patch_embed.", "encoder."),)
_DETAILS = (
    (".poseLN_modulation.1.", ".modulation."),
    (".pose_branch.", ".pose_mlp."),
    (".projects.", ".project."),
    (".resize_layers.", ".resize."),
    (".scratch.layer1_rn.", ".adapt.0."),
    (".scratch.layer2_rn.", ".adapt.1."),
    (".scratch.layer3_rn.", ".adapt.2."),
    (".scratch.layer4_rn.", ".adapt.3."),
    (".scratch.refinenet1.", ".fuse.0."),
    (".scratch.refinenet2.", ".fuse.1."),
    (".scratch.refinenet3.", ".fuse.2."),
    (".scratch.refinenet4.", ".fuse.3."),
    (".resConfUnit1.", ".level."),
    (".resConfUnit2.", ".refine."),
    (".out_conv.", ".merge."),
    (".scratch.output_conv1.", ".narrow."),
    (".scratch.output_conv2.0.", ".hidden."),
    (".scratch.output_conv2.2.", ".out."),
)

# A head that VGGT-1B has and this network has not.
VGGT_IGNORED = "track_head."


def from_scal3r(name: str, preset: Preset) -> str:
    """Our name of what the released Scal3R checkpoint calls `name`."""
    return _inside(_first(name, _SCAL3R_ROOMS), _memory_pairs(preset) + _DETAILS)


def from_vggt(name: str) -> str:
    """Our name of what the VGGT-1B checkpoint calls `name`."""
    return _inside(_first(name, _VGGT_ROOMS), _DETAILS)


def to_scal3r(name: str, preset: Preset) -> str:
    """What the released Scal3R checkpoint calls our parameter `name`."""
    inner = _inside(name, _reversed(_memory_pairs(preset) + _DETAILS))
    return _first(inner, _reversed(_SCAL3R_ROOMS))


def _memory_pairs(preset: Preset) -> tuple[tuple[str, str], ...]:
    layers = preset.memory.layers if preset.memory is not None else ()
    return tuple((f".global_blocks.{layer}.ttt.", f".memory_units.{layer}.") for layer in layers)


def _reversed(pairs: Pairs) -> Pairs:
    return tuple((ours, theirs) for theirs, ours in pairs)


def _first(name: str, rooms: Pairs) -> str:
    for old, new in rooms:
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name


def _inside(name: str, details: Pairs) -> str:
    for old, new in details:
        name = name.replace(old, new)
    return name
